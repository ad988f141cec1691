"""What upstreams, and the ways to them, do wrong: scripts for `scripted.playing`, by name, and their good replies."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

from wire.scripted import REPLIES, Link, Sent

Fault = Callable[[Sent, Link], Awaitable[None]]

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ERROR = b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}'
PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


def frame(value: Any) -> bytes:
    """A frame of an SSE stream, with the name of its event where it has a type."""
    name = f"event: {value['type']}\n" if isinstance(value, dict) and "type" in value else ""
    return f"{name}data: {json.dumps(value) if isinstance(value, dict) else value}\n\n".encode()


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of a chat stream."""
    return {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def start(index: int, kind: str, **members: Any) -> dict[str, Any]:
    """The start of a block of a messages stream."""
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **members}}


def delta(index: int, kind: str, **members: Any) -> dict[str, Any]:
    """A piece of a block of a messages stream."""
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **members}}


MESSAGES: dict[str, list[Any]] = {
    "open": [{"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 3, "output_tokens": 1}}}],
    "thought": [start(0, "thinking", thinking=""), delta(0, "thinking_delta", thinking="hm")],
    "text": [start(0, "text", text=""), delta(0, "text_delta", text="ok")],
    "tool": [
        start(0, "tool_use", id="toolu_1", name="write", input={}),
        delta(0, "input_json_delta", partial_json='{"path":'),
    ],
    "end": [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ],
    "rest": [delta(0, "input_json_delta", partial_json='"a"}')],
}
CHAT: dict[str, list[Any]] = {
    "open": [chunk({"role": "assistant", "content": ""})],
    "thought": [chunk({"reasoning_content": "hm"})],
    "text": [chunk({"content": "ok"})],
    "tool": [
        chunk({"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "write", "arguments": '{"path":'}}]})
    ],
    "end": [
        chunk({}, "stop", usage={"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}),
        "[DONE]",
    ],
    "finish": [chunk({}, "stop")],
    "rest": [chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"a"}'}}]})],
}


def parts(sent: Sent, *names: str) -> bytes:
    """Frames of a reply in the dialect of a request."""
    source = CHAT if sent.path.endswith("completions") else MESSAGES
    return b"".join(frame(value) for name in names for value in source[name])


def streams(sent: Sent) -> bool:
    """Whether a request asks for a stream."""
    return json.loads(sent.body).get("stream") is True


async def good(sent: Sent, link: Link) -> None:
    """A whole reply, streamed or not as it was asked for."""
    if not streams(sent):
        await link.json(next(body for end, body in REPLIES.items() if sent.path.endswith(end)))
        return
    await link.raw(HEAD)
    await link.chunk(parts(sent, "open", "text", "end"))
    await link.chunk(b"")


async def drips(sent: Sent, link: Link) -> None:
    """The same byte by byte."""
    body = next(body for end, body in REPLIES.items() if sent.path.endswith(end))
    if streams(sent):
        body = parts(sent, "open", "text", "end")
        await link.raw(HEAD)
        for at in range(len(body)):
            await link.chunk(body[at : at + 1])
        await link.chunk(b"")
        return
    await link.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body))
    for at in range(len(body)):
        await link.raw(body[at : at + 1])


async def hangs(sent: Sent, link: Link) -> None:
    """Nothing, not even a head."""
    await link.gone()


async def turns() -> None:
    """Let the proxy, which runs on this loop, read what was sent before the next comes."""
    for _ in range(50):
        await asyncio.sleep(0)


def begins(*names: str, then: str) -> Fault:
    """The first parts of a reply, and then: `reset`, `hang`, `end`, half a `frame`, or an `error`."""

    async def script(sent: Sent, link: Link) -> None:
        if streams(sent):
            await link.raw(HEAD)
            if names:
                await link.chunk(parts(sent, *names))
                await turns()
        else:
            await link.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 300\r\n\r\n{")
        if then == "hang":
            await link.gone()
        elif then == "reset" or not streams(sent):
            link.abort()
        else:
            await link.chunk({"end": b"", "frame": b'data: {"id":', "error": frame(json.loads(ERROR))}[then])
            if then != "end":
                await link.chunk(b"")

    return script


async def resets(sent: Sent, link: Link) -> None:
    """The connection is closed instead of an answer."""
    link.abort()


async def empty(sent: Sent, link: Link) -> None:
    """200 and no body."""
    await link.json(b"", kind="text/event-stream" if streams(sent) else "application/json")


async def error_inside(sent: Sent, link: Link) -> None:
    """200 with an error in it."""
    if streams(sent):
        await begins(then="error")(sent, link)
    else:
        await link.json(ERROR)


async def page(sent: Sent, link: Link) -> None:
    """502 with HTML."""
    await link.json(PAGE, "502 Bad Gateway", "text/html")


async def packed_page(sent: Sent, link: Link) -> None:
    """503 with HTML, packed."""
    await link.json(gzip.compress(PAGE), "503 Service Unavailable", "text/html", "content-encoding: gzip\r\n")


async def wrong_type(sent: Sent, link: Link) -> None:
    """A page with status 200."""
    await link.json(PAGE, kind="text/html")


async def wrong_length(sent: Sent, link: Link) -> None:
    """Fewer bytes than were announced."""
    kind = b"text/event-stream" if streams(sent) else b"application/json"
    await link.raw(b"HTTP/1.1 200 OK\r\ncontent-type: " + kind + b"\r\ncontent-length: 9999\r\n\r\n{}")
    link.writer.close()


async def huge(sent: Sent, link: Link) -> None:
    """A frame that never ends; for replies that are not streamed, a body of spaces that is no reply."""
    if not streams(sent):
        await link.json(b" " * 100_000)
        return
    await link.raw(HEAD)
    for _ in range(40):
        await link.chunk(b"data: " + b"x" * 4096)
    await link.gone()


FAULTS: dict[str, Fault] = {
    "reset before an answer": resets,
    "reset before the first event": begins(then="reset"),
    "end before the first event": begins(then="end"),
    "half a frame": begins(then="frame"),
    "reset in a thought": begins("open", "thought", then="reset"),
    "end in a thought": begins("open", "thought", then="end"),
    "error in a thought": begins("open", "thought", then="error"),
    "hang in a thought": begins("open", "thought", then="hang"),
    "200 with an error": error_inside,
    "502 with HTML": page,
    "503 packed": packed_page,
    "200 with HTML": wrong_type,
    "200 and nothing": empty,
    "wrong length": wrong_length,
    "huge frame": huge,
}
"""Faults before text or a tool call was shown: another attempt makes them good, unseen."""

SHOWN: dict[str, Fault] = {
    "reset in text": begins("open", "text", then="reset"),
    "end in text": begins("open", "text", then="end"),
    "half a frame in text": begins("open", "text", then="frame"),
    "error in text": begins("open", "text", then="error"),
    "hang in text": begins("open", "text", then="hang"),
    "reset in a call": begins("open", "tool", then="reset"),
    "end in a call": begins("open", "tool", then="end"),
    "error in a call": begins("open", "tool", then="error"),
    "hang in a call": begins("open", "tool", then="hang"),
}
"""Faults behind text or a call that was shown: they end in the dialect's error."""
