"""Texts that a model wrote, kept in the store: written once, never changed, and the same in every worker."""

from collections import OrderedDict

from trimtab.api import Exchange, Store, tenant


class FrozenTexts:
    """Texts of one kind by (client, key); the last used ones are in memory."""

    def __init__(self, store: Store, kind: str, entries: int, *, ttl: float | None = None) -> None:
        self._store = store
        self._kind = kind
        self._entries = entries
        self._ttl = ttl
        self._known: OrderedDict[tuple[str, bytes], str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    async def get(self, exchange: Exchange, key: bytes) -> str | None:
        """The text, None where nobody has written one."""
        name = tenant(exchange), key
        if name in self._known:
            self._known.move_to_end(name)
            return self._known[name]
        held = await self._store.get(self._kind, *name)
        return None if held is None else self._keep(name, held)

    async def add(self, exchange: Exchange, key: bytes, text: str) -> str:
        """Keep a text unless there is one, and return the one that holds."""
        name = tenant(exchange), key
        return self._keep(name, await self._store.add(self._kind, *name, text.encode(), ttl=self._ttl))

    async def renew(self, exchange: Exchange, key: bytes, text: str) -> None:
        """Let the time of a text begin anew."""
        if self._ttl is not None:
            await self._store.put(self._kind, tenant(exchange), key, text.encode(), ttl=self._ttl)

    def _keep(self, name: tuple[str, bytes], held: bytes) -> str:
        text = self._known[name] = held.decode(errors="replace")
        self._known.move_to_end(name)
        if len(self._known) > self._entries:
            self._known.popitem(last=False)
        return text
