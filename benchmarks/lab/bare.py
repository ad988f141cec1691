"""The least a proxy can be, on the server and client of trimtab, as they come: python -m benchmarks.lab.bare PORT BASE

One Starlette route, one aiohttp request, four headers passed on, no look at any body.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import uvloop
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

PASSED = ("authorization", "x-api-key", "anthropic-version", "content-type")


class Hop:
    """The endpoint and its pool of connections."""

    def __init__(self, base: str) -> None:
        self._base = base

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Hold the pool open."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as self._session:
            yield

    async def answer(self, request: Request) -> Response:
        """Ask the upstream the same and pass on what comes."""
        headers = {name: request.headers[name] for name in PASSED if name in request.headers}
        body = await request.body()
        upstream = await self._session.post(self._base + request.url.path, data=body, headers=headers)
        kind = {"content-type": upstream.headers.get("content-type", "application/json")}
        if kind["content-type"].startswith("text/event-stream"):
            return StreamingResponse(_chunks(upstream), upstream.status, kind)
        async with upstream:
            return Response(await upstream.read(), upstream.status, kind)


async def _chunks(upstream: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with upstream:
        async for chunk in upstream.content.iter_any():
            yield chunk


def settings(listener: socket.socket) -> Config:
    """Hypercorn as it comes, but for the limits that would end a measurement."""
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.backlog = 2048
    config.keep_alive_timeout = 300
    config.keep_alive_max_requests = 10**9
    config.include_server_header = config.include_date_header = False
    config.accesslog = config.errorlog = None
    return config


async def serve(port: int, base: str) -> None:
    """Serve until SIGTERM, on hypercorn without trimtab's own connections."""
    hop, stop = Hop(base), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    app = Starlette(routes=[Route("/{path:path}", hop.answer, methods=["POST"])], lifespan=hop.lifespan)
    listener = socket.create_server(("127.0.0.1", port), backlog=2048)
    listener.setblocking(False)  # noqa: FBT003  # the standard library's own signature

    async def stopped() -> None:
        await stop.wait()

    await hypercorn_serve(app, settings(listener), shutdown_trigger=stopped)  # type: ignore[arg-type]


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
