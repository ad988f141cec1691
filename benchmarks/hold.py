"""What does holding a tool call cost (`retry.hold-tool-calls`)? A call of 50 pieces over a second, held and not.

python -m benchmarks.hold [--quick] [--json]
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from trimtab.app import make_app
from trimtab.config import Config, load
from trimtab.runtime import Runtime
from trimtab.server import listen, run
from trimtab.store import MemoryStore

from .lab.bodies import MODELS, PATHS, Client
from .lab.script import Result, table

PIECES = 50
PACE = 0.02
"""Seconds between two pieces."""
HEAD = ("call", "first ms", "end of call ms", "end behind upstream's ms")
_SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_PIPELINES = '[pipeline.default]\nstages = ["auth", "token-count", "route", "scale"]\n[retry]\nhold-tool-calls = {}\n'
Times = tuple[float, float, float]


def _frame(value: Any) -> bytes:
    name = f"event: {value['type']}\n" if "type" in value else ""
    return f"{name}data: {json.dumps(value)}\n\n".encode()


def _frames(chat: bool) -> tuple[bytes, list[bytes], bytes]:
    """The opening, the pieces of the call (its start first), and the end."""
    words = ['{"text":"', *["word "] * (PIECES - 2), '"}']
    if chat:
        first: dict[str, Any] = {"index": 0, "id": "call_1", "type": "function"}
        calls = [{**(first if not at else {"index": 0}), "function": {"arguments": w}} for at, w in enumerate(words)]
        calls[0]["function"]["name"] = "write"
        usage = {"prompt_tokens": 9, "completion_tokens": 50, "total_tokens": 59}
        return (
            _chunk({"role": "assistant", "content": ""}),
            [_chunk({"tool_calls": [call]}) for call in calls],
            _chunk({}, "tool_calls", usage=usage) + b"data: [DONE]\n\n",
        )
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    block = {"type": "tool_use", "id": "toolu_1", "name": "write", "input": {}}
    start = _frame({"type": "content_block_start", "index": 0, "content_block": block})
    pieces = [_piece(word) for word in words]
    end = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 50}}
    return (
        _frame({"type": "message_start", "message": {**message, "usage": {"input_tokens": 9, "output_tokens": 1}}}),
        [start + pieces[0], *pieces[1:]],
        _frame({"type": "content_block_stop", "index": 0}) + _frame(end) + _frame({"type": "message_stop"}),
    )


def _piece(word: str) -> bytes:
    delta = {"type": "input_json_delta", "partial_json": word}
    return _frame({"type": "content_block_delta", "index": 0, "delta": delta})


def _chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _frame({"id": "chatcmpl-1", "model": "m", "choices": [choice], **more})


class Upstream:
    """Answers every request with one call, and keeps when it wrote the call's first piece and its end."""

    def __init__(self) -> None:
        self.first = self.last = 0.0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
        opening, pieces, end = _frames(b"/chat/completions" in head.split(b"\r\n", 1)[0])
        writer.write(_SSE + _sized(opening))
        await asyncio.sleep(PACE)
        self.first = perf_counter()
        for piece in pieces:
            writer.write(_sized(piece))
            await asyncio.sleep(PACE)
        self.last = perf_counter()
        writer.write(_sized(end) + b"0\r\n\r\n")
        writer.close()


def _sized(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _ask(port: int, dialect: Client) -> tuple[float, float]:
    """When a client saw the first piece of the call, and the reply's end."""
    body = {"model": MODELS[dialect], "stream": True, "max_tokens": 99, "messages": [{"role": "user", "content": "x"}]}
    data, first = json.dumps(body).encode(), 0.0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    fields = f"host: 127.0.0.1\r\nauthorization: Bearer bench\r\nconnection: close\r\ncontent-length: {len(data)}"
    writer.write(f"POST {PATHS[dialect]} HTTP/1.1\r\n{fields}\r\n\r\n".encode() + data)
    got = b""
    while not got.endswith(b"0\r\n\r\n"):
        more = await reader.read(65536)
        if not more:
            break
        got += more
        first = first or (perf_counter() if b'"write"' in got else 0.0)
    writer.close()
    if not first or got.count(b"word ") != PIECES - 2:
        raise RuntimeError(f"not the reply that was sent: {got[:300]!r}")
    return first, perf_counter()


def _config(folder: Path, hold: str, upstream: int) -> Config:
    path, base = folder / "pipelines.toml", f"http://127.0.0.1:{upstream}"
    path.write_text(_PIPELINES.format(hold))
    return load(path, {"UPSTREAM_BASE": base, "OPENAI_UPSTREAM_BASE": f"{base}/v1", "CACHE_DIR": str(folder)})


@asynccontextmanager
async def _proxy(hold: str, upstream: int) -> AsyncIterator[int]:
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder:
        runtime, stop = Runtime(_config(Path(folder), hold, upstream), store=MemoryStore()), asyncio.Event()
        listener = listen("127.0.0.1", 0)
        task = asyncio.create_task(run(make_app(runtime), listener, 2.0, stop))
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            await task


async def measure(rounds: int) -> Result:
    """Held and not held in turn; medians of the rounds."""
    upstream = Upstream()
    server = await asyncio.start_server(upstream.talk, "127.0.0.1", 0)
    port, times = server.sockets[0].getsockname()[1], dict[tuple[str, str], list[Times]]()
    async with server, _proxy("false", port) as plain, _proxy("true", port) as holding:
        # The first round opens what is opened once.
        for number in range(rounds + 1):
            for dialect in MODELS:
                for name, at in (("passed on", plain), ("held", holding)):
                    first, end = await _ask(at, dialect)
                    row = (first - upstream.first, end - upstream.first, end - upstream.last)
                    if number:
                        times.setdefault((dialect, name), []).append(row)
    return Result(HEAD, [(f"{d}, {name}", *_medians(found)) for (d, name), found in times.items()])


def _medians(found: list[Times]) -> list[float]:
    return [median(column) * 1000 for column in zip(*found, strict=True)]


def main() -> int:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser("python -m benchmarks.hold", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round instead of nine")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    arguments = parser.parse_args()
    result = asyncio.run(measure(1 if arguments.quick else 9))
    if arguments.json:
        print(json.dumps([dict(zip(result.head, row, strict=True)) for row in result.rows], indent=1))
    else:
        print(f"{(__doc__ or '').splitlines()[0]}\n\n{table(result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
