"""Routes and lifespan."""

import asyncio
from typing import Any

import pytest

from asgi import NOWHERE, Running, call, make_config, make_runtime, running
from trimtab.api import Exchange, Reply, Services, Stage, StageOptions, hookimpl
from trimtab.app import make_app
from trimtab.config import ServeOptions
from trimtab.errors import ConfigError
from trimtab.events import Finished, StopReason, TextDelta

pytestmark = pytest.mark.anyio

CHAT = b'{"model":"gpt-x","messages":[{"role":"user","content":"hi"}]}'
ORIGIN = {"origin": "http://page.test"}


class Says(Stage[StageOptions]):
    """Answers with the name of the pipeline."""

    name = "says"

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        return Reply((TextDelta(exchange.pipeline), Finished(StopReason.END)))


class Broken(Stage[StageOptions]):
    """Cannot start."""

    name = "broken"

    @hookimpl
    async def start(self, services: Services) -> None:
        raise ConfigError("no")


async def lifespan(app: Any) -> list[str]:
    """Start and stop an app as a server does; the types of what it said."""
    told: list[str] = []
    asked = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Any:
        return {"type": next(asked)}

    async def send(message: Any) -> None:
        told.append(message["type"])

    await app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
    return told


async def test_the_lifespan_starts_and_stops_the_runtime() -> None:
    runtime = make_runtime(make_config(NOWHERE, Says))
    assert await lifespan(make_app(runtime)) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert runtime.started
    assert runtime.current.stopped


async def test_a_stage_that_cannot_start_fails_the_lifespan() -> None:
    app = make_app(make_runtime(make_config(NOWHERE, Broken)))
    with pytest.raises(ConfigError, match="stage 'broken': no"):
        await lifespan(app)


async def test_named_pipelines_have_the_same_routes() -> None:
    async with running(pipelines={"default": (Says,), "second": (Says,)}) as proxy:
        for path, name in (("/v1/chat/completions", "default"), ("/p/second/v1/chat/completions", "second")):
            answer = await proxy.post(path, CHAT)
            assert answer.json["choices"][0]["message"]["content"] == name
        assert (await proxy.get("/p/second/v1/models")).status == 200
        assert (await proxy.get("/p/second/v1/models/eyes")).json["id"] == "eyes"
        assert (await proxy.get("/p/none/v1/models")).status == 404


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://127.0.0.1:5000/v1/chat/completions", 200),
        ("https://proxy.test/v1/chat/completions", 200),
        ("http://127.0.0.1:5000", 404),
        ("http://127.0.0.1:5000/nowhere", 404),
        ("*", 404),
        ("/v1/models/a\nb", 404),
    ],
)
async def test_targets_that_no_pattern_fits(target: str, status: int) -> None:
    async with running(NOWHERE, Says) as proxy:
        answer = await proxy.post(target, CHAT)
    assert answer.status in ({status, 405} if status == 404 else {status})
    assert status == 200 or set(answer.json["error"]) >= {"message", "type"}


async def ask(proxy: Running, method: str, **more: str) -> dict[str, str]:
    answer = await call(proxy.app, method, "/v1/chat/completions", CHAT, {**ORIGIN, **more})
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control")}


async def test_pages_of_other_origins_may_call_only_when_told() -> None:
    wish = {"access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    async with running(NOWHERE, Says) as proxy:
        assert await ask(proxy, "POST") == {}
        assert await ask(proxy, "OPTIONS", **wish) == {}
    serve = ServeOptions(cors=True, origins=("https://app.example",))
    async with running(NOWHERE, Says, serve=serve) as proxy:
        for origin in ("https://app.example", "http://localhost:3000", "https://127.0.0.1", "http://[::1]:8"):
            told = await ask(proxy, "POST", origin=origin)
            assert told["access-control-allow-origin"] == origin
            allowed = await ask(proxy, "OPTIONS", origin=origin, **wish)
            assert allowed["access-control-allow-origin"] == origin
            assert "POST" in allowed["access-control-allow-methods"]
            assert "access-control-allow-credentials" not in allowed
        for origin in (
            "https://evil.example",
            "http://localhost.evil.example",
            "http://localhost:1@evil.example",
            "null",
        ):
            assert "access-control-allow-origin" not in await ask(proxy, "POST", origin=origin)
            assert "access-control-allow-origin" not in await ask(proxy, "OPTIONS", origin=origin, **wish)


async def test_two_requests_at_once_do_not_meet() -> None:
    async with running(NOWHERE, Says) as proxy:
        answers = await asyncio.gather(*(proxy.post("/v1/chat/completions", CHAT) for _ in range(8)))
        assert len({answer.headers["x-request-id"] for answer in answers}) == 8
        assert proxy.runtime.current.users == 0


async def test_a_websocket_is_closed() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async with running(NOWHERE, Says) as proxy:
        scope = {"type": "websocket", "path": "/v1/responses", "headers": [], "query_string": b"", "subprotocols": []}
        await proxy.app(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]
