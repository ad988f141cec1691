"""What lives as long as the proxy: sets of stages that start, retire and take over."""

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from asgi import NOWHERE, make_config, make_runtime
from trimtab.api import Exchange, Reply, Services, Stage, StageOptions, hookimpl
from trimtab.config import Config, ServeOptions
from trimtab.errors import BadRequest, ConfigError, UpstreamError
from trimtab.runtime import LOOK_EVERY, Runtime, nothing
from trimtab.testing import StillClock
from trimtab.upstream import Call

pytestmark = pytest.mark.anyio

TOLD: list[str] = []


@pytest.fixture(autouse=True)
def told() -> list[str]:
    """What the stages did, in order."""
    TOLD.clear()
    return TOLD


class One(Stage[StageOptions]):
    name = "one"

    @hookimpl
    async def start(self, services: Services) -> None:
        TOLD.append(f"{self.label} starts")

    @hookimpl
    async def stop(self) -> None:
        TOLD.append(f"{self.label} stops")


class Two(One):
    name = "two"


class Silent(Stage[StageOptions]):
    """Has no start, yet must be stopped."""

    name = "silent"

    @hookimpl
    async def stop(self) -> None:
        TOLD.append("silent stops")


class Fails(One):
    name = "fails"

    @hookimpl
    async def start(self, services: Services) -> None:
        raise ConfigError("no file", "no key")


class Crashes(One):
    name = "crashes"

    @hookimpl
    async def start(self, services: Services) -> None:
        raise ValueError("oh")

    @hookimpl
    async def stop(self) -> None:
        raise ValueError("never started")


class BadEnd(One):
    name = "bad-end"

    @hookimpl
    async def stop(self) -> None:
        raise ValueError("oh")


class Shapes(Stage[StageOptions]):
    name = "shapes"
    shapes = True

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        return None


async def test_stages_start_in_order_once_and_stop_in_reverse(told: list[str]) -> None:
    runtime = make_runtime(make_config(NOWHERE, One, Two, pipelines={"second": (Two,)}))
    await runtime.start()
    await runtime.start()
    assert told == ["one starts", "two starts"]
    await runtime.stop()
    assert told[2:] == ["two stops", "one stops"]
    assert runtime.current.stopped


async def test_every_stage_that_cannot_start_is_named_and_the_others_stop(told: list[str]) -> None:
    runtime = make_runtime(make_config(NOWHERE, One, Fails, Crashes, Silent))
    with pytest.raises(ConfigError) as raised:
        await runtime.start()
    assert raised.value.problems == (
        "stage 'fails': no file",
        "stage 'fails': no key",
        "stage 'crashes' cannot start: ValueError: oh",
    )
    assert told == ["one starts", "silent stops", "one stops"]
    with pytest.raises(UpstreamError, match="not started"):
        await runtime.forwarder.send(Call(url=NOWHERE, headers={}, body=b""))


async def test_a_stage_that_fails_to_stop_keeps_no_other_from_stopping(told: list[str]) -> None:
    runtime = make_runtime(make_config(NOWHERE, One, BadEnd))
    await runtime.start()
    await runtime.stop()
    assert told == ["one starts", "bad-end starts", "one stops"]


async def test_a_set_retires_after_its_last_exchange(told: list[str]) -> None:
    runtime = make_runtime(make_config(NOWHERE, One))
    old = runtime.current
    await old.start()
    with old.lease("default"), old.lease("default"):
        retiring = asyncio.create_task(old.retire())
        await asyncio.sleep(0)
        assert (old.users, old.stopped) == (2, False)
    await retiring
    assert (old.stopped, told) == (True, ["one starts", "one stops"])


def test_a_pipeline_that_does_not_exist() -> None:
    runtime = make_runtime(make_config(NOWHERE, pipelines={"a": ()}))
    with pytest.raises(BadRequest, match=r"no pipeline 'b' \(known: a, default\)"):
        with runtime.lease("b"):
            raise AssertionError


class Files:
    """Configurations that a runtime loads, one after another."""

    def __init__(self, path: Path, *configs: Config | Exception) -> None:
        self.path = path
        self.configs = list(configs)
        self.loads = 0

    def load(self) -> Config:
        self.loads += 1
        found = self.configs.pop(0)
        if isinstance(found, Exception):
            raise found
        return msgspec.structs.replace(found, path=self.path)

    def touch(self) -> None:
        self.path.touch()
        os.utime(self.path, (self.loads + 1, self.loads + 1))


def reloading(tmp_path: Path, *configs: Config | Exception) -> tuple[Runtime, StillClock, Files]:
    """A runtime over `One` that reloads these."""
    files, clock = Files(tmp_path / "pipelines.toml", *configs), StillClock()
    files.touch()
    config = msgspec.structs.replace(make_config(NOWHERE, One), path=files.path)
    return make_runtime(config, clock=clock, load=files.load), clock, files


async def test_a_valid_file_takes_over_and_the_old_stages_stop(tmp_path: Path, told: list[str]) -> None:
    runtime, _, _ = reloading(tmp_path, make_config(NOWHERE, Two))
    await runtime.start()
    with runtime.lease("default") as before:
        assert await runtime.reload()
        assert told == ["one starts", "two starts"]
        with runtime.lease("default") as after:
            assert [bound.stage.label for bound in (*before.chain.start, *after.chain.start)] == ["one", "two"]
    await runtime.settled()
    assert told[2:] == ["one stops"]
    assert runtime.counters.snapshot() == {"reloads": 1}
    await runtime.stop()


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (ConfigError("a", "b"), "a; b"),
        (ValueError("oh"), "ValueError: oh"),
        (make_config(NOWHERE, Fails), "stage 'fails': no file; stage 'fails': no key"),
    ],
)
async def test_a_broken_file_is_told_and_the_old_set_stays(
    tmp_path: Path, logged: list[str], config: Config | Exception, problem: str
) -> None:
    runtime, _, _ = reloading(tmp_path, config)
    await runtime.start()
    old = runtime.current
    assert not await runtime.reload()
    assert (runtime.current, old.stopped) == (old, False)
    assert f"the new pipelines.toml is not used: {problem}" in logged
    assert runtime.counters.snapshot() == {"reload_failed": 1}
    await runtime.stop()


async def test_the_file_is_looked_at_once_a_second_and_read_when_it_changed(tmp_path: Path) -> None:
    runtime, clock, files = reloading(tmp_path, make_config(NOWHERE, Two))
    await runtime.start()

    async def loads() -> int:
        await runtime.look()
        await runtime.settled()
        return files.loads

    files.touch()
    assert await loads() == 0
    clock.advance(LOOK_EVERY)
    assert await loads() == 0  # the same mtime
    os.utime(files.path, (9, 9))
    clock.advance(LOOK_EVERY / 2)
    assert await loads() == 0
    clock.advance(LOOK_EVERY / 2)
    assert (await loads(), await loads()) == (1, 1)
    await runtime.stop()


async def test_a_file_that_is_gone_is_no_change_that_stops_anything(tmp_path: Path, logged: list[str]) -> None:
    runtime, clock, files = reloading(tmp_path, ConfigError("there is no pipelines.toml"))
    await runtime.start()
    files.path.unlink()
    clock.advance(LOOK_EVERY)
    await runtime.look()
    await runtime.settled()
    assert any("there is no pipelines.toml" in line for line in logged)
    assert not runtime.current.stopped
    await runtime.stop()


async def test_without_a_file_there_is_nothing_to_reload() -> None:
    runtime = make_runtime(make_config(NOWHERE, One))
    assert not await runtime.reload()
    await runtime.look()


async def test_a_reload_says_whose_bytes_change_and_what_has_to_wait(tmp_path: Path, logged: list[str]) -> None:
    new = make_config(NOWHERE, One, Shapes, serve=ServeOptions(port=6000, cors=True))
    runtime, _, _ = reloading(tmp_path, new)
    await runtime.start()
    assert await runtime.reload()
    assert "reload: pipeline 'default': stage 'shapes' is new and edits requests" in logged
    assert "reload: serve.port takes effect at the next start" in logged
    assert "reload: serve.cors takes effect at the next start" in logged
    await runtime.stop()


async def test_what_a_reload_takes_back_has_not_to_wait(tmp_path: Path, logged: list[str]) -> None:
    there, back = make_config(NOWHERE, One, serve=ServeOptions(port=6000)), make_config(NOWHERE, One)
    runtime, _, _ = reloading(tmp_path, there, back)
    await runtime.start()
    assert await runtime.reload()
    logged.clear()
    assert await runtime.reload()
    assert not [line for line in logged if "next start" in line]
    await runtime.stop()


async def test_two_reloads_at_once_end_with_the_last_file(tmp_path: Path) -> None:
    starting, may_start = asyncio.Event(), asyncio.Event()

    class Slow(One):
        name = "slow"

        @hookimpl
        async def start(self, services: Services) -> None:
            starting.set()
            await may_start.wait()

    runtime, _, _ = reloading(tmp_path, make_config(NOWHERE, Slow), make_config(NOWHERE, Silent))
    await runtime.start()
    first = asyncio.create_task(runtime.reload())
    await starting.wait()
    second = asyncio.create_task(runtime.reload())
    await asyncio.wait({second}, timeout=0.05)  # were it not to wait for the first, it would be over now
    may_start.set()
    assert all(await asyncio.gather(first, second))
    assert list(runtime.current.stages) == ["silent"]
    await runtime.stop()


async def test_what_runs_in_the_background_is_cancelled_at_stop() -> None:
    runtime, begun = make_runtime(make_config(NOWHERE)), asyncio.Event()
    ended: list[bool] = []

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    await runtime.start()
    runtime.later(work)
    await begun.wait()
    async with asyncio.timeout(20):
        await runtime.stop()
    assert ended == [True]


async def test_work_for_later_runs_one_at_a_time_and_a_failure_is_counted(logged: list[str]) -> None:
    runtime = make_runtime(make_config(NOWHERE))
    at_work, most, ran = 0, 0, 0

    async def work() -> None:
        nonlocal at_work, most, ran
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0)
        at_work, ran = at_work - 1, ran + 1

    async def fails() -> None:
        raise ValueError("oh")

    for job in (work, fails, work, work):
        runtime.later(job)
    await runtime.settled()
    assert (most, ran, runtime.counters.snapshot()) == (1, 3, {"later_failed": 1})
    assert "background work failed" in logged


@pytest.mark.parametrize(("dialect", "found"), [("messages", "messages"), ("chat", "chat"), ("other", "chat")])
def test_an_empty_conversation(dialect: str, found: Any) -> None:
    empty = nothing(dialect)
    assert (empty.dialect, empty.messages, empty.render()) == (found, (), b"{}")
