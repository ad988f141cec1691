"""Counters and the system's clock."""

from trimtab.interfaces import Counters, SystemClock


def test_counters_count_by_name_and_are_shown_in_order() -> None:
    counters = Counters()
    counters.add("b")
    counters.add("a", 5)
    counters.add("b")
    shown = counters.snapshot()
    assert list(shown.items()) == [("a", 5), ("b", 2)]
    shown["a"] = 0
    assert counters.snapshot()["a"] == 5


def test_the_systems_clock_goes_forward() -> None:
    clock = SystemClock()
    assert clock.now() > 1_700_000_000
    assert clock.monotonic() <= clock.monotonic()
