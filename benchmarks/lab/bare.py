"""The least a proxy can be, on the server and the client that trimtab uses: python -m benchmarks.lab.bare PORT BASE

One Starlette route, one aiohttp request, four headers passed on, no look at any body.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from trimtab.server import listen, run

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


async def serve(port: int, base: str) -> None:
    """Serve until SIGTERM, with trimtab's own settings of hypercorn."""
    hop, stop = Hop(base), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    app = Starlette(routes=[Route("/{path:path}", hop.answer, methods=["POST"])], lifespan=hop.lifespan)
    await run(app, listen("127.0.0.1", port), 1.0, stop)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
