"""Who waits for a count that is being made."""

import pytest

from trimtab.api import Counting, Exchange, StageFailed, TokenCount
from trimtab.counted import settled, told
from trimtab.testing import StageBench

pytestmark = pytest.mark.anyio


def case(*, patient: bool, fails: bool = False) -> Exchange:
    """An exchange whose count is there as soon as somebody waits for it."""
    exchange = StageBench().exchange({"model": "small", "messages": []})

    async def settle() -> None:
        if fails:
            raise StageFailed("token-count", "broken")
        exchange.put(TokenCount(total=7))

    exchange.put(TokenCount(total=5, most=20))
    exchange.put(Counting(settle=settle, patient=patient, then=lambda work: None))
    return exchange


async def test_nobody_waits_where_nothing_is_counted() -> None:
    exchange = StageBench().exchange({"model": "small", "messages": []})
    await settled(exchange)
    await told(exchange)
    assert exchange.get(TokenCount) is None


@pytest.mark.parametrize(("patient", "total"), [(True, 7), (False, 5)])
async def test_a_reply_waits_where_that_is_short(patient: bool, total: int) -> None:
    exchange = case(patient=patient)
    await told(exchange)
    assert exchange.need(TokenCount).total == total
    await settled(exchange)
    assert exchange.need(TokenCount).total == 7


async def test_a_count_that_fails_keeps_no_reply() -> None:
    exchange = case(patient=True, fails=True)
    await told(exchange)
    with pytest.raises(StageFailed, match="broken"):
        await settled(exchange)
