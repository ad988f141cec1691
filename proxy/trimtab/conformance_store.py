"""The stores that the conformance kit tries a stage with."""

import msgspec

from trimtab.epochs import KIND, Epoch
from trimtab.store import MemoryStore

Name = tuple[str, str, bytes]


class BrokenStore:
    """A store that always fails."""

    async def get(self, kind: str, tenant: str, key: bytes) -> bytes | None:
        """Fail."""
        raise OSError("the store is broken")

    async def put(self, kind: str, tenant: str, key: bytes, value: bytes, *, ttl: float | None = None) -> None:
        """Fail."""
        raise OSError("the store is broken")

    async def add(self, kind: str, tenant: str, key: bytes, value: bytes, *, ttl: float | None = None) -> bytes:
        """Fail."""
        raise OSError("the store is broken")


class WatchedStore(MemoryStore):
    """A store that knows during which request each forced record was written."""

    def __init__(self) -> None:
        super().__init__()
        self.request = 0
        """The request that is on its way; the kit counts."""
        self.forced: dict[Name, int] = {}

    async def put(self, kind: str, tenant: str, key: bytes, value: bytes, *, ttl: float | None = None) -> None:
        """Keep a value; `add` comes by here too."""
        if kind == KIND and _forced(value):
            self.forced.setdefault((kind, tenant, key), self.request)
        await super().put(kind, tenant, key, value, ttl=ttl)


class EarlierStore(MemoryStore):
    """What a store holds, without the forced records of the requests behind one; what is written stays here."""

    def __init__(self, store: WatchedStore, request: int) -> None:
        super().__init__()
        self._store, self._request = store, request
        self.hidden: set[Name] = set()
        """The forced records that were asked for, and not shown."""

    def peek(self, kind: str, tenant: str, key: bytes) -> bytes | None:
        """The value written here, else the one of the store."""
        held = super().peek(kind, tenant, key)
        if held is not None:
            return held
        if self._store.forced.get((kind, tenant, key), -1) > self._request:
            self.hidden.add((kind, tenant, key))
            return None
        return self._store.peek(kind, tenant, key)


def _forced(value: bytes) -> bool:
    try:
        return msgspec.json.decode(value, type=Epoch).forced
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
