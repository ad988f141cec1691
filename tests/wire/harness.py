"""Real servers on free ports of this machine, for tests of the whole system."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import held
from trimtab.app import make_app
from trimtab.config import ServeOptions, load
from trimtab.echo import Echo, EchoOptions, echo_app
from trimtab.runtime import Runtime
from trimtab.server import listen, run
from trimtab.store import MemoryStore
from trimtab.testing import StillClock

PATIENCE = 60.0
"""Seconds after which an answer that never comes fails a test; a machine under load may stand still for 20."""

PIPELINES = (
    '[pipeline.default]\nstages = ["auth", "env-dedup", "image-aging", "token-count", "risk-assess", '
    '"condense", "route", "scale", "log"]\n'
)


@asynccontextmanager
async def serving(
    app: Any,
    grace: float = 2.0,
    serve: ServeOptions | None = None,
    *,
    cut: Callable[[], None] = lambda: None,
    stop: asyncio.Event | None = None,
) -> AsyncIterator[str]:
    """The app on hypercorn and a free port; yields its base URL."""
    listener, stop = listen("127.0.0.1", 0), stop or asyncio.Event()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    task = asyncio.create_task(run(app, listener, grace, stop, serve, cut))
    try:
        yield url
    finally:
        stop.set()
        await task


@asynccontextmanager
async def echoing(options: EchoOptions | None = None) -> AsyncIterator[tuple[str, Echo]]:
    """The embedded upstream; yields its base URL and its state."""
    app = echo_app(options)
    async with serving(app) as url:
        yield url, app.state.echo


class Proxy(NamedTuple):
    """A running proxy."""

    url: str
    runtime: Runtime
    clock: StillClock
    path: Path
    """Its pipelines.toml."""


@asynccontextmanager
async def proxying(
    folder: Path,
    upstream: str,
    *,
    pipelines: str = PIPELINES,
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[Proxy]:
    """The proxy in front of an upstream at `upstream` (both dialects), with a pipelines.toml of its own."""
    path = folder / "pipelines.toml"
    path.write_text(pipelines)
    environment = {
        "UPSTREAM_BASE": upstream,
        "OPENAI_UPSTREAM_BASE": f"{upstream}/v1",
        "CACHE_DIR": str(folder / "cache"),
    }
    environment |= environ or {}

    def read() -> Any:
        return load(path, environment)

    clock = StillClock()
    runtime = Runtime(read(), store=MemoryStore(clock), clock=clock, load=read)
    async with serving(make_app(runtime), serve=runtime.config.serve) as url:
        yield Proxy(url, runtime, clock, path)


class Answer(NamedTuple):
    """An HTTP answer read from a raw socket."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)


async def post(
    url: str, path: str, body: bytes, headers: Mapping[str, str] | None = None, *, odd: bool = False
) -> Answer:
    """One POST over a socket of its own, with exactly these bytes."""
    return await exchange(url, "POST", path, body, headers, odd=odd)


async def exchange(
    url: str, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, *, odd: bool = False
) -> Answer:
    """One request over a socket of its own; its answer fits the published schemas, unless its upstream is `odd`."""
    reader, writer = await connect(url)
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(request(method, path, body, {"connection": "close", **(headers or {})}))
            await writer.drain()
            answer = parse(await reader.read())
    finally:
        writer.close()
    if method == "POST" and not odd:
        held.hold(path, answer.status, answer.body)
    return answer


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A socket to a base URL."""
    host, _, port = url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


def request(method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of an HTTP/1.1 request."""
    fields = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(body))}
    fields |= headers or {}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def parse(raw: bytes) -> Answer:
    """An HTTP answer from all its bytes."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = b"".join(_chunks(body))
    return Answer(int(status.split(" ")[1]), headers, body)


def _chunks(body: bytes) -> list[bytes]:
    pieces = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        pieces.append(rest[:length])
        body = rest[length + 2 :]
        if not length:
            break
    return pieces
