"""The disk behind the store: a secret of its own, and no pickle either way."""

import asyncio
import os
import pickle
import sqlite3
import stat
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from trimtab import store_disk
from trimtab.errors import ForeignValue
from trimtab.store import DiskStore, hashed
from trimtab.testing import StillClock

pytestmark = pytest.mark.anyio


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[DiskStore]:
    store = DiskStore(tmp_path / "cache", StillClock())
    yield store
    await store.close()


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


class Trap:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was read",))


@pytest.mark.parametrize("mode", [4, 1])
async def test_a_pickle_in_the_file_is_never_read(disk: DiskStore, tmp_path: Path, mode: int, said: list[str]) -> None:
    await disk.put("text", "t", b"good", b"fine")
    await disk.put("text", "t", b"bad", b"soon a pickle")
    name = hashed((tmp_path / "cache" / "store.secret").read_bytes(), "text", "t", b"bad")
    value = pickle.dumps(Trap()) if mode == 4 else 5
    rows(tmp_path, "UPDATE Cache SET mode = ?, value = ? WHERE key = ?", mode, value, name)
    assert await disk.get("text", "t", b"bad") is None
    assert await disk.get("text", "t", b"good") == b"fine"
    assert await disk.add("text", "t", b"bad", b"new") == b"new"
    assert len(said) == 1
    assert "ForeignValue" in said[0]


async def test_a_pickle_in_a_file_of_its_own_is_never_read(disk: DiskStore, tmp_path: Path) -> None:
    await disk.put("text", "t", b"bad", os.urandom(100_000))
    [(name,)] = rows(tmp_path, "SELECT filename FROM Cache WHERE filename IS NOT NULL")
    (tmp_path / "cache" / "store" / name).write_bytes(pickle.dumps(Trap()))
    rows(tmp_path, "UPDATE Cache SET mode = 4")
    assert await disk.get("text", "t", b"bad") is None


def test_the_disk_refuses_pickles_both_ways(tmp_path: Path) -> None:
    disk = store_disk.BytesDisk(str(tmp_path), min_file_size=100)
    for native in (b"x", "x", 1.5, 2**62):
        assert disk.put(native)[1] is True
        assert disk.store(native, read=False)[1] != 4
    for foreign in (None, (1,), 2**63, True, Trap()):
        with pytest.raises(ForeignValue):
            disk.put(foreign)
        with pytest.raises(ForeignValue):
            disk.store(foreign, read=False)
    with pytest.raises(ForeignValue, match="CVE-2025-69872"):
        disk.get(pickle.dumps(Trap()), False)
    with pytest.raises(ForeignValue):
        disk.fetch(4, None, pickle.dumps(Trap()), False)
    assert disk.get("key", True) == "key"


def test_whoever_makes_the_secret_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = store_disk.secret(tmp_path)
    monkeypatch.setattr(Path, "exists", lambda path: False)
    assert store_disk.secret(tmp_path) == ours
    monkeypatch.setattr(os, "link", lambda *paths: (_ for _ in ()).throw(PermissionError))
    assert store_disk.secret(tmp_path) != ours
    assert [path.name for path in tmp_path.iterdir()] == ["store.secret"]


async def test_long_texts_are_compressed(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "cache")
    await store.put("text", "t", b"k", b"long " * 1000)
    [(size,)] = rows(tmp_path, "SELECT length(value) FROM Cache")
    assert size < 200
    await store.close()


async def test_a_folder_that_others_could_enter_is_closed_to_them(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "store"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    store = DiskStore(tmp_path / "cache")
    await store.put("epoch", "t", b"key", b"value")
    await store.close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_row_whose_file_is_gone_is_written_anew(disk: DiskStore, tmp_path: Path) -> None:
    await disk.put("text", "t", b"k", os.urandom(100_000))
    [(name,)] = rows(tmp_path, "SELECT filename FROM Cache")
    (tmp_path / "cache" / "store" / name).unlink()
    assert await disk.get("text", "t", b"k") is None
    assert await disk.add("text", "t", b"k", b"new") == b"new"
    assert await disk.get("text", "t", b"k") == b"new"


CHILD = """
import asyncio, os, sys
from trimtab.store import DiskStore

async def main() -> None:
    store = DiskStore(sys.argv[1])
    number = int(sys.argv[2])
    while True:
        key = b"%d" % number
        value = key + b" " + bytes([number % 251]) * (number * 977 % 90_000)
        held = await store.add("text", "t", key, value)
        await store.put("count", "t", b"last", key)
        if held == value:
            sys.stdout.write(f"{number}\\n")
            sys.stdout.flush()
        number += 1

asyncio.run(main())
"""


async def test_a_process_that_is_killed_leaves_a_store_of_whole_values(tmp_path: Path) -> None:
    told: list[int] = []
    for kill in range(5):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, str(tmp_path / "cache"), str(kill * 10_000), stdout=PIPE
        )
        assert process.stdout is not None
        async with asyncio.timeout(60):
            # Killed in the middle of whatever it does after so many values, large ones in files among them.
            told += [int(await process.stdout.readline()) for _ in range(7 + 6 * kill)]
            process.kill()
            rest = (await process.stdout.read()).splitlines(keepends=True)
            told += [int(line) for line in rest if line.endswith(b"\n")]
            await process.wait()
    store = DiskStore(tmp_path / "cache")
    for number in told:
        key = b"%d" % number
        assert await store.get("text", "t", key) == key + b" " + bytes([number % 251]) * (number * 977 % 90_000)
        half = await store.get("text", "t", b"%d" % (number + 1))
        assert half is None or half.startswith(b"%d " % (number + 1))
    assert await store.get("count", "t", b"last") is not None
    assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]
    assert await store.add("text", "t", b"new", b"value") == b"value"
    await store.close()
