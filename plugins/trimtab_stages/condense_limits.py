"""What upstreams have refused as too long, per upstream and model, where the table says they take more."""

from trimtab.api import Clock, Store, Target

KIND = "limit"
KEPT = 86_400.0
"""Seconds that a refusal counts: a gateway may get another window."""

FRESH = 5.0
"""Seconds after which the store is asked again: what it kept ends there, and what one worker learnt all others obey, so
that a conversation they share does not go back and forth between two windows."""
NAMES = 1_000
"""Targets in memory; clients may name any model."""


class Limits:
    """The smallest prompt refused, in our tokens, at least half the table's window, as the store has it every 5 s."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[int | None, float]] = {}

    async def known(self, target: Target) -> int | None:
        """Tokens that a target takes, None where it never refused any."""
        name, now = (target.upstream.name, target.model.name), self._clock.monotonic()
        held = self._known.get(name)
        if held is None or held[1] <= now:
            if len(self._known) >= NAMES:
                self._known.clear()
            limit = _number(await self._store.get(KIND, "", _key(name)))
            held = (None if limit is None or limit < floor(target) else limit), now + FRESH
            self._known[name] = held
        return held[0]

    async def learn(self, target: Target, limit: int, used: int) -> bool:
        """A target takes no more than `limit`, as it said of a prompt of `used` tokens; whether that is believed.

        One answer to a prompt far below the window must not take the window from everybody else.
        """
        least = floor(target)
        if used < least:
            return False
        name = target.upstream.name, target.model.name
        known = await self.known(target)
        limit = max(limit, least) if known is None else max(min(known, limit), least)
        self._known[name] = limit, self._clock.monotonic() + FRESH
        await self._store.put(KIND, "", _key(name), str(limit).encode(), ttl=KEPT)
        return True


def floor(target: Target) -> int:
    """The least that a target is ever taken to take: half the table's window."""
    return (target.model.window or 0) // 2


def _key(name: tuple[str, str]) -> bytes:
    return "\n".join(name).encode()


def _number(held: bytes | None) -> int | None:
    return int(held) if held is not None and held.isdigit() else None
