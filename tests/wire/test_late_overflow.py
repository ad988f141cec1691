"""An upstream that finds a prompt too long gets a shorter one, once, before the client sees anything."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from condensing import session
from talks import body
from wire.harness import PATIENCE, connect, parse, post, proxying
from wire.harness import request as talk
from wire.scripted import REPLIES, SSE, Link, Sent, playing

pytestmark = pytest.mark.anyio
KEY = {"x-api-key": "sk-own"}
EMPTY = (
    REPLIES["/messages"]
    .replace(b'{"type":"text","text":"ok"}', b"")
    .replace(b"end_turn", b"model_context_window_exceeded")
)
FORMS = {
    "1261": ("400 Bad Request", b'{"error":{"code":"1261","message":"Prompt exceeds max length"}}'),
    "words": (
        "400 Bad Request",
        b'{"error":{"message":"tokens in request more than max tokens allowed"}}',
    ),
    "anthropic": (
        "400 Bad Request",
        b'{"type":"error","error":{"type":"invalid_request_error",'
        b'"message":"prompt is too long: 9000 tokens > 6000 maximum"}}',
    ),
    "empty": ("200 OK", EMPTY),
}


def request(turns: int = 40, dialect: str = "messages", **more: Any) -> bytes:
    """A session of some 20,000 tokens, which fits into the window of the table."""
    model = "glm-4.6" if dialect == "messages" else "glm-4.6-openai"
    return msgspec.json.encode({**body(session(turns, dialect)), "model": model, **more})


@pytest.mark.parametrize("form", FORMS)
async def test_it_is_asked_once_more_with_less(tmp_path: Path, form: str) -> None:
    async def script(sent: Sent, link: Link) -> None:
        status, answer = FORMS[form] if len(sent.body) > 60_000 else ("200 OK", REPLIES["/messages"])
        await link.json(answer, status)

    async with playing(script) as upstream, proxying(tmp_path, upstream.url) as proxy:
        answer = await post(proxy.url, "/v1/messages", request(), KEY)
        assert (answer.status, answer.json["content"][0]["text"]) == (200, "ok")
        first, second = upstream.sent
        assert (len(first.body) > 60_000, b"[Old tool result cleared: read src/file0.py" in second.body) == (True, True)
        assert "smart_truncation" in answer.headers["x-trimtab-condensed"]
        assert answer.json["context_info"]["condensation_applied"] is True
        # A prompt of a tenth of the window tells nothing about others: the next one is asked as it is, and shortened.
        assert (await post(proxy.url, "/v1/messages", request(41), KEY)).status == 200
        assert len(upstream.sent) == 4


async def test_a_prompt_that_cannot_be_shortened_is_refused_in_the_clients_words(tmp_path: Path) -> None:
    async def script(sent: Sent, link: Link) -> None:
        await link.json(FORMS["1261"][1], FORMS["1261"][0])

    async with playing(script) as upstream, proxying(tmp_path, upstream.url) as proxy:
        short = msgspec.json.encode({**body([{"role": "user", "content": "hi"}]), "model": "glm-4.6"})
        answer = await post(proxy.url, "/v1/messages", short, KEY)
        assert (answer.status, len(upstream.sent)) == (400, 1)
        # One word is not too long, whatever the upstream says: an agent would compact for nothing.
        assert answer.json["error"]["message"] == "Prompt exceeds max length (upstream code 1261)"
        again = await post(proxy.url, "/v1/messages", request(), KEY)
        assert (again.status, again.json["error"]["message"][:18]) == (400, "prompt is too long")
        assert len(upstream.sent) <= 3, "one retry at most"


def frames(*values: Mapping[str, Any]) -> bytes:
    """Frames of a stream."""
    events = ((f"event: {value['type']}\n" if "type" in value else "", value) for value in values)
    return b"".join(name.encode() + b"data: " + msgspec.json.encode(value) + b"\n\n" for name, value in events)


def piece(delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
    """A chunk of a chat stream."""
    return {"id": "1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


STARTS = {
    "messages": frames({"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {}}}),
    "chat": frames(piece({"role": "assistant", "content": ""})),
}
SILENT = {
    "messages": frames(
        {"type": "message_delta", "delta": {"stop_reason": "model_context_window_exceeded"}, "usage": {}},
        {"type": "message_stop"},
    ),
    "chat": frames(piece({}, "model_context_window_exceeded")) + b"data: [DONE]\n\n",
}
WHOLE = {
    "messages": STARTS["messages"]
    + frames(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ok"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ),
    "chat": STARTS["chat"] + frames(piece({"content": "ok"}), piece({}, "stop")) + b"data: [DONE]\n\n",
}
PATHS = {"messages": "/v1/messages", "chat": "/v1/chat/completions"}
ENDS = {"messages": b"event: message_stop", "chat": b"data: [DONE]"}


@pytest.mark.parametrize("opened", [False, True], ids=["at once", "behind the start"])
@pytest.mark.parametrize("dialect", PATHS)
async def test_an_empty_end_of_a_stream_is_asked_once_more_with_less(
    tmp_path: Path, dialect: str, opened: bool
) -> None:
    """Nothing was said yet, so the second reply goes on in the stream of the first."""
    told = asyncio.Event()

    async def script(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        if len(sent.body) < 60_000:
            await link.chunk(WHOLE[dialect])
        else:
            await link.chunk(STARTS[dialect])
            if opened:
                await told.wait()
            await link.chunk(SILENT[dialect])
        await link.chunk(b"")

    async with playing(script) as upstream, proxying(tmp_path, upstream.url) as proxy:
        reader, writer = await connect(proxy.url)
        head = {"connection": "close", **KEY, "authorization": "Bearer sk-own"}
        writer.write(talk("POST", PATHS[dialect], request(dialect=dialect, stream=True), head))
        seen = b""
        async with asyncio.timeout(PATIENCE):
            if opened:
                start = b"message_start" if dialect == "messages" else b'"role"'
                while start not in seen:
                    seen += await reader.read(65536)
                told.set()
            answer = parse(seen + await reader.read())
        writer.close()
        assert (answer.status, len(upstream.sent)) == (200, 2)
        assert len(upstream.sent[1].body) < 60_000 < len(upstream.sent[0].body)
        assert answer.body.count(b'"ok"') == answer.body.count(ENDS[dialect]) == 1
        assert answer.body.count(b'"message_start"') == (dialect == "messages")
        assert b"exceeded" not in answer.body


@pytest.mark.parametrize("dialect", PATHS)
async def test_a_stream_that_stays_empty_ends_in_the_error_that_names_it(tmp_path: Path, dialect: str) -> None:
    async def script(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        await link.chunk(STARTS[dialect] + SILENT[dialect])
        await link.chunk(b"")

    async with playing(script) as upstream, proxying(tmp_path, upstream.url) as proxy:
        head = {**KEY, "authorization": "Bearer sk-own"}
        answer = await post(proxy.url, PATHS[dialect], request(dialect=dialect, stream=True), head)
        assert (answer.status, len(upstream.sent)) == (400, 2), "one retry at most"
        text = "prompt is too long" if dialect == "messages" else "maximum context length"
        assert text in answer.json["error"]["message"]
