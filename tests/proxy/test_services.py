"""What a stage may use beyond its exchange."""

import pytest

from trimtab.economics import Economics
from trimtab.epochs import Epochs
from trimtab.memo import FactTable
from trimtab.rates import MemoryRates
from trimtab.services import Counters, Services, SystemClock
from trimtab.store import MemoryStore
from trimtab.testing import StillClock, table


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


def test_services_do_not_change_under_a_stage() -> None:
    clock = StillClock()
    store, counters = MemoryStore(clock), Counters()
    services = Services(
        models=table(),
        clock=clock,
        counters=counters,
        counts=FactTable(1),
        store=store,
        epochs=Epochs(store, counters),
        economics=Economics(clock, counters),
        rates=MemoryRates(clock),
    )
    with pytest.raises(AttributeError):
        services.clock = SystemClock()  # type: ignore[misc]
