"""Runs the app on uvicorn, the extra `trimtab[uvicorn]`: half the cost of a hop, and HTTP/1.1 only."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from trimtab.errors import ConfigError

KEEP_ALIVE = 300
"""Seconds that an idle connection is kept, as on hypercorn."""
NET = 5.0
"""Seconds behind the time of grace after which uvicorn breaks off what has not ended by itself."""


async def run(
    app: Any,
    listener: socket.socket,
    grace: float,
    stop: asyncio.Event,
    cut: Callable[[], None] = lambda: None,
) -> None:
    """Serve until `stop` is set, then give open streams `grace` seconds; after them `cut` ends what is under way.

    Raises ConfigError where uvicorn is not installed.
    """
    server = _server(app, grace)

    async def ending() -> None:
        await stop.wait()
        server.should_exit = True
        await asyncio.sleep(grace)
        cut()

    end = asyncio.create_task(ending())
    try:
        await server.serve([listener])
    finally:
        end.cancel()


def _server(app: Any, grace: float) -> Any:
    try:
        import uvicorn  # noqa: PLC0415  # an extra
    except ImportError:
        raise ConfigError("--server uvicorn needs its extra: pip install 'trimtab[uvicorn]'") from None

    class Server(uvicorn.Server):
        """Uvicorn's server without its signal handlers: ours say what happens, and stop it."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Server(
        uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=round(grace + NET),
        )
    )
