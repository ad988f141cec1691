"""Send a reply, slowly if asked, and notice a client that leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import anyio
from starlette.types import Receive, Scope, Send

from .state import Echo


@dataclass(frozen=True)
class Delivery:
    """A response as an ASGI application; one chunk becomes one message."""

    echo: Echo
    status: int
    headers: dict[str, str]
    chunks: Iterable[bytes]
    streamed: bool = False
    delay: float = field(default=0.0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything, or stop at once when the client leaves."""
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_when_gone, receive, group.cancel_scope)
            # A server of ASGI 2.4 says by an OSError in send that the client has gone.
            try:
                with self.echo.sending(streamed=self.streamed):
                    await self._send(send)
            except OSError:
                pass
            group.cancel_scope.cancel()

    async def _send(self, send: Send) -> None:
        await asyncio.sleep(self.delay)
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        pause = 0.0
        for chunk in self.chunks:
            # Even a pause of nothing lets a hang-up be noticed.
            await asyncio.sleep(pause)
            pause = self.echo.options.chunk_delay
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
