"""Everything goes wrong at once, for a minute: every request must end in a right answer or a right error.

python -m benchmarks.chaos [--seconds 60] [--clients 64]; exit code 1 on any violation.

The upstream changes its manners twice a second (good, slow, refusing, resetting, cutting streams, 429, 500, hanging),
pipelines.toml is rewritten every second (every fourth one broken), the log of bodies is full every few requests, and
the disk under the cache is full from the middle on.
"""

import argparse
import asyncio
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from .lab.talk import Said, Watched, read_answer, watched

HANGS_AFTER = 30.0
"""Seconds after which a request hangs: more than all waits and retries of the proxy together."""
TMPFS = "512k"
GROWTH_MB = 40
"""How much memory may grow between the end of the first third and the end."""
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
STAGES = (
    ["auth", "env-dedup", "token-count", "risk-assess", "route", "scale", "log"],
    ["auth", "token-count", "route", "log"],
    ["auth", "route", "scale", "log"],
)


def pipelines(folder: Path, turn: int) -> str:
    """The file of one second."""
    if turn % 4 == 3:
        return "[pipeline.default\n"
    rows = "".join(
        f"[upstream.{name}]\nconnect-timeout = 2\nfirst-byte-timeout = 2\nsilence-timeout = 2\n"
        for name in ("zai-messages", "zai-chat")
    )
    bodies = f'[stage.log.upstream]\nfile = "{folder / "bodies.log"}"\nmax-mb = 0.02\nkeep = 3\n'
    chain = f"[pipeline.default]\nstages = {json.dumps(STAGES[turn % len(STAGES)])}\n"
    return f'{chain}[stage.log]\nlevel = "ERROR"\n{bodies}[serve]\nfirst-ping = 1\nping-interval = 1\n{rows}'


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
            yield b"data: %s\n\n" % _json({**head, "choices": [{"index": 0, "delta": {"content": piece}}]})
        last = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        yield b"data: %s\n\n" % _json(
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
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), _json({"type": kind, **members}))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class Clients:
    """The agents: each asks again and again, and judges what it gets."""

    def __init__(self, port: int, until: float) -> None:
        self._port = port
        self._until = until
        self.ends: Counter[str] = Counter()
        self.violations: list[str] = []
        self.slowest = 0.0

    async def one(self, name: int) -> None:
        """One client."""
        rng, link, turn = random.Random(name), None, 0
        while perf_counter() < self._until:
            turn += 1
            word = f"client {name} turn {turn} " + "x" * rng.randrange(200)
            chat, stream = rng.random() < 0.5, rng.random() < 0.6
            begun = perf_counter()
            try:
                async with asyncio.timeout(HANGS_AFTER):
                    if link is None:
                        link = await asyncio.open_connection("127.0.0.1", self._port, limit=2**22)
                    said = await self._ask(link, word, chat, stream)
            except TimeoutError:
                self._wrong("hangs", f"{word[:30]} chat={chat} stream={stream}")
                said = None
            except OSError as error:
                self._wrong("connection", repr(error))
                said = None
            self.slowest = max(self.slowest, perf_counter() - begun)
            self._judge(said, word, chat, stream)
            if link is not None and (said is None or not said.whole or b"connection: close" in said.head.lower()):
                link[1].close()
                link = None
            await asyncio.sleep(rng.random() * 0.2)
        if link is not None:
            link[1].close()

    async def _ask(
        self, link: tuple[asyncio.StreamReader, asyncio.StreamWriter], word: str, chat: bool, stream: bool
    ) -> Said | None:
        reader, writer = link
        body = _json(
            {"model": "glm-4.6", "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": word}]}
        )
        path = "/v1/chat/completions" if chat else "/v1/messages"
        fields = f"host: 127.0.0.1\r\nauthorization: Bearer k\r\ncontent-length: {len(body)}\r\n"
        writer.write(f"POST {path} HTTP/1.1\r\n{fields}\r\n".encode() + body)
        return await read_answer(reader)

    def _judge(self, said: Said | None, word: str, chat: bool, stream: bool) -> None:
        if said is None:
            self._wrong("no answer", word[:30])
        elif said.status != 200:
            self._error(said, chat)
        elif stream:
            self._streamed(said, word, chat)
        elif not said.whole or word not in _text(said.body, chat):
            self._wrong("a wrong reply", f"{word[:30]}: {said.body[:200]!r}")
        else:
            self.ends["reply"] += 1

    def _error(self, said: Said, chat: bool) -> None:
        try:
            found = json.loads(said.body)
            right = isinstance(found["error"]["message"], str) and (chat or found["type"] == "error")
        except (ValueError, KeyError, TypeError):
            right = False
        if right and said.whole:
            self.ends[f"error {said.status}"] += 1
        else:
            self._wrong("a wrong error", f"{said.status} {said.body[:200]!r}")

    def _streamed(self, said: Said, word: str, chat: bool) -> None:
        done = said.body.rstrip().endswith(b"data: [DONE]") if chat else b"event: message_stop\n" in said.body
        failed = b'"error"' in said.body
        if done and not failed and _spoken(said.body, chat) == word:
            self.ends["stream"] += 1
        elif failed and not done and said.whole and word.startswith(_spoken(said.body, chat)):
            self.ends["error in stream"] += 1
        else:
            self._wrong("a wrong stream", f"{word[:30]} done={done} failed={failed}: {said.body[-300:]!r}")

    def _wrong(self, kind: str, what: str) -> None:
        self.ends[f"VIOLATION: {kind}"] += 1
        if len(self.violations) < 20:
            self.violations.append(f"{kind}: {what}")


def _text(body: bytes, chat: bool) -> str:
    try:
        found = json.loads(body)
        return str(found["choices"][0]["message"]["content"] if chat else found["content"][0]["text"])
    except (ValueError, KeyError, IndexError, TypeError):
        return ""


def _spoken(body: bytes, chat: bool) -> str:
    """The text in a stream."""
    text = ""
    for line in body.splitlines():
        with suppress(ValueError, KeyError, IndexError, TypeError):
            found = json.loads(line.removeprefix(b"data: "))
            delta = found["choices"][0]["delta"] if chat else found["delta"]
            text += delta.get("content" if chat else "text") or ""
    return text


@contextmanager
def small_disk(folder: Path) -> Iterator[tuple[Path, str]]:
    """A folder on a disk of its own that is soon full; where none can be mounted, one that is made unwritable."""
    place = folder / "disk"
    place.mkdir()
    mounted = (
        shutil.which("mount") is not None
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={TMPFS}", "tmpfs", str(place)], capture_output=True, check=False
        ).returncode
    )
    try:
        yield place, f"tmpfs of {TMPFS}" if mounted else "no tmpfs can be mounted: the cache is replaced by a file"
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=False)


def fill(place: Path, how: str) -> None:
    """Let the disk be full."""
    if how.startswith("tmpfs"):
        with suppress(OSError), (place / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
    else:
        shutil.rmtree(place / "cache", ignore_errors=True)
        (place / "cache").write_bytes(b"")


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


async def edit(folder: Path, until: float) -> int:
    """Rewrite pipelines.toml every second."""
    turn = 0
    while perf_counter() < until:
        await asyncio.sleep(1)
        turn += 1
        (folder / "pipelines.toml").write_text(pipelines(folder, turn))
    (folder / "pipelines.toml").write_text(pipelines(folder, 0))
    return turn


async def health(proxy: Watched) -> dict[str, Any]:
    """What the proxy tells of itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, limit=2**22)
    writer.write(b"GET /health?verbose=1 HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer k\r\n\r\n")
    async with asyncio.timeout(HANGS_AFTER):
        said = await read_answer(reader)
    writer.close()
    found: dict[str, Any] = json.loads(said.body) if said is not None else {}
    return found


async def main(seconds: float, count: int) -> int:
    """Run it; 1 on any violation."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with small_disk(folder) as (disk, how):
            return await _chaos(folder, disk, how, seconds, count)


async def _chaos(folder: Path, disk: Path, how: str, seconds: float, count: int) -> int:
    upstream = Upstream()
    (await upstream.begin()).close()
    base = f"http://127.0.0.1:{upstream.port}"
    (folder / "pipelines.toml").write_text(pipelines(folder, 0))
    environ = {"UPSTREAM_BASE": base, "OPENAI_UPSTREAM_BASE": f"{base}/v1", "CACHE_DIR": str(disk / "cache")}
    async with watched(folder, environ) as proxy:
        until = perf_counter() + seconds
        asyncio.get_running_loop().call_later(seconds / 2, fill, disk, how)
        clients = Clients(proxy.port, until)
        flapping, editing = asyncio.create_task(flap(upstream, until)), asyncio.create_task(edit(folder, until))
        await asyncio.gather(*(clients.one(number) for number in range(count)))
        edits = await editing
        found = await health(proxy)
        still = {row: state["open"] for row, state in found.get("upstreams", {}).items() if state.get("open")}
        await flapping
    rotated = len(list(folder.glob("bodies*")))  # noqa: ASYNC240
    return report(clients, proxy.report, how, edits, rotated, still, upstream.open)


def report(
    clients: Clients, told: dict[str, Any], how: str, edits: int, rotated: int, still: dict[str, int], open_: int
) -> int:
    """Print the table; 1 on any violation."""
    memory = [size / 2**20 for size in told.get("memory", [])] or [0.0]
    early, late = max(memory[: max(1, len(memory) // 3)]), memory[-1]
    counters = told.get("counters", {})
    violations = list(clients.violations)
    violations += [f"in the log: {line[:400]}" for line in told.get("errors", ["no report: it crashed"])]
    violations += [f"memory grew from {early:.0f} to {late:.0f} MB"] if late - early > GROWTH_MB else []
    violations += [f"upstream connections are open at the end: {still or open_}"] if still or open_ else []
    print("workers: this version has one process, so none was killed")
    print(f"disk under the cache: {how}, full from half time on")
    taken, broken = counters.get("reloads", 0), counters.get("reload_failed", 0)
    print(f"pipelines.toml rewritten {edits} times: {taken} taken, {broken} broken")
    print(f"files of bodies: {rotated}; slowest request {clients.slowest:.1f} s")
    print(f"memory: {early:.0f} MB in the first third, {late:.0f} MB at the end")
    print(f"upstream connections open at the end: {sum(still.values())}")
    for end, number in sorted(clients.ends.items()):
        print(f"{number:8} {end}")
    for violation in violations:
        print(f"VIOLATION {violation}")
    return 1 if violations else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=64)
    given = parser.parse_args(sys.argv[1:])
    raise SystemExit(asyncio.run(main(given.seconds, given.clients)))
