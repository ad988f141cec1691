"""A provider with changing manners, for chaos.py."""

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import suppress
from time import perf_counter
from typing import Any

MANNERS = (
    "good",
    "good",
    "slow",
    "refuse",
    "reset",
    "cut",
    "half",
    "429",
    "500",
    "hang",
    "html",
    "empty",
    "error-in-stream",
)


class Upstream:
    """A provider with changing manners. It answers with the words it was sent, so that answers cannot be mixed up."""

    def __init__(self) -> None:
        self.manner = "good"
        self.open = 0
        self.port = 0

    async def begin(self) -> asyncio.Server:
        """Listen."""
        server = await asyncio.start_server(self._talk, "127.0.0.1", self.port, limit=2**22)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError, ValueError, IndexError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
                body = await reader.readexactly(length)
                self.open += 1
                try:
                    await self._answer(head, json.loads(body), reader, writer)
                finally:
                    self.open -= 1
        writer.close()

    async def _answer(
        self, head: bytes, asked: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        chat, manner = b"/chat/completions" in head.split(b"\r\n", 1)[0], self.manner
        match manner:
            case "reset" | "refuse":
                writer.transport.abort()
                raise ConnectionError
            case "hang":
                # Until the proxy gives up.
                await reader.read(1)
                raise ConnectionError
            case "429" | "500":
                await _send(writer, f"{manner} No", "application/json", b'{"error":{"type":"x","message":"no"}}')
                return
            case "html":
                await _send(writer, "502 Bad Gateway", "text/html", b"<html>bad gateway</html>")
                return
            case "empty":
                await _send(writer, "200 OK", "application/json", b"")
                return
        word = _word(asked)
        if asked.get("stream"):
            await self._stream(chat, word, manner, writer)
        else:
            await _send(writer, "200 OK", "application/json", _reply(chat, word))

    async def _stream(self, chat: bool, word: str, manner: str, writer: asyncio.StreamWriter) -> None:
        frames = list(_frames(chat, word))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for number, frame in enumerate(frames):
            if number == len(frames) // 2:
                if manner == "error-in-stream":
                    frame = (
                        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"no"}}\n\n'
                    )
                if manner == "half":
                    frame = frame[: len(frame) // 2]
            writer.write(b"%x\r\n%s\r\n" % (len(frame), frame))
            await writer.drain()
            if manner == "slow":
                await asyncio.sleep(0.05)
            if number == len(frames) // 2 and manner in ("cut", "half"):
                writer.transport.abort()
                raise ConnectionError
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _send(writer: asyncio.StreamWriter, status: str, kind: str, body: bytes) -> None:
    writer.write(f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()


def _word(asked: dict[str, Any]) -> str:
    content = asked["messages"][-1]["content"]
    return str(content if isinstance(content, str) else content[0]["text"])


def _reply(chat: bool, word: str) -> bytes:
    if chat:
        message = {"role": "assistant", "content": word}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
        head = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
        return json.dumps({**head, "choices": [choice], "usage": usage}).encode()
    head = {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
    usage = {"input_tokens": 3, "output_tokens": 1}
    return json.dumps(
        {**head, "stop_sequence": None, "content": [{"type": "text", "text": word}], "usage": usage}
    ).encode()


def _frames(chat: bool, word: str) -> Iterator[bytes]:
    pieces = [word[at : at + 4] for at in range(0, len(word), 4)]
    if chat:
        head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        for piece in pieces:
            yield b"data: %s\n\n" % encoded({**head, "choices": [{"index": 0, "delta": {"content": piece}}]})
        last = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        yield b"data: %s\n\n" % encoded(
            {**last, "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}
        )
        yield b"data: [DONE]\n\n"
        return
    usage = {"input_tokens": 3, "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "m", "usage": usage}
    yield _event("message_start", message=message)
    yield _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for piece in pieces:
        yield _event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
    yield _event("content_block_stop", index=0)
    yield _event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 1})
    yield _event("message_stop")


def _event(kind: str, **members: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), encoded({"type": kind, **members}))


def encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


async def flap(upstream: Upstream, until: float) -> None:
    """Change the upstream's manners twice a second; refusing closes its listener."""
    rng, server = random.Random(1), await upstream.begin()
    while perf_counter() < until:
        upstream.manner = rng.choice(MANNERS)
        if upstream.manner == "refuse":
            server.close()
        await asyncio.sleep(0.5)
        if upstream.manner == "refuse":
            server = await upstream.begin()
    upstream.manner = "good"
    await asyncio.sleep(2.5)
    server.close()
