"""The breaker of an upstream, with a clock that stands still."""

from contextlib import suppress

import pytest

from trimtab.breaker import Breaker, Breakers
from trimtab.errors import Cause, StageFailed, UpstreamError, UpstreamTimeout
from trimtab.interfaces import Counters
from trimtab.policy import Unready
from trimtab.testing import StillClock

DOWN = UpstreamError("no", unreached=True)
REFUSED = UpstreamError("bad", cause=Cause.MALFORMED, status=400)
BUSY = UpstreamError("wait", cause=Cause.RATE_LIMIT, status=429)


def made(failures: int = 3) -> tuple[Breaker, StillClock, Counters]:
    clock, counters = StillClock(), Counters()
    return Breaker("up", failures, 10.0, clock, counters), clock, counters


def attempt(breaker: Breaker, error: Exception | None = None) -> bool:
    """One attempt; whether it was let through."""
    with suppress(*(() if error is None else (type(error),))):
        try:
            with breaker.watching():
                ends(error)
        except Unready:
            return False
    return True


def ends(error: Exception | None) -> None:
    if error is not None:
        raise error


def state(breaker: Breaker) -> str:
    return breaker.state


def test_so_many_failures_in_a_row_open_it_and_a_good_answer_closes_it() -> None:
    breaker, clock, counters = made()
    assert [attempt(breaker, DOWN) for _ in range(4)] == [True, True, True, False]
    assert (state(breaker), counters.snapshot()["breaker_opened.up"]) == ("open", 1)
    clock.advance(10)
    assert state(breaker) == "half-open"
    assert attempt(breaker)
    assert state(breaker) == "closed"
    assert [attempt(breaker, DOWN) for _ in range(3)] == [True, True, True]


def test_what_lies_between_failures_begins_the_count_anew() -> None:
    breaker, _, _ = made()
    for error in (DOWN, DOWN, None, DOWN, DOWN, BUSY, DOWN, DOWN, REFUSED, DOWN, DOWN):
        assert attempt(breaker, error)
    assert state(breaker) == "closed"


def test_a_refusal_is_an_answer_and_a_failure_of_ours_says_nothing() -> None:
    breaker, _, _ = made(1)
    assert attempt(breaker, BUSY)
    assert attempt(breaker, StageFailed("x", "y"))
    assert state(breaker) == "closed"
    assert attempt(breaker, DOWN)
    assert state(breaker) == "open"


def test_a_400_as_the_probe_closes_it() -> None:
    breaker, clock, _ = made(1)
    attempt(breaker, DOWN)
    clock.advance(10)
    assert attempt(breaker, REFUSED)
    assert state(breaker) == "closed"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UpstreamError("upstream 'up' did not answer", own=True, unreached=True), "upstream 'up' did not answer"),
        (UpstreamTimeout("silent for 3 s"), "silent for 3 s"),
        (UpstreamError("your prompt", status=500), "server (HTTP 500)"),
        (UpstreamError("your prompt", cause=Cause.RATE_LIMIT, status=429), "rate-limit (HTTP 429)"),
        (UpstreamError("your prompt", cause=Cause.OVERLOADED), "overloaded"),
    ],
)
def test_health_tells_the_latest_failure_without_an_upstreams_words(error: UpstreamError, told: str) -> None:
    breaker, _, _ = made()
    attempt(breaker, REFUSED)
    assert breaker.told() == {"failed": 0, "last_error": None, "breaker": "closed"}
    attempt(breaker, error)
    attempt(breaker)
    assert breaker.told() == {"failed": 1, "last_error": told, "breaker": "closed"}


def test_one_request_is_let_through_to_see() -> None:
    breaker, clock, _ = made(1)
    attempt(breaker, DOWN)
    clock.advance(10)
    with breaker.watching():
        assert not attempt(breaker)
        with pytest.raises(Unready):
            breaker.check()
    assert attempt(breaker)


def test_a_probe_whose_reply_has_begun_lets_the_others_in_before_its_end() -> None:
    breaker, clock, _ = made()
    assert all(attempt(breaker, DOWN) for _ in range(3))
    clock.advance(10)
    with breaker.watching() as probe:
        assert not attempt(breaker)
        probe.answers()
        assert (attempt(breaker), state(breaker)) == (True, "closed")
    assert [attempt(breaker, DOWN) for _ in range(4)] == [True, True, True, False]


def test_a_probe_that_breaks_behind_its_beginning_doubles_the_rest_too() -> None:
    breaker, clock, _ = made()
    assert all(attempt(breaker, DOWN) for _ in range(3))
    clock.advance(10)
    with suppress(UpstreamError), breaker.watching() as probe:
        probe.answers()
        raise DOWN
    clock.advance(19)
    assert state(breaker) == "open"
    clock.advance(1)
    assert attempt(breaker)


def test_the_beginning_of_a_reply_that_is_no_probe_says_nothing() -> None:
    """It was asked for before the upstream failed."""
    breaker, clock, _ = made(1)
    with breaker.watching() as old:
        attempt(breaker, DOWN)
        clock.advance(10)
        with breaker.watching():
            old.answers()
            assert not attempt(breaker)


def test_each_probe_that_fails_doubles_the_rest_up_to_eight_times() -> None:
    breaker, clock, _ = made(1)
    attempt(breaker, DOWN)
    for rest in (10, 20, 40, 80, 80):
        clock.advance(rest - 1)
        assert state(breaker) == "open"
        clock.advance(1)
        assert state(breaker) == "half-open"
        assert attempt(breaker, DOWN)


def test_a_client_that_leaves_during_the_probe_leaves_it_to_another() -> None:
    breaker, clock, _ = made(1)
    attempt(breaker, DOWN)
    clock.advance(10)
    with suppress(KeyboardInterrupt), breaker.watching():
        raise KeyboardInterrupt
    assert state(breaker) == "half-open"
    assert attempt(breaker)


def test_who_is_refused_is_told_when_to_come_again() -> None:
    breaker, clock, counters = made(1)
    attempt(breaker, DOWN)
    clock.advance(2.5)
    with pytest.raises(Unready) as caught:
        breaker.check()
    assert (caught.value.headers["retry-after"], caught.value.cause) == ("8", Cause.OVERLOADED)
    assert caught.value.message == "upstream 'up' failed 1 times in a row: it is asked again in 8 s"
    assert counters.snapshot()["breaker_refused.up"] == 1


def test_none_opens_without_a_number() -> None:
    breaker, _, _ = made(0)
    assert all(attempt(breaker, DOWN) for _ in range(50))


def test_each_upstream_has_its_own_and_other_numbers_begin_anew() -> None:
    breakers = Breakers(1, 10.0, StillClock(), Counters())
    attempt(breakers.of("a"), DOWN)
    assert (breakers.of("a").state, breakers.of("b").state) == ("open", "closed")
    breakers.use(1, 10.0)
    assert breakers.of("a").state == "open"
    breakers.use(2, 10.0)
    assert breakers.of("a").state == "closed"
