"""Which key of an upstream serves."""

from trimtab.keys import KeyRing
from trimtab.policy import Failure
from trimtab.testing import StillClock


def ring(count: int = 3, limit: int | None = None) -> tuple[KeyRing, StillClock]:
    clock = StillClock()
    return KeyRing([f"k{number}" for number in range(count)], limit, clock), clock


def test_a_session_keeps_its_key_and_sessions_are_spread() -> None:
    keys, _ = ring()
    picked = {session: keys.pick(session) for session in (bytes([number]) for number in range(60))}
    assert set(picked.values()) == {0, 1, 2}
    assert all(keys.pick(session) == index for session, index in picked.items())


def test_where_its_key_is_full_the_least_busy_serves() -> None:
    keys, _ = ring(limit=2)
    own = keys.pick(b"s")
    assert own is not None
    keys.busy[own] = 2
    one, other = [index for index in range(3) if index != own]
    keys.busy[one] = 1
    assert keys.pick(b"s") == other
    keys.busy[one] = keys.busy[other] = 2
    assert keys.pick(b"s") is None


def test_a_key_that_rests_serves_only_where_all_do() -> None:
    keys, clock = ring(2)
    own = keys.pick(b"s") or 0
    keys.cool(own, Failure.RATE_LIMIT, 20.0)
    assert (keys.pick(b"s"), keys.resting, keys.spare(own), keys.spare(1 - own)) == (1 - own, 1, True, False)
    keys.cool(1 - own, Failure.RATE_LIMIT, 40.0)
    assert (keys.pick(b"s"), keys.resting, keys.spare(own)) == (own, 2, False)
    clock.advance(20)
    assert (keys.pick(b"s"), keys.resting) == (own, 1)


def test_how_long_a_key_rests() -> None:
    keys, clock = ring(5)
    for index, (failure, asked) in enumerate(
        [
            (Failure.RATE_LIMIT, None),
            (Failure.RATE_LIMIT, 5000.0),
            (Failure.QUOTA, 5000.0),
            (Failure.QUOTA, None),
            (Failure.AUTHENTICATION, 999_999_999.0),
        ]
    ):
        keys.cool(index, failure, asked)
    left = []
    for moment in (14, 2, 73, 2, 508, 2, 4398, 2):
        clock.advance(moment)
        left.append(keys.resting)
    assert left == [5, 4, 4, 3, 3, 1, 1, 0]


def test_a_quota_rests_its_key_for_a_day_at_most() -> None:
    keys, clock = ring(1)
    keys.cool(0, Failure.QUOTA, 999_999_999.0)
    clock.advance(86_399)
    assert keys.resting == 1
    clock.advance(2)
    assert keys.resting == 0


def test_a_key_that_need_not_wait_rests_a_second_so_that_another_serves() -> None:
    keys, clock = ring(2)
    own = keys.pick(b"s") or 0
    keys.cool(own, Failure.RATE_LIMIT, 0.0)
    assert (keys.pick(b"s"), keys.spare(own)) == (1 - own, True)
    keys.cool(1 - own, Failure.RATE_LIMIT, 0.0)
    assert not keys.spare(own)
    clock.advance(1)
    assert keys.pick(b"s") == own


def test_a_rest_is_not_cut_short_by_a_shorter_one() -> None:
    keys, clock = ring(1)
    keys.cool(0, Failure.QUOTA, 600.0)
    keys.cool(0, Failure.RATE_LIMIT, 1.0)
    clock.advance(500)
    assert keys.resting == 1


def test_without_a_key_there_is_one_place_to_go() -> None:
    keys = KeyRing((None,), 1, StillClock())
    assert (keys.pick(b""), keys.spare(0)) == (0, False)
