"""The proxy's own end: what is under way gets its time, then its dialect's error; what is new is sent elsewhere."""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from trimtab.app import make_app
from trimtab.config import load
from trimtab.runtime import Runtime
from trimtab.store import MemoryStore
from wire.harness import PATIENCE, connect, parse, request, serving
from wire.scripted import SSE, Link, Sent, plain, playing

pytestmark = pytest.mark.anyio

CHAIN = '[pipeline.default]\nstages = ["auth", "route", "log"]\n'
MESSAGES = b'{"model":"claude-x","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}'
CHAT = b'{"model":"gpt-x","stream":true,"messages":[{"role":"user","content":"hi"}]}'
START = b'data: {"type":"message_start","message":{"id":"m","usage":{"input_tokens":3}}}'
FIRST = {
    "/v1/messages": b"event: message_start\n" + START + b"\n\n",
    "/v1/chat/completions": b'data: {"id":"c1","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n',
}
LISTENS = re.compile(r"trimtab listens on (http://127\.0\.0\.1:\d+)")


def frame_of(path: str) -> bytes:
    return FIRST["/v1/messages" if path.endswith("messages") else "/v1/chat/completions"]


async def endless(sent: Sent, link: Link) -> None:
    """Begin a stream and never end it."""
    await link.raw(SSE)
    await link.chunk(frame_of(sent.path))
    await link.gone()


class Stopping:
    """A proxy that can be told to stop, as its signal handler does."""

    def __init__(self, url: str, runtime: Runtime, stop: asyncio.Event) -> None:
        self.url = url
        self.runtime = runtime
        self._stop = stop

    def begin(self) -> None:
        self.runtime.draining = True
        self._stop.set()


@asynccontextmanager
async def stopping(folder: Path, upstream: str, grace: float) -> AsyncIterator[Stopping]:
    path = folder / "pipelines.toml"
    path.write_text(CHAIN)
    environ = {"UPSTREAM_BASE": upstream, "OPENAI_UPSTREAM_BASE": f"{upstream}/v1", "CACHE_DIR": str(folder / "cache")}
    runtime, stop = Runtime(load(path, environ), store=MemoryStore()), asyncio.Event()
    async with serving(make_app(runtime), grace, runtime.config.serve, cut=runtime.cut, stop=stop) as url:
        yield Stopping(url, runtime, stop)


@pytest.mark.parametrize(("path", "body"), [("/v1/messages", MESSAGES), ("/v1/chat/completions", CHAT)])
async def test_a_stream_whose_time_is_over_ends_in_its_dialects_error(tmp_path: Path, path: str, body: bytes) -> None:
    async with playing(endless) as upstream, stopping(tmp_path, upstream.url, 0.05) as proxy:
        reader, writer = await connect(proxy.url)
        writer.write(request("POST", path, body))
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"\n\n")
            proxy.begin()
            rest = await reader.read()
        writer.close()
        assert b"the proxy is stopping" in rest
        if path.endswith("messages"):
            assert b"event: error\n" in rest
            assert b"overloaded_error" in rest
            assert b"message_stop" not in rest
        else:
            assert b'"error"' in rest
            assert b"[DONE]" not in rest
        assert rest.endswith(b"0\r\n\r\n")
    assert proxy.runtime.counters.snapshot()["cut"] == 1
    assert proxy.runtime.watches == set()


@pytest.mark.parametrize(
    ("path", "body", "status"), [("/v1/messages", MESSAGES, 503), ("/v1/chat/completions", CHAT, 503)]
)
async def test_a_request_without_a_first_byte_gets_an_answer(
    tmp_path: Path, path: str, body: bytes, status: int
) -> None:
    async def silent(sent: Sent, link: Link) -> None:
        await link.gone()

    async with playing(silent) as upstream, stopping(tmp_path, upstream.url, 0.05) as proxy:
        reader, writer = await connect(proxy.url)
        writer.write(request("POST", path, body))
        await upstream.received(1)
        proxy.begin()
        async with asyncio.timeout(PATIENCE):
            answer = parse(await reader.read())
        writer.close()
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert "the proxy is stopping" in answer.json["error"]["message"]


async def test_a_stream_within_its_time_ends_as_it_should(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def waits(sent: Sent, link: Link) -> None:
        await go.wait()
        await plain(sent, link)

    async with playing(waits) as upstream, stopping(tmp_path, upstream.url, 20.0) as proxy:
        reader, writer = await connect(proxy.url)
        writer.write(request("POST", "/v1/messages", MESSAGES.replace(b'"stream":true,', b"")))
        await upstream.received(1)
        proxy.begin()
        go.set()
        async with asyncio.timeout(PATIENCE):
            answer = parse(await reader.read())
        writer.close()
        assert (answer.status, answer.json["content"][0]["text"]) == (200, "ok")


async def test_a_new_request_on_an_open_connection_is_sent_elsewhere(tmp_path: Path) -> None:
    async with playing() as upstream, stopping(tmp_path, upstream.url, 5.0) as proxy:
        links = [await connect(proxy.url) for _ in range(2)]
        for reader, writer in links:
            writer.write(request("GET", "/health"))
            async with asyncio.timeout(PATIENCE):
                await reader.readuntil(b'"ok"}')
        proxy.begin()
        for (reader, writer), raw in zip(
            links, (request("POST", "/v1/messages", MESSAGES), request("GET", "/health")), strict=True
        ):
            writer.write(raw)
            async with asyncio.timeout(PATIENCE):
                answer = parse(await reader.read())
            writer.close()
            assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert upstream.sent == []


async def test_a_client_that_reads_nothing_keeps_nobody_from_stopping(tmp_path: Path) -> None:
    async def floods(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        await link.chunk(FIRST["/v1/messages"])
        while True:
            await link.chunk(b": " + b"x" * 60_000 + b"\n\n")

    async with asyncio.timeout(PATIENCE):
        async with playing(floods) as upstream, stopping(tmp_path, upstream.url, 0.05) as proxy:
            _, writer = await connect(proxy.url)
            writer.write(request("POST", "/v1/messages", MESSAGES))
            await upstream.received(1)
            proxy.begin()
        writer.close()


LOOPS = {"uvloop": "", "asyncio": "import sys; sys.modules['uvloop'] = None; "}


@pytest.mark.skipif(sys.platform == "win32", reason="a signal ends it")
@pytest.mark.parametrize("loop", LOOPS)
async def test_the_command_ends_its_streams_on_either_loop(tmp_path: Path, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    (tmp_path / "pipelines.toml").write_text(CHAIN + "[serve]\nport = 0\ngrace = 0.2\n")
    async with playing(endless) as upstream:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "PYTHONPATH") if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", LOOPS[loop] + "from trimtab.cli import main; raise SystemExit(main(['serve']))",
            cwd=tmp_path, env={**kept, "UPSTREAM_BASE": upstream.url}, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            while not (found := LISTENS.search((line := await process.stderr.readline()).decode())):
                assert line, "it did not start"
            reader, writer = await connect(found.group(1))
            writer.write(request("POST", "/v1/messages", MESSAGES))
            await reader.readuntil(b"message_start")
            process.send_signal(signal.SIGTERM)
            rest = await reader.read()
            writer.close()
            assert await process.wait() == 0
        assert b"event: error\n" in rest
        assert b"the proxy is stopping" in rest
