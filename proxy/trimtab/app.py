"""The Starlette application: routes and lifespan, nothing else."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from trimtab.dialects import DIALECTS
from trimtab.dialects.responses_compact import COMPACTION
from trimtab.pages import Docs, Health, Metrics, ModelPage, Models, OpenApi, Page, Root, Stored, Unknown
from trimtab.runtime import Runtime
from trimtab.surfaces import Surface

LOCAL = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?"
"""Origins of this machine's own pages."""


class Application(Starlette):
    """Starlette, which is asked only about what `direct` does not know by its path: it takes 50 us for a request."""

    direct: Mapping[str, Surface] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        surface = self.direct.get(scope["path"]) if scope["type"] == "http" and not scope.get("root_path") else None
        if surface is None:
            await super().__call__(scope, receive, send)
        else:
            await surface(scope, receive, send)


def make_app(runtime: Runtime) -> Starlette:
    """The ASGI app over a runtime, which it starts and stops with its lifespan."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await runtime.start()
        try:
            yield
        finally:
            await runtime.stop()

    middleware = _middleware(runtime)
    app = Application(routes=routes(runtime), lifespan=lifespan, middleware=middleware)
    app.state.runtime = runtime
    if not middleware:
        app.direct = {
            route.path: route.app
            for route in app.router.routes
            if isinstance(route, Route) and isinstance(route.app, Surface) and "{" not in route.path
        }
    unknown = app.router.routes[-1]

    async def default(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000, "reason": "no WebSockets here: use HTTP"})
            return
        # The absolute form of a target, which a server must take too (RFC 9112 3.2.2); or a path no pattern fits.
        if scope["type"] == "http" and scope["path"].startswith(("http://", "https://")):
            await app({**scope, "path": urlsplit(scope["path"]).path or "/"}, receive, send)
        elif isinstance(unknown, Route):
            await unknown.app(scope, receive, send)

    app.router.default = default
    return app


def _middleware(runtime: Runtime) -> list[Middleware]:
    """Nothing, unless pages of other origins may call; such a page brings its own key, never a cookie."""
    serve = runtime.config.serve
    if not serve.cors:
        return []
    options: dict[str, Any] = {
        "allow_origins": list(serve.origins),
        "allow_origin_regex": LOCAL,
        "allow_methods": ["GET", "POST"],
        "allow_headers": ["*"],
    }
    return [Middleware(CORSMiddleware, **options)]


def routes(runtime: Runtime) -> list[BaseRoute]:
    """All routes, the busiest first; a named pipeline has the same ones under /p/NAME."""
    chat, messages, responses = DIALECTS["chat"], DIALECTS["messages"], DIALECTS["responses"]
    model_routes: list[tuple[str, Surface | Page]] = [
        ("/v1/messages", Surface(runtime, messages, "generate")),
        ("/v1/chat/completions", Surface(runtime, chat, "generate")),
        ("/v1/messages/count_tokens", Surface(runtime, messages, "count")),
        ("/v1/responses", Surface(runtime, responses, "generate")),
        ("/v1/responses/compact", Surface(runtime, COMPACTION, "generate")),
        ("/v1/responses/input_tokens", Surface(runtime, responses, "count")),
        ("/v1/responses/{id:path}", Stored(runtime)),
        ("/v1/models", Models(runtime)),
        ("/v1/models/{id:path}", ModelPage(runtime)),
    ]
    return [
        *(Route(path, endpoint) for path, endpoint in model_routes),
        *(Route("/p/{pipeline}" + path, endpoint) for path, endpoint in model_routes),
        Route("/health", Health(runtime)),
        Route("/metrics", Metrics(runtime)),
        Route("/", Root(runtime)),
        Route("/openapi.json", OpenApi(runtime)),
        Route("/docs", Docs(runtime)),
        Route("/{path:path}", Unknown(runtime, [path for path, _ in model_routes])),
    ]
