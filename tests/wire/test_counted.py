"""`count_tokens` counts what would really be sent: the number that the upstream tells for the request that follows."""

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures import bodies, conversations, needs_recordings, turns
from wire.harness import PIPELINES, Proxy, echoing, post, proxying

pytestmark = pytest.mark.anyio

LOCAL = {"FORWARD_COUNT_TO_UPSTREAM": "false"}
# The echo takes an image for 1,000 tokens, whatever its size.
FLAT = PIPELINES + "[stage.token-count]\nimage-size = false\nimage-base = 1000\n"
WAYS = {"forwarded": ("glm-4.6", {}), "same dialect": ("glm-4.6", LOCAL), "translated": ("glm-4.6-openai", LOCAL)}
TOOLS = [
    {"name": "read", "description": "Reads.", "input_schema": {"type": "object", "properties": {"path": {}}}},
    {"name": "stop", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}},
]
CALLS: list[Any] = [
    {"role": "user", "content": "Read both."},
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "I do."},
            {"type": "tool_use", "id": "toolu_" + "a" * 60, "name": "read", "input": {"path": "a b"}},
            {"type": "tool_use", "id": "b", "name": "read", "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_" + "a" * 60, "content": "It says a."},
            {"type": "tool_result", "tool_use_id": "b", "is_error": True, "content": [{"type": "text", "text": "no"}]},
            {"type": "text", "text": "Go on."},
        ],
    },
]
THOUGHTS = {"type": "thinking", "thinking": "Hm, well.", "signature": "s"}
THOUGHT: list[Any] = [
    {"role": "user", "content": "Think."},
    {"role": "assistant", "content": [THOUGHTS, CALLS[1]["content"][2]]},
    {"role": "user", "content": [CALLS[2]["content"][1]]},
]  # fmt: skip


async def equal(proxy: Proxy, body: Any) -> None:
    """The count first, then the request and its usage."""
    count = await post(proxy.url, "/v1/messages/count_tokens", json.dumps(body).encode())
    answer = await post(proxy.url, "/v1/messages", json.dumps({"max_tokens": 64, **body, "stream": False}).encode())
    assert (count.status, answer.status) == (200, 200), (count.body, answer.body)
    usage = answer.json["usage"]
    told = usage["input_tokens"] + usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"]
    assert count.json["input_tokens"] == told


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("messages", [CALLS[:1], CALLS, THOUGHT], ids=["text", "calls", "thought"])
@pytest.mark.parametrize("tools", [None, TOOLS], ids=["bare", "tools"])
async def test_a_made_conversation(tmp_path: Path, way: str, messages: list[Any], tools: Any) -> None:
    model, environ = WAYS[way]
    body: dict[str, Any] = {"model": model, "messages": messages, "system": "You are a careful reader."}
    if tools:
        body |= {"tools": tools, "tool_choice": {"type": "tool", "name": "read"}}
    async with echoing() as (url, _), proxying(tmp_path, url, pipelines=FLAT, environ=environ) as proxy:
        await equal(proxy, body)


@needs_recordings
@pytest.mark.parametrize("way", WAYS)
async def test_recorded_requests(tmp_path: Path, way: str) -> None:
    model, environ = WAYS[way]
    found = [body for _, path, body in bodies() if path == "/v1/messages"]
    assert found
    async with echoing() as (url, _), proxying(tmp_path, url, pipelines=FLAT, environ=environ) as proxy:
        for body in found:
            await equal(proxy, {**json.loads(body), "model": model})


@needs_recordings
@pytest.mark.parametrize("way", WAYS)
async def test_every_fifth_turn_of_a_recorded_session(tmp_path: Path, way: str) -> None:
    model, environ = WAYS[way]
    file = next(file for file in conversations() if file.name.startswith("06-cc"))
    async with echoing() as (url, _), proxying(tmp_path, url, pipelines=FLAT, environ=environ) as proxy:
        for path, body in [*turns(file, model)][::5]:
            assert path == "/v1/messages"
            await equal(proxy, json.loads(body))
