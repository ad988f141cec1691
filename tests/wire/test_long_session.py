"""A session of 240 turns in a window that it outgrows: no request is over the window, and no call loses its result."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from condensing import CONSTRAINT, requests, session
from trimtab.echo import EchoOptions
from wire.harness import PIPELINES, connect, echoing, proxying
from wire.harness import request as head

pytestmark = pytest.mark.anyio
TURNS = 240
PATHS = {"messages": "/v1/messages", "chat": "/v1/chat/completions"}
MODEL = """
[model.small]
window = {window}
max-output = 4_000
upstreams = {{ {dialect} = "{upstream}" }}
"""
UPSTREAMS = {"messages": "zai-messages", "chat": "zai-chat"}


@pytest.mark.parametrize(("window", "dialect"), [(64_000, "chat"), (200_000, "messages")])
async def test_no_request_is_over_the_window_and_no_pair_is_broken(tmp_path: Path, window: int, dialect: str) -> None:
    made = [*requests(session(TURNS, dialect, size=5_000, every=20))]
    limits = MODEL.format(window=window, dialect=dialect, upstream=UPSTREAMS[dialect])
    async with (
        echoing(EchoOptions(window=window)) as (url, echo),
        proxying(tmp_path, url, pipelines=PIPELINES + limits) as proxy,
    ):
        told = await _talk(proxy.url, PATHS[dialect], made)
        bodies = [msgspec.json.decode(each.body) for each in echo.requests]
    # The echo refuses what is over its window: each request was sent once and answered.
    assert [status for status, _ in told] == [200] * len(made)
    assert len(bodies) == len(made) > TURNS
    size = max(tokens for _, tokens in told)
    assert window // 2 < size <= window
    assert len(msgspec.json.encode(made[-1])) > 4 * window, "the client sends more than fits"
    for body, sent in zip(bodies, made, strict=True):
        assert [*unpaired(body["messages"])] == []
        assert CONSTRAINT in str(body["messages"][0])
        assert body["messages"][-1] == sent[-1]


@pytest.mark.parametrize("dialect", PATHS)
def test_a_broken_pair_would_be_found(dialect: str) -> None:
    made = session(3, dialect)
    assert [*unpaired(made)] == []
    assert [*unpaired(made[:2] + made[3:])] == [(1, {"c0"})]
    assert [*unpaired(made[:3] + made[4:])] == [(1, {"c1"})]
    assert [*unpaired(made[2:])] == [(0, {"c0"})]


async def _talk(url: str, path: str, made: list[list[dict[str, Any]]]) -> list[tuple[int, int]]:
    """Status and tokens of the prompt of each answer, over one connection."""
    reader, writer = await connect(url)
    told = []
    for messages in made:
        body = msgspec.json.encode({"model": "small", "max_tokens": 2_000, "messages": messages})
        writer.write(head("POST", path, body, {"x-api-key": "sk-own", "authorization": "Bearer sk-own"}))
        async with asyncio.timeout(60):
            status, answer = await _answer(reader)
        usage = answer.get("usage", {})
        members = ("prompt_tokens", "input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        told.append((status, sum(usage.get(name) or 0 for name in members)))
    writer.close()
    return told


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
    return int(lines[0].split(" ")[1]), msgspec.json.decode(await reader.readexactly(length))


def unpaired(messages: list[dict[str, Any]]) -> Iterator[tuple[int, set[str]]]:
    """Messages of the assistant whose calls are not those that are answered at once behind them; lone results."""
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            behind = []
            for later in messages[index + 1 :]:
                if later["role"] == "assistant":
                    break
                behind += _results(later)
            if (calls := set(_calls(message))) != set(behind):
                yield index, calls.symmetric_difference(behind)
        elif not index and (lone := {*_results(message)}):
            yield index, lone


def _calls(message: dict[str, Any]) -> list[str]:
    parts = message["content"] if isinstance(message["content"], list) else []
    return [each["id"] for each in (*(message.get("tool_calls") or ()), *parts) if each["type"] != "text"]


def _results(message: dict[str, Any]) -> list[str]:
    if message["role"] == "tool":
        return [message["tool_call_id"]]
    parts = message["content"] if isinstance(message["content"], list) else []
    return [part["tool_use_id"] for part in parts if part["type"] == "tool_result"]
