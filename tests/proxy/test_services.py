"""What a stage may use beyond its exchange."""

import pytest

from trimtab.economics import Economics
from trimtab.epochs import Epochs
from trimtab.interfaces import Counters, SystemClock
from trimtab.memo import FactTable
from trimtab.rates import MemoryRates
from trimtab.services import Services
from trimtab.store import MemoryStore
from trimtab.testing import StillClock, table


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
        services.clock = SystemClock()  # type: ignore[misc]  # frozen
