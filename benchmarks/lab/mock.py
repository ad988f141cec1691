"""A provider that answers at once and always the same: python -m benchmarks.lab.mock PORT

A request that asks for a stream gets CHUNKS deltas, PACE seconds apart, each with the time it was written. The clock is
CLOCK_MONOTONIC, which is one for all processes of a machine.
"""

import asyncio
import json
import re
import sys
from time import monotonic_ns
from typing import Any, cast

import uvloop

CHUNKS = 200
PACE = 0.01
STAMP = re.compile(rb"at (\d{20}) ")
"""A time in nanoseconds as it stands in a delta."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
# Below what token-count compares with its own count: an upstream that is right about its usage costs no line either.
_USAGE = {"input_tokens": 36, "output_tokens": 200, "cache_read_input_tokens": 64, "cache_creation_input_tokens": 0}
_CHAT_USAGE = {"prompt_tokens": 100, "completion_tokens": 200, "total_tokens": 300}
_MARK = "at " + "0" * 20 + " and on"
_TEXT = "The answer of the mock, always the same. " * 15
_SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection; requests on it are answered in turn."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._data = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        """Answer when a request is whole; the next one on the connection comes only after that."""
        self._data += data
        head = self._data.find(b"\r\n\r\n")
        length = _LENGTH.search(self._data, 0, head + 2) if head >= 0 else None
        if length is None or len(self._data) < head + 4 + int(length[1]):
            return
        form = "messages" if b"/messages" in self._data[:200] else "chat"
        streamed = self._data.startswith(b"true", self._data.find(b'"stream":', head) + 9)
        self._data.clear()
        if streamed:
            Stream(self._transport, form, self._loop).start()
        else:
            self._transport.write(_WHOLE[form])


class Stream:
    """One paced answer."""

    def __init__(self, transport: asyncio.Transport, form: str, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._opening, (self._before, self._after), self._closing = _FRAMES[form]
        self._sent = 0

    def start(self) -> None:
        """Send the head and the opening; the deltas follow by the clock."""
        self._transport.write(_SSE + self._opening)
        self._begun = self._loop.time()
        self._later()

    def _later(self) -> None:
        self._loop.call_at(self._begun + (self._sent + 1) * PACE, self._next)

    def _next(self) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(b"%bat %020d %b" % (self._before, monotonic_ns(), self._after))
        self._sent += 1
        if self._sent < CHUNKS:
            self._later()
        else:
            self._transport.write(self._closing)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(value: dict[str, Any], *, named: bool) -> bytes:
    name = f"event: {value['type']}\n" if named else ""
    return _chunk(f"{name}data: {json.dumps(value, separators=(',', ':'))}\n\n".encode())


def _messages_frames() -> tuple[bytes, tuple[bytes, bytes], bytes]:
    message = {"id": "msg_mock", "type": "message", "role": "assistant", "model": "glm-4.6", "content": []}
    block = {"type": "text", "text": ""}
    opening = (
        {"type": "message_start", "message": message | {"stop_reason": None, "stop_sequence": None, "usage": _USAGE}},
        {"type": "content_block_start", "index": 0, "content_block": block},
    )
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": _MARK}}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    closing = (
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": end, "usage": _USAGE},
        {"type": "message_stop"},
    )
    cut = _cut(_event(delta, named=True))
    return b"".join(_event(one, named=True) for one in opening), cut, _end([_event(one, named=True) for one in closing])


def _chat_frames() -> tuple[bytes, tuple[bytes, bytes], bytes]:
    head = {"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1_767_225_600, "model": "glm-4.6"}

    def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
        return _event(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}, named=False)

    usage = _event(head | {"choices": [], "usage": _CHAT_USAGE}, named=False)
    return (
        event({"role": "assistant", "content": ""}),
        _cut(event({"content": _MARK})),
        _end([event({}, "stop"), usage, _chunk(b"data: [DONE]\n\n")]),
    )


def _cut(event: bytes) -> tuple[bytes, bytes]:
    before, _, after = event.partition(_MARK[:24].encode())
    return before, after


def _end(events: list[bytes]) -> bytes:
    return b"".join(events) + b"0\r\n\r\n"


def _whole(value: dict[str, Any]) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _whole_messages() -> bytes:
    content = [{"type": "text", "text": _TEXT}]
    message = {"id": "msg_mock", "type": "message", "role": "assistant", "model": "glm-4.6", "content": content}
    return _whole(message | {"stop_reason": "end_turn", "stop_sequence": None, "usage": _USAGE})


def _whole_chat() -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop"}
    head = {"id": "chatcmpl-mock", "object": "chat.completion", "created": 1_767_225_600, "model": "glm-4.6"}
    return _whole(head | {"choices": [choice], "usage": _CHAT_USAGE})


_FRAMES = {"messages": _messages_frames(), "chat": _chat_frames()}
_WHOLE = {"messages": _whole_messages(), "chat": _whole_chat()}


async def serve(port: int) -> None:
    """Answer until killed."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
