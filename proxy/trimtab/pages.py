"""The endpoints that ask no model: model lists, health, documentation, and what a wrong path gets."""

import os
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import msgspec
from loguru import logger

from trimtab import __version__, docs_page, headers, metrics, openapi
from trimtab.asgi import Receive, Scope, Send, Writer
from trimtab.dialects import DIALECTS
from trimtab.dialects.base import Dialect
from trimtab.endpoints import shown
from trimtab.errors import BadRequest, Cause, ProxyError
from trimtab.exchange import Exchange, Incoming
from trimtab.models import Model
from trimtab.runtime import Runtime, nothing
from trimtab.surfaces import check_method, incoming_of

JSON = "application/json"
EPOCH = 1_735_689_600
"""A fixed date of creation (2025-01-01) for models, which tell none."""


def dialect_of(incoming: Incoming) -> Dialect:
    """The dialect a caller of a shared path speaks, by what only one kind of client sends."""
    anthropic = "anthropic-version" in incoming.headers or "/messages" in incoming.path
    return DIALECTS["messages" if anthropic else "chat"]


class Page:
    """An ASGI endpoint that answers GET and HEAD in one piece."""

    methods: tuple[str, ...] = ("GET", "HEAD")
    guarded = False
    """Whether it takes the key that the pipeline's auth asks for."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        incoming = incoming_of(scope)
        writer = Writer(send, headers.request_id(incoming.headers), show_id=self.runtime.config.serve.request_id)
        try:
            target = len(scope["path"]) + len(scope["query_string"])
            self.runtime.door.check(scope["headers"], incoming.headers.get("host"), target)
            check_method(incoming, *self.allowed(incoming.path))
            await self.runtime.look()
            parameters = scope.get("path_params", {})
            if self.guarded:
                await self.admit(incoming, writer.request_id, parameters.get("pipeline", "default"))
            content_type, body = await self.answer(incoming, parameters)
            await writer.whole(200, {"content-type": content_type}, body, head=incoming.method == "HEAD")
        except ProxyError as error:
            logger.info("{} {} {}: {}", writer.request_id, incoming.method, incoming.path, error.message)
            await writer.fail(error, dialect_of(incoming))

    def allowed(self, path: str) -> tuple[str, ...]:
        """The methods that a path takes."""
        return self.methods

    async def admit(self, incoming: Incoming, identity: str, pipeline_name: str) -> None:
        """Let the stages that look at `inspect` requests say no."""
        with self.runtime.lease(pipeline_name) as pipeline:
            exchange = Exchange(
                id=identity,
                operation="inspect",
                incoming=incoming,
                conversation=nothing(dialect_of(incoming).name),
                pipeline=pipeline.name,
                resolve=pipeline.target,
            )
            await pipeline.request(exchange)

    async def answer(self, incoming: Incoming, parameters: dict[str, Any]) -> tuple[str, bytes]:
        """The content type and body."""
        raise NotImplementedError


class Models(Page):
    """GET /v1/models, in the caller's dialect."""

    guarded = True

    async def answer(self, incoming: Incoming, parameters: dict[str, Any]) -> tuple[str, bytes]:
        rows = list(self.runtime.config.models.models.values())
        return JSON, msgspec.json.encode(listing(rows, dialect_of(incoming)))


class ModelPage(Page):
    """GET /v1/models/{id}, in the caller's dialect."""

    guarded = True

    async def answer(self, incoming: Incoming, parameters: dict[str, Any]) -> tuple[str, bytes]:
        name, models = str(parameters["id"]), self.runtime.config.models.models
        if name not in models:
            near = get_close_matches(name, models, n=1)
            remedy = f", did you mean '{near[0]}'?" if near else ": GET /v1/models lists those we know"
            raise BadRequest(f"no model '{name}' in the table{remedy}", cause=Cause.NOT_FOUND)
        return JSON, msgspec.json.encode(described(models[name], dialect_of(incoming)))


class Stored(Page):
    """GET and DELETE /v1/responses/{id}: no response is kept, so that none is found."""

    guarded = True

    def allowed(self, path: str) -> tuple[str, ...]:
        """The methods that a path takes."""
        return ("POST",) if path.endswith("/cancel") else ("GET", "HEAD", "DELETE")

    async def answer(self, incoming: Incoming, parameters: dict[str, Any]) -> tuple[str, bytes]:
        name = str(parameters["id"])[:80]
        raise BadRequest(
            f"Response with id '{name}' not found: this proxy keeps no responses, send the whole input with each turn",
            cause=Cause.NOT_FOUND,
            param="id",
            code="response_not_found",
        )


def listing(rows: Sequence[Model], dialect: Dialect) -> dict[str, Any]:
    """A list of models as a dialect's clients expect it."""
    data = [described(row, dialect) for row in rows]
    if dialect.name == "messages":
        ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
        return {"data": data, "has_more": False, **ends}
    return {"object": "list", "data": data}


def described(row: Model, dialect: Dialect) -> dict[str, Any]:
    """One model as a dialect's clients expect it, with the window under the names that agents read."""
    limits = {"context_window": row.window, "context_length": row.window, "max_output_tokens": row.max_output}
    if dialect.name == "messages":
        return {
            "type": "model",
            "id": row.name,
            "display_name": row.display_name or row.name,
            "created_at": "2025-01-01T00:00:00Z",
            "max_input_tokens": row.window,
            "max_tokens": row.max_output,
            "capabilities": None,
            **limits,
        }
    return {"id": row.name, "object": "model", "created": EPOCH, "owned_by": "trimtab", **limits}


class Health(Page):
    """GET /health: whether the proxy takes requests; with `?verbose=1` and a key, its counters and upstreams."""

    async def answer(self, incoming: Incoming, parameters: dict[str, Any]) -> tuple[str, bytes]:
        self.runtime.admit()
        if "verbose" not in incoming.query:
            left_out = self.runtime.current.guard.state()
            told = {"status": "ok", "left_out": sorted(left_out)} if left_out else {"status": "ok"}
            return JSON, msgspec.json.encode(told)
        await self.admit(incoming, "health", "default")
        return JSON, msgspec.json.encode(self.state())

    def state(self) -> dict[str, Any]:
        """Counters, tables, upstreams and pipelines; no key is among them."""
        runtime = self.runtime
        table = runtime.messages
        return {
            "status": "ok",
            "version": __version__,
            "worker": {"number": runtime.worker.number, "of": runtime.worker.count, "pid": os.getpid()},
            "pipelines": {name: list(labels) for name, labels in runtime.config.pipelines.items()},
            "left_out": runtime.current.guard.state(),
            "upstreams": {
                name: {
                    "dialect": row.dialect,
                    "base_url": shown(row.base_url),
                    **runtime.forwarder.state(name),
                    **runtime.lanes.state(name),
                    **runtime.breakers.of(name).told(),
                }
                for name, row in runtime.config.models.upstreams.items()
            },
            "memo": {
                "messages": len(table),
                "bytes": table.bytes,
                "max_bytes": table.max_bytes,
                "bodies_bytes": table.recent.bytes,
                "resumed": table.recent.resumed,
                "hits": table.hits,
                "misses": table.misses,
                "counts": len(runtime.counts),
            },
            "counters": runtime.counters.snapshot(),
        }


class Root(Page):
    """HEAD and GET /: agents probe it."""

    async def answer(self, incoming: Incoming, parameters: dict[str, Any]) -> tuple[str, bytes]:
        body = {"name": "trimtab", "version": __version__, "docs": "/docs", "health": "/health"}
        return JSON, msgspec.json.encode(body)


class OpenApi(Page):
    """GET /openapi.json."""

    async def answer(self, incoming: Incoming, parameters: dict[str, Any]) -> tuple[str, bytes]:
        return JSON, msgspec.json.encode(openapi.document())


class Docs(Page):
    """GET /docs: what can be asked for, with examples, as a page that needs no network."""

    async def answer(self, incoming: Incoming, parameters: dict[str, Any]) -> tuple[str, bytes]:
        serve = self.runtime.config.serve
        host = incoming.headers.get("host") or f"{serve.host}:{serve.port}"
        return "text/html; charset=utf-8", docs_page.page(self.runtime.config, host).encode()


class Metrics(Health):
    """GET /metrics: the counters of `/health?verbose=1` for Prometheus, with the key auth asks for."""

    async def answer(self, incoming: Incoming, parameters: dict[str, Any]) -> tuple[str, bytes]:
        await self.admit(incoming, "metrics", "default")
        return metrics.TYPE, metrics.text(self.state(), self.runtime.current.users).encode()


class Unknown(Page):
    """Every other path: 404 in the caller's dialect, with the nearest right one."""

    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

    def __init__(self, runtime: Runtime, known: Sequence[str]) -> None:
        super().__init__(runtime)
        self._known = [path for path in known if "{" not in path]

    async def answer(self, incoming: Incoming, parameters: dict[str, Any]) -> tuple[str, bytes]:
        near = get_close_matches(incoming.path, self._known, n=1, cutoff=0.4)
        remedy = f", did you mean {near[0]}?" if near else f" (known: {', '.join(self._known)})"
        raise BadRequest(f"no path {incoming.path[:200]}{remedy}", cause=Cause.NOT_FOUND)
