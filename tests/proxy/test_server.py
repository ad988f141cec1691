"""The server's settings and its life, as far as one process without signals shows them; the rest is in tests/wire."""

import asyncio
import socket
from typing import Any

import pytest
from hypercorn.asyncio import run as hypercorn_run

from trimtab.connections import EndingServer
from trimtab.errors import ConfigError
from trimtab.server import listen, run, run_here, settings


def test_hypercorn_gets_defaults_that_agents_need() -> None:
    config = settings(7, 60.0)
    assert (config.bind, config.graceful_timeout, config.shutdown_timeout) == (["fd://7"], 63.0, 65.0)
    assert config.keep_alive_timeout >= 300
    assert config.keep_alive_max_requests > 10**6
    assert config.h11_max_incomplete_size == 2 * 64 * 1024
    assert config.head_timeout == 30
    assert (config.include_server_header, config.include_date_header) == (False, False)
    assert (config.accesslog, config.errorlog) == (None, None)
    assert hypercorn_run.TCPServer is EndingServer  # type: ignore[attr-defined]  # a name of the module


def test_a_listener_takes_a_free_port_and_does_not_block() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.getsockname()[1] > 0
        assert not listener.getblocking()


def test_a_listener_on_the_newer_protocol() -> None:
    try:
        with listen("::1", 0) as listener:
            assert listener.family == socket.AF_INET6
    except ConfigError:
        pytest.skip("no IPv6 on this machine")


def test_an_address_that_is_none_of_ours() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1:0: .*; choose another --port"):
        listen("192.0.2.1", 0)


@pytest.mark.anyio
async def test_a_server_runs_until_it_is_told_to_stop() -> None:
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for word in ("startup", "shutdown"):
                told.append((await receive())["type"])
                await send({"type": f"lifespan.{word}.complete"})
            return
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    listener, stop = listen("127.0.0.1", 0), asyncio.Event()
    port = listener.getsockname()[1]
    server = asyncio.create_task(run(app, listener, 1.0, stop))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    head = (await reader.read()).lower()
    assert head.startswith(b"http/1.1 204")
    assert b"\r\nserver:" not in head
    assert b"\r\ndate:" not in head
    writer.close()
    stop.set()
    await server
    assert told == ["lifespan.startup", "lifespan.shutdown"]
    with pytest.raises(OSError, match="127"):
        await asyncio.open_connection("127.0.0.1", port)


def test_work_runs_on_a_loop_of_its_own() -> None:
    done: list[str] = []

    async def work() -> None:
        done.append(type(asyncio.get_running_loop()).__module__)

    run_here(work())
    assert done[0].split(".")[0] in ("uvloop", "asyncio")
