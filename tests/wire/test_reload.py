"""pipelines.toml changes while the proxy runs."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from trimtab.config import Config, load
from trimtab.runtime import Runtime
from trimtab.store import MemoryStore
from trimtab.testing import StillClock
from wire.harness import PATIENCE, Proxy, exchange, post, proxying
from wire.scripted import Link, Sent, plain, playing

pytestmark = pytest.mark.anyio

BODY = b'{"model":"glm-4.6-openai","messages":[{"role":"user","content":"hi"}]}'


async def change(proxy: Proxy, text: str) -> None:
    """Write a new pipelines.toml, let a second pass, and wait until the proxy has dealt with it."""
    stat = proxy.path.stat()
    proxy.path.write_text(text)
    os.utime(proxy.path, (stat.st_atime, stat.st_mtime + 5))
    proxy.clock.advance(1.5)
    await exchange(proxy.url, "GET", "/v1/models")
    await proxy.runtime.settled()


async def test_a_valid_file_takes_over_and_a_broken_one_does_not(tmp_path: Path) -> None:
    async with playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        await post(proxy.url, "/v1/chat/completions", BODY)
        await change(proxy, '[pipeline.default]\nstages = ["route"]\n[stage.route]\nthinking = false\n')
        await post(proxy.url, "/v1/chat/completions", BODY)
        await change(proxy, "[pipeline.default\n")
        await post(proxy.url, "/v1/chat/completions", BODY)
        bodies = [sent.body for sent in upstream.sent]
        assert [b"thinking" in body for body in bodies] == [True, False, False]
        assert proxy.runtime.counters.snapshot()["reload_failed"] == 1
        assert proxy.runtime.counters.snapshot()["reloads"] == 1


async def test_numbers_of_retries_and_places_are_taken_over_and_nothing_used_is_forgiven(tmp_path: Path) -> None:
    chain = '[pipeline.default]\nstages = ["route"]\n'
    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=chain) as proxy:
        proxy.runtime.budget.take()
        rows = "[upstream.zai-chat]\nmax-parallel = 1\n"
        await change(proxy, chain + "[retry]\nbudget = 0.5\nreserve = 20\n[serve]\nmax-inflight-mb = 7\n" + rows)
        assert proxy.runtime.budget.left == 19
        assert proxy.runtime.room.limit == 7 * 2**20
        await post(proxy.url, "/v1/chat/completions", BODY)
        assert proxy.runtime.budget.left == 19.5
        row = proxy.runtime.config.models.upstreams["zai-chat"]
        assert proxy.runtime.lanes.place(row, ("k",), "a", b"").free
        await change(proxy, chain + "[retry]\nreserve = 0\n")
        assert not proxy.runtime.budget.enough


async def test_a_changed_env_alone_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        await post(proxy.url, "/v1/chat/completions", BODY)
        (tmp_path / ".env").write_text("ENABLE_ZAI_THINKING=false\n")
        proxy.clock.advance(1.5)
        await post(proxy.url, "/v1/chat/completions", BODY)
        assert [b"thinking" in sent.body for sent in upstream.sent] == [True, False]
        (tmp_path / ".env").unlink()
        proxy.clock.advance(1.5)
        await post(proxy.url, "/v1/chat/completions", BODY)
        assert b"thinking" in upstream.sent[-1].body


async def test_the_file_is_looked_at_once_a_second(tmp_path: Path) -> None:
    async with playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        proxy.path.write_text('[pipeline.default]\nstages = ["route"]\n')
        os.utime(proxy.path, (1, 1))
        proxy.clock.advance(0.5)
        await exchange(proxy.url, "GET", "/v1/models")
        await proxy.runtime.settled()
        assert "reloads" not in proxy.runtime.counters.snapshot()


async def test_a_running_stream_keeps_its_stages_until_it_ends(tmp_path: Path) -> None:
    answer = asyncio.Event()

    async def waits(sent: Sent, link: Link) -> None:
        if len(upstream.sent) > 1:
            await answer.wait()
        await plain(sent, link)

    async with playing(waits) as upstream, proxying(tmp_path, upstream.url) as proxy:
        old = proxy.runtime.current
        # A set that was idle once is not idle for good.
        await post(proxy.url, "/v1/chat/completions", BODY)
        running = asyncio.create_task(post(proxy.url, "/v1/chat/completions", BODY))
        await upstream.received(2)
        await proxy.runtime.reload()
        assert proxy.runtime.current is not old
        assert (old.users, old.stopped) == (1, False)
        answer.set()
        assert (await running).status == 200
        await proxy.runtime.settled()
        assert (old.users, old.stopped) == (0, True)


async def test_the_newest_of_two_reloads_holds(tmp_path: Path) -> None:
    path, slow, asked = tmp_path / "pipelines.toml", threading.Event(), threading.Event()
    path.write_text('[pipeline.default]\nstages = ["route"]\n')

    def read() -> Config:
        config = load(path, {})
        if not asked.is_set():
            asked.set()
            slow.wait(PATIENCE)
        return config

    runtime = Runtime(load(path, {}), store=MemoryStore(StillClock()), load=read)
    await runtime.start()
    first = asyncio.create_task(runtime.reload())
    await asyncio.to_thread(asked.wait, PATIENCE)
    path.write_text('[pipeline.default]\nstages = ["log"]\n')
    second = asyncio.create_task(runtime.reload())
    slow.set()
    assert [await first, await second] == [True, True]
    assert runtime.config.pipelines["default"] == ("log",)
    await runtime.settled()
    await runtime.stop()


async def test_many_signals_while_one_reload_runs_are_one_more(tmp_path: Path) -> None:
    path, slow, read_at = tmp_path / "pipelines.toml", threading.Event(), list[str]()
    path.write_text('[pipeline.default]\nstages = ["route"]\n')

    def read() -> Config:
        read_at.append(path.read_text())
        slow.wait(PATIENCE)
        return load(path, {})

    runtime = Runtime(load(path, {}), store=MemoryStore(StillClock()), load=read)
    await runtime.start()
    asked = [asyncio.create_task(runtime.reload())]
    async with asyncio.timeout(PATIENCE):
        while not read_at:  # noqa: ASYNC110  # a thread reads, which tells nobody
            await asyncio.sleep(0)
    asked += [asyncio.create_task(runtime.reload()) for _ in range(50)]
    await asyncio.sleep(0)
    path.write_text('[pipeline.default]\nstages = ["log"]\n')
    slow.set()
    assert await asyncio.gather(*asked) == [True] * 51
    assert (len(read_at), runtime.config.pipelines["default"]) == (2, ("log",))
    await runtime.settled()
    await runtime.stop()


async def test_what_needs_a_restart_is_said(tmp_path: Path, logged: list[str]) -> None:
    async with playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        proxy.path.write_text('[pipeline.default]\nstages = ["route"]\n[serve]\nport = 4999\n[core]\nmemo-mb = 1\n')
        assert await proxy.runtime.reload()
        assert "reload: serve.port takes effect at the next start" in logged
        assert "reload: core.memo-mb takes effect at the next start" in logged


async def test_a_stage_that_cannot_start_leaves_the_old_set_in_force(tmp_path: Path, logged: list[str]) -> None:
    async with playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        proxy.path.write_text('[pipeline.default]\nstages = ["auth"]\n[stage.auth]\nforward-client-key = false\n')
        assert not await proxy.runtime.reload()
        assert any("stage 'auth'" in line for line in logged)
        assert (await post(proxy.url, "/v1/chat/completions", BODY)).status == 200
