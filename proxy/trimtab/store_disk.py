"""The disk behind `store.py`: the only file that imports diskcache, itself imported at first use only."""

import os
import secrets
from pathlib import Path
from typing import Any, NoReturn

import diskcache  # type: ignore[import-untyped]  # it ships no types

from trimtab.errors import ForeignValue

SECRET_BYTES = 32
_MODE_PICKLE = 4
"""diskcache's mark of a row whose value is a pickle."""


class BytesDisk(diskcache.Disk):  # type: ignore[misc]  # its base has no types
    """diskcache's way to disk without pickle: what it would pickle, or unpickle, is refused."""

    def put(self, key: Any) -> Any:
        """A key on its way to disk."""
        return super().put(_native(key))

    def get(self, key: Any, raw: Any) -> Any:
        """A key on its way back; one that is not raw is a pickle."""
        return super().get(key, raw) if raw else _refuse("a key")

    def store(self, value: Any, read: Any, key: Any = diskcache.UNKNOWN) -> Any:
        """A value on its way to disk."""
        return super().store(_native(value), read, key=key)

    def fetch(self, mode: Any, filename: Any, value: Any, read: Any) -> Any:
        """A value on its way back."""
        return _refuse("a value") if mode == _MODE_PICKLE else super().fetch(mode, filename, value, read)


class _Cache(diskcache.Cache):  # type: ignore[misc]  # its base has no types
    """A cache that leaves no connection behind when it cannot be opened."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        try:
            super().__init__(*arguments, **options)
        except BaseException:
            # Half a cache holds its file open, whatever came between.
            self.close()
            raise


def open_cache(folder: Path, size_limit: int, patience: float) -> Any:
    """Open the cache in a folder that only this user can enter; a lock is waited for `patience` seconds."""
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    return _Cache(str(folder), timeout=patience, disk=BytesDisk, size_limit=size_limit)


def secret(directory: Path) -> bytes:
    """The store's secret, made when there is none; whoever makes it first wins."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / "store.secret"
    if not path.exists():
        _create(path, secrets.token_bytes(SECRET_BYTES))
    path.chmod(0o600)
    found = path.read_bytes()
    if len(found) != SECRET_BYTES:
        raise ValueError(f"{path} is no secret of a store: delete the file")
    return found


def _create(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; where another process was first, its file stays."""
    draft = path.with_suffix(f".{secrets.token_hex(4)}")
    with open(draft, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(content)
    try:
        os.link(draft, path)
    except FileExistsError:
        draft.unlink()
    except OSError:
        # A file system without hard links.
        draft.replace(path)
    else:
        draft.unlink()


def _native(value: Any) -> Any:
    # Exactly these: diskcache pickles their subclasses, and whole numbers beyond 64 bits.
    if type(value) in (bytes, str, float) or (type(value) is int and -(2**63) <= value < 2**63):
        return value
    raise ForeignValue(f"the store keeps bytes, not {type(value).__name__}")


def _refuse(what: str) -> NoReturn:
    raise ForeignValue(f"{what} in the store is a pickle, which is never read (CVE-2025-69872)")
