"""Drives an ASGI app by hand, in this process: the sequence of messages is there to be looked at."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from starlette.types import ASGIApp

from trimtab.app import make_app
from trimtab.config import Config, CoreOptions, ServeOptions, StageSpec, StoreOptions
from trimtab.hookspecs import Stage
from trimtab.models import Model, ModelTable, Upstream
from trimtab.runtime import Runtime
from trimtab.store import MemoryStore
from trimtab.testing import StillClock

PATIENCE = 20.0
"""Seconds after which an answer that never comes fails a test."""

NOWHERE = "http://127.0.0.1:9"
"""An upstream that no test reaches."""


class Called(NamedTuple):
    """What an app sent."""

    messages: list[MutableMapping[str, Any]]

    @property
    def status(self) -> int:
        """The status of the answer."""
        status: int = self.messages[0]["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the answer."""
        return {name.decode(): value.decode("latin-1") for name, value in self.messages[0]["headers"]}

    @property
    def pieces(self) -> list[bytes]:
        """The pieces of the body as they were sent."""
        return [message["body"] for message in self.messages[1:]]

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The message of an error."""
        return str(self.json["error"]["message"])


async def call(
    app: ASGIApp,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    hang_up_after: int | asyncio.Event | None = None,
) -> Called:
    """One request. The client leaves after so many messages or after an event, else it waits for the end."""
    sent: list[MutableMapping[str, Any]] = []
    told = [{"type": "http.request", "body": body, "more_body": False}]
    progress = asyncio.Event()
    count = hang_up_after if isinstance(hang_up_after, int) else None
    leaves = hang_up_after if isinstance(hang_up_after, asyncio.Event) else asyncio.Event()

    async def receive() -> MutableMapping[str, Any]:
        if told:
            return told.pop()
        while count is not None and len(sent) < count:
            progress.clear()
            await progress.wait()
        if count is None:
            await leaves.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)
        progress.set()

    target, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.1"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": target,
        "raw_path": target.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 5000),
    }
    async with asyncio.timeout(PATIENCE):
        await app(scope, receive, send)
    return Called(sent)


class Running(NamedTuple):
    """A started proxy without a server."""

    app: ASGIApp
    runtime: Runtime

    async def post(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        hang_up_after: int | asyncio.Event | None = None,
    ) -> Called:
        """One POST."""
        return await call(self.app, "POST", path, body, headers, hang_up_after=hang_up_after)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Called:
        """One GET."""
        return await call(self.app, "GET", path, b"", headers)


def make_config(
    url: str,
    *stages: type[Stage[Any]],
    serve: ServeOptions | None = None,
    pipelines: Mapping[str, tuple[type[Stage[Any]], ...]] | None = None,
) -> Config:
    """A configuration with an upstream of each dialect at `url` and these stages, in this order."""
    upstreams = {
        "text": Upstream(dialect="messages", base_url=url, auth="x-api-key", key="sk-upstream"),
        "images": Upstream(dialect="chat", base_url=f"{url}/v1"),
    }
    models = {
        "small": Model(window=10_000, max_output=1_000, upstreams={"messages": "text"}, display_name="Small One"),
        "eyes": Model(window=5_000, max_output=500, upstreams={"chat": "images"}, images=True),
    }
    chains = {"default": stages, **(pipelines or {})}
    return Config(
        serve=serve or ServeOptions(),
        core=CoreOptions(extras=False),
        store=StoreOptions(),
        models=ModelTable(upstreams, models),
        pipelines={name: tuple(stage.name for stage in chain) for name, chain in chains.items()},
        stages={
            stage.name: StageSpec(stage.name, stage.name, stage, stage.Options())
            for chain in chains.values()
            for stage in chain
        },
        sources={},
    )


def make_runtime(config: Config, **arguments: Any) -> Runtime:
    """A runtime with a store in memory and a clock that stands still."""
    clock = StillClock()
    return Runtime(config, **{"store": MemoryStore(clock), "clock": clock, **arguments})


@asynccontextmanager
async def running(url: str = NOWHERE, *stages: type[Stage[Any]], **options: Any) -> AsyncIterator[Running]:
    """The app over a started runtime, which is stopped at the end."""
    runtime = make_runtime(make_config(url, *stages, **options))
    await runtime.start()
    try:
        yield Running(make_app(runtime), runtime)
    finally:
        await runtime.stop()
