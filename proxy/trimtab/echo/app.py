"""The echo as a Starlette application that answers at any path prefix."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HTTPRequest
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from . import chat, messages
from .faults import Fault
from .nouns import Dialect, EchoOptions, Recorded
from .prompt import parse
from .send import Delivery
from .state import Echo

# What /models says of the window where no window is enforced.
_WINDOW = 200_000
_METHODS = {"/chat/completions": "POST", "/messages/count_tokens": "POST", "/messages": "POST", "/models": "GET"}
_STREAM = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


def echo_app(options: EchoOptions | None = None) -> Starlette:
    """Make the application; its state is `app.state.echo`."""
    echo = Echo(options)
    app = Starlette(routes=[Route("/{path:path}", _Endpoint(echo))])
    app.state.echo = echo
    return app


class _Endpoint:
    def __init__(self, echo: Echo) -> None:
        self._echo = echo

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = HTTPRequest(scope, receive)
        try:
            recorded = await _recorded(http)
        except ClientDisconnect:
            return
        self._echo.record(recorded)
        await self._respond(recorded)(scope, receive, send)

    def _respond(self, recorded: Recorded) -> Delivery:
        operation = next((path for path in _METHODS if recorded.path.endswith(path)), "")
        dialect = _dialect(operation, recorded)
        ident = f"req_{sha256(recorded.body).hexdigest()[:24]}"
        try:
            self._admit(operation, recorded)
            return self._perform(operation, dialect, recorded, ident)
        except Fault as fault:
            more = {"allow": _METHODS[operation]} if fault.status == 405 else {}
            return self._json(fault.status, dialect.error(fault, ident), ident, more)

    def _admit(self, operation: str, recorded: Recorded) -> None:
        if not operation:
            raise Fault(404, f"unknown path {recorded.path}", "unknown_url")
        if recorded.method != _METHODS[operation]:
            raise Fault(405, f"{recorded.method} is not allowed here, only {_METHODS[operation]}")
        expected = self._echo.options.api_key
        if expected is not None and not hmac.compare_digest(_key(recorded).encode(), expected.encode()):
            raise Fault(401, "the API key is not valid", "invalid_api_key")

    def _perform(self, operation: str, dialect: Dialect, recorded: Recorded, ident: str) -> Delivery:
        echo, options = self._echo, self._echo.options
        if operation == "/models":
            return self._json(200, dialect.models(options.models, options.window or _WINDOW), ident)
        request = parse(recorded.body)
        if operation == "/messages/count_tokens":
            return self._json(200, {"input_tokens": echo.tokens(request)}, ident)
        reply = echo.reply(request, dialect)
        if not request.stream:
            return self._json(200, dialect.answer(reply), ident, delay=options.delay)
        usage = (request.stream_options or {}).get("include_usage") is True
        events = dialect.events(reply, options.text_chunk, usage=usage)
        return Delivery(echo, 200, _STREAM | _ident(ident), events, streamed=True, delay=options.delay)

    def _json(
        self,
        status: int,
        value: Any,
        ident: str,
        headers: dict[str, str] | None = None,
        delay: float = 0.0,
    ) -> Delivery:
        body = msgspec.json.encode(value)
        head = {"content-type": "application/json", "content-length": str(len(body)), **_ident(ident)}
        return Delivery(self._echo, status, head | (headers or {}), [body], delay=delay)


async def _recorded(http: HTTPRequest) -> Recorded:
    return Recorded(
        method=http.method,
        path=http.scope["path"],
        query=http.scope["query_string"].decode("latin-1"),
        headers=dict(http.headers),
        body=await http.body(),
    )


def _dialect(operation: str, recorded: Recorded) -> Dialect:
    if operation.startswith("/messages"):
        return messages
    if operation == "/chat/completions":
        return chat
    return messages if "anthropic-version" in recorded.headers else chat


def _key(recorded: Recorded) -> str:
    bearer = recorded.headers.get("authorization", "")
    return bearer.removeprefix("Bearer ") if bearer else recorded.headers.get("x-api-key", "")


def _ident(ident: str) -> dict[str, str]:
    # Each dialect has its own name for this header; the reader of the other one overlooks it.
    return {"request-id": ident, "x-request-id": ident}
