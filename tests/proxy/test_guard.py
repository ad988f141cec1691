"""Stages that take too long, or fail again and again."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from trimtab.config import CoreOptions
from trimtab.errors import BadRequest, Missing, StageFailed
from trimtab.events import Event, Finished, StopReason, TextDelta
from trimtab.exchange import Exchange
from trimtab.guard import TURNS, Guard, breathe
from trimtab.hookspecs import Reply, Stage, StageOptions, hookimpl
from trimtab.testing import StageBench, StillClock

BODY = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
pytestmark = pytest.mark.anyio


class Works(Stage[StageOptions]):
    """Does what it is told; counts its calls by hook."""

    name = "works"
    optional = True
    wants = frozenset({Finished})

    def __init__(self, work: Callable[[str], Awaitable[None]]) -> None:
        super().__init__(StageOptions())
        self.work = work
        self.calls: list[str] = []

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        self.calls.append("request")
        await self.work("request")
        return None

    @hookimpl
    def event(self, exchange: Exchange, event: Event) -> Any:
        self.calls.append("event")
        if getattr(self, "breaks", "") == "event":
            raise ValueError("oh")
        return (event,)

    @hookimpl
    def done(self, exchange: Exchange) -> None:
        self.calls.append("done")
        if getattr(self, "breaks", "") == "done":
            raise ValueError("oh")


class Must(Works):
    name = "must"
    optional = False


async def fine(hook: str) -> None:
    """Nothing."""


async def fails(hook: str) -> None:
    raise ValueError("oh")


async def hangs(hook: str) -> None:
    await asyncio.get_running_loop().create_future()


async def stubborn(hook: str) -> None:
    """Ends a moment after it was told to."""
    with suppress(asyncio.CancelledError):
        await hangs(hook)


def bench(stage: Stage[Any], **core: Any) -> tuple[StageBench, StillClock]:
    clock = StillClock()
    made = StageBench(stage, clock=clock)
    made.pipeline.guard = Guard(clock, made.services.counters, CoreOptions(**core))
    return made, clock


async def once(made: StageBench) -> Exchange:
    exchange = made.exchange(BODY)
    await made.request(exchange)
    made.events(exchange, TextDelta("a"), Finished(StopReason.END))
    made.done(exchange)
    return exchange


async def test_a_stage_that_hangs_is_undone_and_the_request_goes_on() -> None:
    made, _ = bench(Works(hangs), stage_timeout=0.01)
    exchange = await once(made)
    assert exchange.notes == ["stage 'works' undone: it took longer than 0.01 s (core.stage-timeout)"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_stage_that_must_work_and_hangs_fails_the_request() -> None:
    made, _ = bench(Must(hangs), stage_timeout=100, stage_timeouts={"must": 0.01})
    with pytest.raises(StageFailed, match="stage 'must' failed: it took longer"):
        await once(made)


async def test_a_stage_that_ends_all_the_same_has_done_its_work() -> None:
    made, _ = bench(Works(stubborn), stage_timeout=0.01)
    exchange = await once(made)
    task = asyncio.current_task()
    assert task is not None
    assert (exchange.notes, task.cancelling()) == ([], 0)
    await asyncio.sleep(0)


async def test_somebody_elses_cancellation_goes_on() -> None:
    made, _ = bench(Works(hangs), stage_timeout=100)
    task = asyncio.create_task(once(made))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_without_a_limit_nothing_is_timed() -> None:
    made, _ = bench(Works(fine), stage_timeout=0)
    assert (await once(made)).notes == []


async def test_failures_in_a_row_leave_a_stage_out_for_a_while(logged: list[str]) -> None:
    stage = Works(fails)
    made, clock = bench(stage, stage_failures=3, stage_rest=60)
    for _ in range(3):
        await once(made)
    assert made.pipeline.guard.state() == {"works": {"hook": "request", "failures": 3, "seconds": 60.0}}
    assert made.services.counters.snapshot()["stage_bypassed.works"] == 1
    assert [line for line in logged if "failed 3 times in a row in 'request' and is left out for 60 s" in line]
    stage.calls.clear()
    exchange = await once(made)
    assert (exchange.skipped, stage.calls, exchange.notes) == (frozenset({"works"}), [], [])
    # Its rest is over: one tries, and the others still go without.
    clock.advance(61)
    trying = made.exchange(BODY)
    task = asyncio.create_task(made.request(trying))
    await asyncio.sleep(0)
    assert made.pipeline.guard.left_out() == {"works"}
    await task
    assert made.pipeline.guard.state()["works"]["failures"] == 4
    clock.advance(61)
    stage.work = fine
    assert (await once(made)).skipped == frozenset()
    assert made.pipeline.guard.state() == {}
    assert [line for line in logged if "works again" in line]


async def test_a_success_between_two_failures_begins_anew() -> None:
    stage = Works(fails)
    made, _ = bench(stage, stage_failures=2)
    for work in (fails, fine, fails):
        stage.work = work
        await once(made)
    assert made.pipeline.guard.left_out() == frozenset()


@pytest.mark.parametrize("hook", ["event", "done"])
async def test_every_hook_counts(hook: str) -> None:
    stage: Any = Works(fine)
    made, _ = bench(stage, stage_failures=2)
    stage.breaks = hook
    for _ in range(2):
        await once(made)
    assert made.pipeline.guard.state()["works"]["hook"] == hook
    stage.breaks = ""


async def test_what_a_client_sent_wrong_is_no_fault_of_a_stage() -> None:
    async def refuses(hook: str) -> None:
        raise BadRequest("oh")

    made, _ = bench(Works(refuses), stage_failures=1)
    await once(made)
    assert made.pipeline.guard.left_out() == frozenset()


async def test_a_stage_that_must_work_is_never_left_out() -> None:
    stage = Must(fails)
    made, _ = bench(stage, stage_failures=1)
    for _ in range(3):
        with pytest.raises(StageFailed):
            await once(made)
    assert stage.calls == ["request"] * 3


async def test_never_is_never() -> None:
    made, _ = bench(Works(fails), stage_failures=0)
    for _ in range(9):
        await once(made)
    assert made.pipeline.guard.left_out() == frozenset()


async def test_breathing_lets_another_task_take_several_steps() -> None:
    steps: list[int] = []

    async def other() -> None:
        for step in range(TURNS):
            steps.append(step)
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await breathe()
    assert steps == list(range(TURNS))
    await task


async def test_what_a_stage_lacks_since_another_was_undone_is_no_fault_of_it() -> None:
    stage: Any = Works(fine)

    async def lacks(hook: str) -> None:
        raise Missing("works", "nobody put a TokenCount")

    stage.work = lacks
    made, _ = bench(stage, stage_failures=1)
    exchange = await once(made)
    assert exchange.notes == ["stage 'works' undone: nobody put a TokenCount"]
    assert made.pipeline.guard.left_out() == frozenset()


@pytest.mark.parametrize("hook", ["event", "done"])
async def test_what_a_client_sent_wrong_is_no_fault_in_any_hook(hook: str) -> None:
    guard = Guard(StillClock(), StageBench().services.counters, CoreOptions(stage_failures=1))
    stage = Works(fine)
    guard.failed(stage, hook, BadRequest("oh"))
    assert guard.left_out() == frozenset()
    guard.failed(stage, hook, StageFailed("works", "oh"))
    assert guard.left_out() == {"works"}
