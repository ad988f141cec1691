"""The kit's stores: one fails, one knows who forced a record, one shows what was there before."""

import msgspec
import pytest

from trimtab.conformance_store import BrokenStore, EarlierStore, WatchedStore
from trimtab.epochs import KIND, Epoch

pytestmark = pytest.mark.anyio


def record(*, forced: bool) -> bytes:
    return msgspec.json.encode(Epoch(form="cut", messages=2, forced=forced))


async def test_the_broken_one_fails() -> None:
    store = BrokenStore()
    for call in (store.get("k", "", b"1"), store.put("k", "", b"1", b"2"), store.add("k", "", b"1", b"2")):
        with pytest.raises(OSError, match="broken"):
            await call


async def test_forced_records_are_known_by_the_request_that_wrote_them() -> None:
    store = WatchedStore()
    await store.add(KIND, "", b"first", record(forced=True))
    store.request = 3
    await store.add(KIND, "", b"first", record(forced=True))
    await store.add(KIND, "", b"late", record(forced=True))
    await store.add(KIND, "", b"saving", record(forced=False))
    await store.put(KIND, "", b"none", b"no record")
    await store.put("other", "", b"forced", record(forced=True))
    assert store.forced == {(KIND, "", b"first"): 0, (KIND, "", b"late"): 3}


async def test_only_forced_records_of_later_requests_are_hidden() -> None:
    store = WatchedStore()
    await store.add(KIND, "", b"first", record(forced=True))
    store.request = 3
    await store.add(KIND, "", b"late", record(forced=True))
    await store.add(KIND, "", b"saving", record(forced=False))
    earlier, same = EarlierStore(store, 2), EarlierStore(store, 3)
    assert await earlier.get(KIND, "", b"first") == record(forced=True)
    assert await earlier.get(KIND, "", b"saving") == record(forced=False)
    assert earlier.hidden == set()
    assert await earlier.get(KIND, "", b"late") is None
    assert earlier.hidden == {(KIND, "", b"late")}
    assert await same.get(KIND, "", b"late") == record(forced=True)
    assert same.hidden == set()
    assert await earlier.add(KIND, "", b"late", b"own") == b"own"
    assert await earlier.get(KIND, "", b"late") == b"own"
    assert await store.get(KIND, "", b"late") == record(forced=True)
