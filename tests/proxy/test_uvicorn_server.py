"""The app on uvicorn: the same requests, streams and endings as on hypercorn."""

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from trimtab import uvicorn_server
from trimtab.app import make_app
from trimtab.config import load
from trimtab.errors import ConfigError
from trimtab.runtime import Runtime
from trimtab.server import listen
from trimtab.store import MemoryStore
from wire.harness import PATIENCE, PIPELINES, connect, echoing

BODY = {"model": "glm-4.6", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.anyio
async def test_the_proxy_answers_streams_and_stops_on_uvicorn(tmp_path: Path) -> None:
    path = tmp_path / "pipelines.toml"
    path.write_text(PIPELINES)
    async with echoing() as (upstream, _):
        config = load(path, {"UPSTREAM_BASE": upstream, "CACHE_DIR": str(tmp_path / "cache")})
        runtime = Runtime(config, store=MemoryStore())
        listener, stop = listen("127.0.0.1", 0), asyncio.Event()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/messages"
        server = asyncio.create_task(uvicorn_server.run(make_app(runtime), listener, 2.0, stop, runtime.cut))
        async with aiohttp.ClientSession(headers={"x-api-key": "k"}) as session:
            async with session.post(url, json=BODY) as answer:
                assert answer.status == 200
                assert "server" not in answer.headers
                assert (await answer.json())["usage"]["endpoint_type"] == "anthropic"
            async with session.post(url, json={**BODY, "stream": True}) as answer:
                frames = (await answer.read()).split(b"\n\n")
                assert frames[0].startswith(b"event: message_start")
                assert frames[-2].startswith(b"event: message_stop")
        stop.set()
        await server
        assert runtime.current.stopped


@pytest.mark.anyio
async def test_requests_under_way_are_cut_behind_the_time_of_grace() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for word in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{word}.complete"})
            return
        begun.set()
        await ended.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    listener, stop = listen("127.0.0.1", 0), asyncio.Event()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    server = asyncio.create_task(uvicorn_server.run(app, listener, 0.01, stop, ended.set))
    async with aiohttp.ClientSession() as session:
        asking = asyncio.create_task(session.get(url))
        await begun.wait()
        stop.set()
        with suppress(aiohttp.ClientError):
            assert (await asking).status == 204
        await server
    assert ended.is_set()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "lengths",
    [
        "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 4",
        "content-length: 4\r\ncontent-length: 5",
        "transfer-encoding: chunked, identity",
        "transfer-encoding : chunked",
    ],
)
async def test_a_head_with_two_lengths_is_refused_and_nothing_after_it_is_read(lengths: str) -> None:
    asked: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for word in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{word}.complete"})
            return
        asked.append(scope["path"])
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    listener, stop = listen("127.0.0.1", 0), asyncio.Event()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = asyncio.create_task(uvicorn_server.run(app, listener, 0.01, stop))
    reader, writer = await connect(url)
    hidden = "GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n"
    writer.write(f"POST / HTTP/1.1\r\nhost: a\r\n{lengths}\r\n\r\n0\r\n\r\n{hidden}".encode())
    async with asyncio.timeout(PATIENCE):
        found = await reader.read()
    writer.close()
    stop.set()
    await server
    assert found.startswith(b"HTTP/1.1 400 ")
    assert "/hidden" not in asked


@pytest.mark.anyio
async def test_without_the_extra_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with listen("127.0.0.1", 0) as listener, pytest.raises(ConfigError, match=r"pip install 'trimtab\[uvicorn\]'"):
        await uvicorn_server.run(None, listener, 1.0, asyncio.Event())
