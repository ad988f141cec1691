"""The watch over one exchange, in fake time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest

from fakeloop import run, turns
from trimtab.errors import UpstreamError, UpstreamTimeout
from trimtab.watch import ClientGone, Watch


def now() -> float:
    return asyncio.get_running_loop().time()


async def silence(seconds: float) -> None:
    """An upstream that says nothing for so long; in fake time, so nobody waits."""
    await asyncio.get_running_loop().create_task(asyncio.sleep(seconds))


def leaving(at: float | None = None, error: Exception | None = None) -> Callable[[], Awaitable[Mapping[str, Any]]]:
    """The `receive` of a client that leaves at a time, or never, or whose connection breaks."""
    rests = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Mapping[str, Any]:
        if rests:
            return rests.pop()
        if at is None:
            await asyncio.Event().wait()
        await asyncio.sleep((at or 0) - now())
        if error is not None:
            raise error
        return {"type": "http.disconnect"}

    return receive


class Pings:
    """Notes when it was called."""

    def __init__(self, lasts: float = 0, error: Exception | None = None) -> None:
        self.at: list[float] = []
        self.lasts = lasts
        self.error = error

    async def __call__(self) -> None:
        self.at.append(now())
        if self.lasts:
            await asyncio.sleep(self.lasts)
        if self.error is not None:
            raise self.error


def watch(
    left: float | None = None, ping: Pings | None = None, *, first_ping: float = 45, interval: float = 15
) -> Watch:
    told = calling(left) if HOW[0] == "called" else None
    return Watch(leaving(left), first_ping=first_ping, interval=interval, ping=ping, left=told)


HOW = ["heard"]


@pytest.fixture(params=["heard", "called"], autouse=True)
def how(request: pytest.FixtureRequest) -> None:
    """A watch hears of the client's end from `receive`, or is called at it."""
    HOW[0] = request.param


def calling(at: float | None) -> Callable[[Callable[[], None] | None], None]:
    """Calls who asks for it when a client leaves at a given time, and not once he has asked for no more."""
    timers: list[asyncio.TimerHandle] = []

    def left(gone: Callable[[], None] | None) -> None:
        if gone is None:
            for timer in timers:
                timer.cancel()
        elif at is not None:
            timers.append(asyncio.get_running_loop().call_at(at, gone))

    return left


async def end(work: Awaitable[object]) -> tuple[str, float]:
    """How some work failed, and when."""
    try:
        await work
    except Exception as error:
        return str(error) or type(error).__name__, now()
    return "done", now()


def test_a_client_that_leaves_ends_the_work_at_once() -> None:
    async def work() -> None:
        async with watch(left=3):
            await silence(100)

    assert run(end(work())) == ("ClientGone", 3)


def test_work_that_is_done_is_not_disturbed() -> None:
    async def work() -> None:
        async with watch(left=50):
            await silence(1)
        await silence(100)

    assert run(end(work())) == ("done", 101)


def test_a_client_that_leaves_as_the_work_ends_leaks_no_cancellation() -> None:
    async def work() -> None:
        async with watch(left=3):
            with suppress(asyncio.CancelledError):  # what was cancelled ended well all the same
                await asyncio.Event().wait()
        await silence(10)

    assert run(end(work())) == ("done", 13)


def test_an_interruption_that_no_await_met_is_taken_back() -> None:
    async def work() -> None:
        async with watch() as watching:
            watching._end(ClientGone())
        await silence(10)

    assert run(end(work())) == ("done", 10)


def test_a_cancellation_that_no_await_met_is_not() -> None:
    async def work() -> None:
        task = asyncio.current_task()
        async with watch() as watching:
            watching._end(ClientGone())
            assert task is not None
            task.cancel()

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(work())

    run(main())


def test_a_client_that_leaves_when_the_answer_is_there_but_not_yet_read() -> None:
    async def work(answer: asyncio.Future[None], gone: asyncio.Event) -> None:
        async def receive() -> Mapping[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async with Watch(receive, first_ping=45, interval=15):
            await answer
            await silence(10)

    async def main() -> tuple[object, ...]:
        loop, gone = asyncio.get_running_loop(), asyncio.Event()
        answer = loop.create_future()
        loop.call_later(3, gone.set)
        loop.call_later(3, answer.set_result, None)
        ended = await end(work(answer, gone))
        await silence(10)
        task = asyncio.current_task()
        return *ended, now(), task and task.cancelling()

    assert run(main()) == ("ClientGone", 3, 13, 0)


def test_a_failure_of_the_work_passes_even_when_the_client_left() -> None:
    async def work() -> None:
        async with watch(left=3):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise UpstreamError("it broke off") from None

    async def main() -> tuple[str, float]:
        ended = await end(work())
        await silence(1)
        return ended

    assert run(main()) == ("it broke off", 3)


def test_a_connection_that_breaks_is_a_client_that_left() -> None:
    async def work() -> None:
        async with Watch(leaving(3, ConnectionResetError()), first_ping=45, interval=15):
            await silence(100)

    assert run(end(work())) == ("ClientGone", 3)


def test_no_first_byte_in_time() -> None:
    async def work() -> None:
        async with watch() as watching:
            await silence(7)
            watching.expect(60, 30)
            await silence(1000)

    assert run(end(work())) == (
        "provider returned error: timed out (aborted): the upstream sent no first byte within 60 s",
        67,
    )


@pytest.mark.parametrize("pinging", [False, True])
def test_silence_between_two_pieces(pinging: bool) -> None:
    async def work() -> None:
        async with watch(ping=Pings() if pinging else None) as watching:
            watching.expect(600, 30)
            await silence(100)
            watching.touch()
            await silence(29)
            watching.touch()
            await silence(1000)

    assert run(end(work())) == ("provider returned error: timed out (aborted): the upstream went silent for 30 s", 159)


def test_before_the_upstream_is_asked_nothing_is_too_slow() -> None:
    async def work() -> None:
        async with watch(ping=Pings()):
            await silence(50_000)

    assert run(end(work())) == ("done", 50_000)


def test_a_patience_of_hours_does_not_keep_the_loop_busy() -> None:
    async def main() -> int:
        async with watch() as watching:
            watching.expect(20_000, 10_000)
            before = turns()
            await silence(19_000)
            return turns() - before

    assert run(main()) < 20


def test_asking_again_begins_a_new_wait_for_the_first_byte() -> None:
    async def work() -> None:
        async with watch() as watching:
            watching.expect(60, 30)
            await silence(10)
            watching.touch()
            watching.expect(60, 30)
            await silence(1000)

    assert run(end(work())) == (
        "provider returned error: timed out (aborted): the upstream sent no first byte within 60 s",
        70,
    )


def test_the_first_ping_comes_late_and_the_others_regularly() -> None:
    pings = Pings()

    async def main() -> None:
        async with watch(ping=pings):
            await silence(100)

    run(main())
    assert pings.at == [45, 60, 75, 90]


def test_the_first_ping_counts_from_the_start_though_stages_took_their_time() -> None:
    pings = Pings()

    async def main() -> None:
        async with watch(ping=pings) as watching:
            await silence(40)
            watching.expect(600, 300)
            await silence(30)

    run(main())
    assert pings.at == [45, 60]


def test_pings_go_on_when_the_upstream_is_asked_only_after_the_first() -> None:
    pings = Pings()

    async def main() -> None:
        async with watch(ping=pings) as watching:
            await silence(50)
            watching.expect(600, 300)
            await silence(40)

    run(main())
    assert pings.at == [45, 65, 80]


def test_a_sign_of_life_puts_the_next_ping_off() -> None:
    pings = Pings()

    async def main() -> None:
        async with watch(ping=pings) as watching:
            watching.expect(600, 300)
            for _ in range(10):
                await silence(10)
                watching.touch()
            await silence(31)

    run(main())
    assert pings.at == [115, 130]


def test_no_seconds_mean_no_pings() -> None:
    pings = Pings()

    async def main() -> None:
        async with watch(ping=pings, first_ping=0, interval=0) as watching:
            await silence(100)
            watching.touch()
            await silence(100)

    run(main())
    assert pings.at == []


def test_settle_waits_for_the_ping_that_is_being_written() -> None:
    async def main() -> list[tuple[bool, float]]:
        seen = []
        async with watch(ping=Pings(lasts=5)) as watching:
            for wait in (0, 46, 1):
                await silence(wait)
                pinging = watching.pinging
                await watching.settle()
                seen.append((pinging, now()))
        return seen

    assert run(main()) == [(False, 0), (True, 50), (True, 51)]


def test_a_ping_that_nobody_takes_ends_the_work() -> None:
    async def work() -> None:
        async with watch(ping=Pings(error=ConnectionResetError())):
            await silence(100)

    assert run(end(work())) == ("ClientGone", 45)


def test_a_ping_that_fails_fails_the_work() -> None:
    async def work() -> None:
        async with watch(ping=Pings(error=ValueError("a bad header"))):
            await silence(100)

    assert run(end(work())) == ("a bad header", 45)


def test_a_ping_at_work_ends_with_the_watch() -> None:
    async def main() -> float:
        async with watch(ping=Pings(lasts=1000)):
            await silence(46)
        return now()

    assert run(main()) == 46


def test_cancellation_from_outside_passes() -> None:
    async def work() -> None:
        async with watch():
            await silence(100)

    async def main() -> None:
        task = asyncio.create_task(work())
        await silence(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(main())


@pytest.mark.parametrize("swallows", [False, True])
def test_cancellation_from_outside_outweighs_the_client_that_left(swallows: bool) -> None:
    async def work() -> None:
        async with watch(left=5):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if not swallows:
                    raise
                await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(work())
        asyncio.get_running_loop().call_at(5 if not swallows else 6, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_a_timeout_around_the_watch_is_a_timeout() -> None:
    async def work() -> None:
        async with asyncio.timeout(10), watch(left=20):
            await silence(100)

    assert run(end(work())) == ("TimeoutError", 10)


def test_after_a_silence_another_attempt_may_follow() -> None:
    async def main() -> tuple[str, float, str]:
        async with watch() as watching:
            with pytest.raises(UpstreamTimeout) as caught:
                async with watching.patience(60, 30):
                    await silence(1000)
            async with watching.patience(60, 30):
                await silence(50)
        return caught.value.message, now(), "began" if caught.value.began else "silent"

    assert run(main()) == (
        "provider returned error: timed out (aborted): the upstream sent no first byte within 60 s",
        110,
        "silent",
    )


def test_between_two_attempts_nothing_is_too_slow() -> None:
    async def main() -> float:
        async with watch() as watching:
            async with watching.patience(60, 30):
                watching.touch()
            await silence(5000)
        return now()

    assert run(main()) == 5000


def test_a_silence_behind_a_first_byte_is_told_as_such() -> None:
    async def main() -> bool:
        async with watch() as watching:
            try:
                async with watching.patience(60, 30):
                    watching.touch()
                    await silence(1000)
            except UpstreamTimeout as error:
                return error.began
        return False

    assert run(main())


def test_work_that_was_done_as_its_time_ended_is_done() -> None:
    async def main() -> str:
        async with watch() as watching:
            async with watching.patience(60, 30):
                with suppress(asyncio.CancelledError):
                    await silence(1000)
            await silence(1)
        return "done"

    assert run(main()) == "done"


def test_a_client_that_leaves_during_an_attempt_ends_them_all() -> None:
    async def work() -> None:
        async with watch(left=10) as watching:
            for _ in range(3):
                async with watching.patience(60, 30):
                    await silence(1000)

    assert run(end(work())) == ("ClientGone", 10)


def test_a_client_that_leaves_as_the_upstreams_time_ends_is_gone() -> None:
    async def work() -> None:
        async with watch(left=60) as watching:
            for _ in range(3):
                with suppress(UpstreamTimeout):
                    async with watching.patience(60, 30):
                        await silence(1000)

    assert run(end(work())) == ("ClientGone", 60)


def test_pings_go_on_between_two_attempts() -> None:
    pings = Pings()

    async def main() -> None:
        async with watch(ping=pings) as watching:
            with suppress(UpstreamTimeout):
                async with watching.patience(50, 30):
                    await silence(1000)
            await silence(30)

    run(main())
    assert pings.at == [45, 65, 80]


def test_in_a_queue_nothing_is_written_and_then_what_is_due() -> None:
    pings = Pings()

    async def main() -> None:
        async with watch(ping=pings) as watching:
            with watching.quiet():
                await silence(100)
            await silence(20)

    run(main())
    assert pings.at == [100, 115]


def test_what_is_heard_and_not_shown_keeps_the_pings_coming() -> None:
    pings = Pings()

    async def main() -> None:
        async with watch(ping=pings) as watching, watching.patience(60, 30):
            watching.touch()
            for _ in range(5):
                await silence(20)
                watching.heard()

    run(main())
    # No timer is moved for a sign of life: the first ping comes when the timer looks next.
    assert pings.at == [30, 45, 60, 75, 90]
