"""What upstreams have refused as too long, per upstream and model, where the table says they take more."""

from trimtab.api import Store, Target

KIND = "limit"
KEPT = 86_400.0
"""Seconds that a refusal counts: a gateway may get another window."""

NAMES = 1_000
"""Targets in memory; clients may name any model."""


class Limits:
    """The smallest prompt refused, in our tokens; read from the store once per target."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str], int | None] = {}

    async def known(self, target: Target) -> int | None:
        """Tokens that a target takes, None where it never refused any."""
        name = target.upstream.name, target.model.name
        if name not in self._known:
            if len(self._known) >= NAMES:
                self._known.clear()
            self._known[name] = _number(await self._store.get(KIND, "", _key(name)))
        return self._known[name]

    async def learn(self, target: Target, limit: int) -> None:
        """A target takes no more than this."""
        name = target.upstream.name, target.model.name
        known = await self.known(target)
        self._known[name] = limit = limit if known is None else min(known, limit)
        await self._store.put(KIND, "", _key(name), str(limit).encode(), ttl=KEPT)


def _key(name: tuple[str, str]) -> bytes:
    return "\n".join(name).encode()


def _number(held: bytes | None) -> int | None:
    return int(held) if held is not None and held.isdigit() else None
