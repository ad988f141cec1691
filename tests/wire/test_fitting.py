"""A reply that is not the JSON its client wants, where the upstream was told the schema in words only (P30)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from wire.harness import Answer, exchange, post, proxying
from wire.modelled import MODELS, saying
from wire.scripted import Upstream, playing

pytestmark = pytest.mark.anyio

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
HI = [{"role": "user", "content": "hi"}]
NAMED = {"name": "n", "schema": SCHEMA, "strict": True}
CLIENTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "messages": (
        "/v1/messages",
        MODELS["chat"],
        {
            "max_tokens": 99,
            "messages": HI,
            "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
        },
    ),
    "responses": (
        "/v1/responses",
        MODELS["chat"],
        {"input": "hi", "text": {"format": {"type": "json_schema", **NAMED}}},
    ),
    "chat": (
        "/v1/chat/completions",
        MODELS["messages"],
        {"messages": HI, "response_format": {"type": "json_schema", "json_schema": NAMED}},
    ),
}
"""For each client: its path, the name that leads to an upstream of another dialect, and its wish."""
TRANSLATED = pytest.mark.parametrize("client", CLIENTS)
MODES = pytest.mark.parametrize("stream", [True, False])


@pytest.fixture
def warned() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message).strip()), level="WARNING", format="{message}")
    yield lines
    logger.remove(sink)


async def told(tmp_path: Path, client: str, said: str, *, stream: bool, **more: Any) -> tuple[Answer, str, Upstream]:
    """The answer to a wish for JSON, the page of counters after it, and what the upstream got."""
    path, model, wish = CLIENTS[client]
    body = {"model": model, **wish, "stream": stream, **more}
    async with playing(saying(("text", said))) as upstream, proxying(tmp_path, upstream.url) as proxy:
        answer = await post(proxy.url, path, json.dumps(body).encode(), {"authorization": "Bearer k"})
        page = await exchange(proxy.url, "GET", "/metrics")
    assert answer.status == 200
    return answer, page.body.decode(), upstream


@TRANSLATED
@MODES
@pytest.mark.parametrize(("said", "place"), [('{"n": "secret"}', "/n breaks 'type'"), ("secretsecret", "no JSON (")])
async def test_P30_a_misfit_is_reported_and_passes(
    tmp_path: Path, warned: list[str], client: str, said: str, place: str, *, stream: bool
) -> None:
    answer, page, _ = await told(tmp_path, client, said, stream=stream)
    assert b"secret" in answer.body
    assert "trimtab_schema_misfits_total 1\n" in page
    [line] = warned
    assert f"{answer.headers['x-request-id']}: the reply does not fit the client's schema: {place}" in line
    assert "secret" not in line


@TRANSLATED
@MODES
async def test_P30_what_fits_is_told_nowhere(tmp_path: Path, warned: list[str], client: str, *, stream: bool) -> None:
    _, page, upstream = await told(tmp_path, client, '{"n": 1}', stream=stream)
    assert "schema_misfits" not in page
    assert warned == []
    assert b"JSON Schema" in upstream.sent[0].body


@MODES
async def test_P30_a_schema_that_the_upstream_got_is_the_upstreams_to_hold(
    tmp_path: Path, warned: list[str], *, stream: bool
) -> None:
    _, page, upstream = await told(tmp_path, "chat", "no JSON", stream=stream, model=MODELS["chat"])
    assert json.loads(upstream.sent[0].body)["response_format"]["type"] == "json_schema"
    assert ("schema_misfits" in page, warned) == (False, [])
