"""The store: whole values under hashed names, no pickle, and never a reason for a request to fail."""

import asyncio
import os
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from trimtab import store as module
from trimtab import store_disk
from trimtab.interfaces import Store
from trimtab.patience import apart, together
from trimtab.store import DiskStore, MemoryStore, hashed
from trimtab.testing import StillClock

pytestmark = pytest.mark.anyio


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[DiskStore]:
    store = DiskStore(tmp_path / "cache", StillClock())
    yield store
    await store.close()


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, disk: DiskStore) -> Store:
    return disk if request.param == "disk" else MemoryStore(StillClock())


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message).strip()), level="TRACE", format="{level} {message}")
    yield lines
    logger.remove(sink)


def rows(folder: Path, statement: str, *values: Any) -> list[Any]:
    """Run a statement on the database behind a store's back."""
    connection = sqlite3.connect(folder / "cache" / "store" / "cache.db")
    try:
        with connection:
            return connection.execute(statement, values).fetchall()
    finally:
        connection.close()


async def test_what_was_put_is_found(store: Store) -> None:
    assert await store.get("epoch", "t", b"k") is None
    await store.put("epoch", "t", b"k", b"one")
    await store.put("epoch", "t", b"k", b"two")
    assert await store.get("epoch", "t", b"k") == b"two"


@pytest.mark.parametrize("value", [b"", b"\0\1\2", b"x" * 511, b"x" * 512, os.urandom(100_000)])
async def test_values_come_back_whole(store: Store, value: bytes) -> None:
    await store.put("text", "t", b"k", value)
    assert await store.get("text", "t", b"k") == value


async def test_kinds_and_tenants_are_apart(store: Store) -> None:
    await store.put("a", "b", b"c", b"mine")
    for kind, tenant, key in (("a", "bc", b""), ("ab", "", b"c"), ("b", "a", b"c"), ("a", "", b"bc"), ("a", "b", b"")):
        assert await store.get(kind, tenant, key) is None


async def test_who_is_second_obeys_the_first(store: Store) -> None:
    assert await store.add("epoch", "t", b"k", b"first") == b"first"
    assert await store.add("epoch", "t", b"k", b"second") == b"first"
    assert await store.get("epoch", "t", b"k") == b"first"


async def test_a_race_has_one_winner(tmp_path: Path) -> None:
    stores = [DiskStore(tmp_path / "cache") for _ in range(3)]
    held = await asyncio.gather(*(each.add("epoch", "t", b"k", b"%d" % number) for number, each in enumerate(stores)))
    assert len(set(held)) == 1
    for each in stores:
        await each.close()


async def test_a_value_expires(store: Store) -> None:
    await store.put("text", "t", b"k", b"old", ttl=-1.0)
    assert await store.get("text", "t", b"k") is None
    assert await store.add("text", "t", b"k", b"new", ttl=3600.0) == b"new"
    assert await store.get("text", "t", b"k") == b"new"


async def test_memory_obeys_its_clock_and_its_bound() -> None:
    clock = StillClock()
    store = MemoryStore(clock, max_items=2)
    await store.put("text", "t", b"a", b"1", ttl=10.0)
    clock.advance(9.9)
    assert await store.get("text", "t", b"a") == b"1"
    clock.advance(0.1)
    assert await store.get("text", "t", b"a") is None
    for key in (b"a", b"b"):
        await store.put("text", "t", key, b"1")
    await store.get("text", "t", b"a")
    await store.put("text", "t", b"c", b"1")
    assert [await store.get("text", "t", key) for key in (b"a", b"b", b"c")] == [b"1", None, b"1"]
    assert len(store) == 2
    await store.close()


async def test_a_restart_finds_what_was_kept(tmp_path: Path) -> None:
    first = DiskStore(tmp_path)
    await first.put("epoch", "t", b"k", b"v" * 1000)
    await first.close()
    second = DiskStore(tmp_path, compress=False)
    assert await second.get("epoch", "t", b"k") == b"v" * 1000
    await second.close()
    await second.close()


async def test_everything_is_private_and_nothing_tells(disk: DiskStore, tmp_path: Path) -> None:
    await disk.put("epoch", "tenant-name", b"the secret plan", b"value")
    folder = tmp_path / "cache"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "store", folder / "store.secret")] == [
        0o700,
        0o700,
        0o600,
    ]
    secret = (folder / "store.secret").read_bytes()
    assert len(secret) == 32
    assert rows(tmp_path, "SELECT key FROM Cache") == [(hashed(secret, "epoch", "tenant-name", b"the secret plan"),)]
    everything = b"".join(path.read_bytes() for path in (folder / "store").rglob("*") if path.is_file())
    assert b"secret plan" not in everything
    assert b"tenant-name" not in everything


async def test_another_secret_finds_nothing(tmp_path: Path) -> None:
    first = DiskStore(tmp_path)
    await first.put("epoch", "t", b"k", b"v")
    await first.close()
    (tmp_path / "store.secret").unlink()
    second = DiskStore(tmp_path)
    assert await second.get("epoch", "t", b"k") is None
    await second.close()


@pytest.mark.parametrize("value", ["text", 5, None, [b"x"], bytearray(b"x")])
async def test_only_bytes_are_kept(store: Store, value: Any) -> None:
    with pytest.raises(TypeError, match="keeps bytes"):
        await store.put("text", "t", b"k", value)
    with pytest.raises(TypeError, match="keeps bytes"):
        await store.add("text", "t", b"k", value)


# Bad days


async def check_that_memory_holds(store: Store) -> None:
    assert await store.get("epoch", "t", b"k") is None
    assert await store.add("epoch", "t", b"k", b"first") == b"first"
    assert await store.add("epoch", "t", b"k", b"second") == b"first"
    await store.put("epoch", "t", b"k2", b"v")
    assert await store.get("epoch", "t", b"k2") == b"v"


async def test_a_broken_file_counts_as_empty_and_is_told_once(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "cache.db").write_bytes(b"this is no database" * 1000)
    store = DiskStore(tmp_path, StillClock())
    await check_that_memory_holds(store)
    await store.close()
    assert len(said) == 1
    assert said[0].startswith(f"WARNING the store in {tmp_path} cannot be used and counts as empty: DatabaseError")


@pytest.mark.parametrize("content", [b"", b"short"])
async def test_a_broken_secret_counts_as_empty(tmp_path: Path, content: bytes, said: list[str]) -> None:
    (tmp_path / "store.secret").write_bytes(content)
    store = DiskStore(tmp_path, StillClock())
    await check_that_memory_holds(store)
    await store.close()
    assert "delete the file" in said[0]


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = DiskStore(tmp_path / "file" / "cache", StillClock())
    await check_that_memory_holds(store)
    await store.close()


async def test_a_full_disk_heals_after_a_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    clock = StillClock()
    store = DiskStore(tmp_path / "cache", clock)
    await store.put("text", "t", b"before", b"1")
    tried = []

    def full(*arguments: Any, **options: Any) -> None:
        tried.append(1)
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store_disk._Cache, "set", full)
        await store.put("text", "t", b"a", b"2")
        await store.put("text", "t", b"b", b"3")
    assert len(tried) == 1
    assert await store.get("text", "t", b"before") is None  # the disk rests
    assert await store.get("text", "t", b"a") == b"2"
    clock.advance(module.REST)
    assert await store.get("text", "t", b"before") == b"1"
    assert await store.add("text", "t", b"a", b"other") == b"2"
    await store.put("text", "t", b"a", b"4")
    assert [value for (value,) in rows(tmp_path, "SELECT value FROM Cache")] == [b"\x001", b"\x004"]
    assert await store.get("text", "t", b"a") == b"4"
    assert len(said) == 1
    await store.close()


async def test_a_lock_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    store = DiskStore(tmp_path, StillClock())
    await store.put("text", "t", b"k", b"1")
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    monkeypatch.setattr(store_disk._Cache, "get", lambda *arguments, **options: gate.wait(10))
    assert await store.get("text", "t", b"k") is None
    assert await store.add("text", "t", b"k", b"2") == b"2"
    gate.set()
    await store.close()


async def test_one_request_waits_for_all_its_questions_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    """A disk that answers each of them in two seconds; then it rests, and is asked again."""
    clock = StillClock()
    store = DiskStore(tmp_path, clock)
    for number in range(5):
        await store.put("epoch", "t", b"%d" % number, b"v")
    quick = store_disk._Cache.get

    def slow(*arguments: Any, **options: Any) -> Any:
        clock.advance(2)
        return quick(*arguments, **options)

    monkeypatch.setattr(store_disk._Cache, "get", slow)
    for _ in range(2):
        token = together()
        assert [await store.get("epoch", "t", b"%d" % number) for number in range(5)] == [b"v"] * 2 + [None] * 3
        apart(token)
        clock.advance(module.REST)
    assert clock.monotonic() == 2 * (4 + module.REST)
    assert [line for line in said if "counts as empty: TimeoutError" in line]
    # What no request waits for is asked on.
    assert [await store.get("epoch", "t", b"%d" % number) for number in range(5)] == [b"v"] * 5
    await store.close()


async def test_a_closed_store_counts_as_empty(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    await store.put("epoch", "t", b"k", b"v")
    await store.close()
    await check_that_memory_holds(store)


async def test_what_is_done_can_be_told(tmp_path: Path, said: list[str]) -> None:
    store = DiskStore(tmp_path, log=True)
    await store.get("text", "t", b"k")
    await store.add("text", "t", b"k", b"v")
    await store.get("text", "t", b"k")
    await store.put("text", "t", b"k", b"v")
    assert said == [f"DEBUG store: {what} of text" for what in ("miss", "add", "hit", "put")]
    await store.close()
