"""`trimtab serve --workers 2` as a user starts it: one port, two processes, and what becomes of each signal."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from wire.harness import PATIENCE, connect, exchange, post, request
from wire.scripted import SSE, Link, Sent, plain, playing
from wire.test_command import BODY, CHAIN, Command, command, refused

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="it forks"),
]

FIRST = b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","usage":{"input_tokens":3}}}\n\n'
STREAM = BODY.replace(b"{", b'{"stream":true,', 1)


@asynccontextmanager
async def two(folder: Path, upstream: str, more: str = "") -> AsyncIterator[Command]:
    (folder / "pipelines.toml").write_text(CHAIN + more)
    environ = {"UPSTREAM_BASE": upstream, "OPENAI_UPSTREAM_BASE": f"{upstream}/v1"}
    async with command(folder, "--workers", "2", environ=environ) as running:
        await running.says("worker 2 of 2")
        yield running


async def state(url: str) -> Any:
    return (await exchange(url, "GET", "/health?verbose=1", headers={"authorization": "Bearer k"})).json


async def pids(url: str) -> dict[int, int]:
    """The process of each worker, by its number; asks until both have answered."""
    found: dict[int, int] = {}
    async with asyncio.timeout(PATIENCE):
        while len(found) < 2:
            worker = (await state(url))["worker"]
            assert worker["of"] == 2
            found[worker["number"]] = worker["pid"]
    return found


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_both_serve_and_one_that_is_killed_is_replaced(tmp_path: Path) -> None:
    async with playing() as upstream, two(tmp_path, upstream.url) as running:
        before = await pids(running.url)
        os.kill(before[1], signal.SIGKILL)
        # Connections to the place of the dead one wait for the next worker: nobody is refused.
        answers = await asyncio.gather(*(post(running.url, "/v1/messages", BODY) for _ in range(20)))
        assert [answer.status for answer in answers] == [200] * 20
        assert "worker 1 of 2 ended (signal 9)" in await running.says("another takes its place")
        await running.says("worker 1 of 2")
        after = await pids(running.url)
        assert (after[2], after[1] != before[1]) == (before[2], True)
        metrics = (await exchange(running.url, "GET", "/metrics", headers={"authorization": "Bearer k"})).body.decode()
        told = {re.search(r'worker="(\d)"', line) is not None for line in metrics.splitlines() if line[0] != "#"}
        assert told == {True}
        log = await running.end()
    assert running.process.returncode == 0
    assert "Traceback" not in log
    assert all(gone(pid) for pid in after.values())


async def test_requests_under_way_in_both_end_well_after_sigterm(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def waits(sent: Sent, link: Link) -> None:
        await go.wait()
        await plain(sent, link)

    async with playing(waits) as upstream, two(tmp_path, upstream.url) as running:
        both = await pids(running.url)
        under_way = [asyncio.create_task(post(running.url, "/v1/messages", BODY)) for _ in range(12)]
        await upstream.received(12)
        running.process.send_signal(signal.SIGTERM)
        await running.says("stopping: ")
        await running.says("stopping: ")
        go.set()
        assert {answer.status for answer in await asyncio.gather(*under_way)} == {200}
        async with asyncio.timeout(PATIENCE):
            assert await running.process.wait() == 0
    assert all(gone(pid) for pid in both.values())


async def test_streams_of_both_end_in_their_dialects_error_after_their_time(tmp_path: Path) -> None:
    async def endless(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        await link.chunk(FIRST)
        await link.gone()

    async with playing(endless) as upstream, two(tmp_path, upstream.url, "[serve]\ngrace = 0.2\n") as running:
        links = [await connect(running.url) for _ in range(8)]
        async with asyncio.timeout(PATIENCE):
            for reader, writer in links:
                writer.write(request("POST", "/v1/messages", STREAM))
                await reader.readuntil(b"message_start")
            running.process.send_signal(signal.SIGINT)
            for reader, writer in links:
                rest = await reader.read()
                writer.close()
                assert b"event: error\n" in rest
                assert b"the proxy is stopping" in rest
            assert await running.process.wait() == 0


async def test_a_new_file_reaches_both(tmp_path: Path) -> None:
    async with playing() as upstream, two(tmp_path, upstream.url) as running:
        (tmp_path / "pipelines.toml").write_text(CHAIN + '[pipeline.second]\nstages = ["route"]\n')
        running.process.send_signal(signal.SIGHUP)
        await running.says("reloaded")
        await running.says("reloaded")
        answers = [await exchange(running.url, "POST", "/p/second/v1/messages", b"{}") for _ in range(8)]
        assert {answer.status for answer in answers} == {400}
        assert running.process.returncode is None


async def test_workers_whose_parent_is_killed_end(tmp_path: Path) -> None:
    async with playing() as upstream, two(tmp_path, upstream.url) as running:
        reader, writer = await connect(running.url)
        writer.write(request("GET", "/health"))
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b'"ok"}')
            running.process.kill()
            # The workers' end: they hold the command's stderr open until then.
            out, err = await running.process.communicate()
        writer.close()
    assert out == b""
    assert err.count(b"stopping: ") == 2


@pytest.mark.parametrize("more", ["[serve]\nprot = 1\n", '[stage.log.upstream]\nfile = "pipelines.toml/x"\n'])
async def test_what_cannot_start_is_told_once(tmp_path: Path, more: str) -> None:
    (tmp_path / "pipelines.toml").write_text(CHAIN + more)
    told = await refused(tmp_path, "--port", "0", "--workers", "2")
    assert ("prot" in told) or ("log.upstream.file" in told)
    assert len([line for line in told.splitlines() if " WARNING " not in line and " INFO " not in line]) == 1


async def test_a_second_one_on_the_same_port(tmp_path: Path) -> None:
    async with playing() as upstream, two(tmp_path, upstream.url) as running:
        port = running.url.rpartition(":")[2]
        for workers in ("1", "2"):
            told = await refused(tmp_path, "--port", port, "--workers", workers)
            assert f"cannot listen on 127.0.0.1:{port}" in told
        assert (await exchange(running.url, "GET", "/health")).status == 200


async def test_a_number_that_is_none(tmp_path: Path) -> None:
    assert "is no number of workers: 1 to 64" in await refused(tmp_path, "--workers", "0")


async def test_a_request_to_a_worker_that_is_killed_under_way_is_cut_not_answered_wrongly(tmp_path: Path) -> None:
    async def waits(sent: Sent, link: Link) -> None:
        await link.gone()

    async with playing(waits) as upstream, two(tmp_path, upstream.url) as running:
        both = await pids(running.url)
        reader, writer = await connect(running.url)
        writer.write(request("POST", "/v1/messages", BODY))
        await upstream.received(1)
        for pid in both.values():
            os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
        await running.says("another takes its place")
        await running.says("another takes its place")
        assert (await exchange(running.url, "GET", "/health")).status == 200
