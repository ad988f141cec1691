"""Texts of a model, written once."""

import pytest

from trimtab.testing import StageBench, StillClock
from trimtab_stages.frozen_texts import FrozenTexts

pytestmark = pytest.mark.anyio
BODY = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}


async def test_the_first_text_holds_in_every_worker() -> None:
    store, exchange = StageBench().services.store, StageBench().exchange(BODY)
    one, two = (FrozenTexts(store, "t", 10) for _ in range(2))
    assert await one.get(exchange, b"k") is None
    assert await one.add(exchange, b"k", "first") == "first"
    assert await two.add(exchange, b"k", "second") == "first"
    assert await FrozenTexts(store, "t", 10).get(exchange, b"k") == "first"
    assert await FrozenTexts(store, "other", 10).get(exchange, b"k") is None


async def test_clients_do_not_share_texts() -> None:
    texts = FrozenTexts(StageBench().services.store, "t", 10)
    mine, theirs = (StageBench().exchange(BODY, headers={"x-api-key": key}) for key in ("a", "b"))
    await texts.add(mine, b"k", "secret")
    assert await texts.get(theirs, b"k") is None


async def test_memory_is_bounded_and_the_store_keeps_the_rest() -> None:
    store, exchange = StageBench().services.store, StageBench().exchange(BODY)
    texts = FrozenTexts(store, "t", 2)
    for key in (b"1", b"2", b"3"):
        await texts.add(exchange, key, key.decode())
    assert len(texts) == 2
    assert await texts.get(exchange, b"1") == "1"


async def test_the_time_of_a_text_counts_from_its_last_use() -> None:
    clock = StillClock()
    store, exchange = StageBench(clock=clock).services.store, StageBench().exchange(BODY)
    texts = FrozenTexts(store, "t", 1, ttl=60)
    await texts.add(exchange, b"k", "words")
    clock.advance(50)
    await texts.renew(exchange, b"k", "words")
    clock.advance(50)
    assert await FrozenTexts(store, "t", 1).get(exchange, b"k") == "words"
    clock.advance(11)
    assert await FrozenTexts(store, "t", 1).get(exchange, b"k") is None
    await FrozenTexts(store, "t", 1).renew(exchange, b"k", "words")
    assert await FrozenTexts(store, "t", 1).get(exchange, b"k") is None, "without a time there is nothing to renew"
