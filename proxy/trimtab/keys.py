"""The keys of one upstream: which of them serves a request, and which one rests."""

import zlib
from collections.abc import Sequence

from trimtab.interfaces import Clock
from trimtab.policy import Failure

RATE_REST = 15.0
"""Seconds that a key rests after a 429 without a time."""
LONGEST_RATE_REST = 90.0
"""Seconds that a key rests after a 429 at most (protocol.md 1.6: windows of about two minutes were seen)."""
REST = 600.0
"""Seconds that a key rests when it was refused (at most), or its quota is used up and no time was named."""
LONGEST_REST = 86_400.0
"""Seconds that a key rests at most: a day, so that a time named in error costs no more."""
SHORTEST_REST = 1.0
"""Seconds that a key rests at least: `retry-after: 0` would bring the next request to the same key."""


class KeyRing:
    """Keys with their places: `limit` requests under way for each, None for any number."""

    def __init__(self, keys: Sequence[str | None], limit: int | None, clock: Clock) -> None:
        self.keys = tuple(keys)
        self.limit = limit
        self._clock = clock
        self.busy = [0] * len(self.keys)
        """Requests under way, by key."""
        self._rests = [0.0] * len(self.keys)

    def pick(self, session: bytes) -> int | None:
        """The key for a request of a session, None where all places are taken.

        A session keeps its key, since providers cache prompts by account; where that one rests or is full, the least
        busy one serves. A key that rests serves only where all do, the one that is rested first.
        """
        now, count = self._clock.monotonic(), len(self.keys)
        own = zlib.crc32(session) % count if count > 1 else 0
        awake = [index for index in range(count) if self._rests[index] <= now]
        if not awake:
            awake = [min(range(count), key=lambda index: self._rests[index])]
        free = [index for index in awake if self.limit is None or self.busy[index] < self.limit]
        if own in free:
            return own
        return min(free, key=lambda index: (self.busy[index], (index - own) % count), default=None)

    def cool(self, index: int, failure: Failure, asked: float | None) -> None:
        """Let a key rest after a failure that may be its own; `asked` is what the upstream named, in seconds."""
        if failure is Failure.RATE_LIMIT:
            seconds = min(LONGEST_RATE_REST, RATE_REST if asked is None else asked)
        elif failure in (Failure.QUOTA, Failure.BILLING):
            seconds = min(LONGEST_REST, REST if asked is None else asked)
        else:
            seconds = min(REST, REST if asked is None else asked)
        self._rests[index] = max(self._rests[index], self._clock.monotonic() + max(SHORTEST_REST, seconds))

    def spare(self, index: int) -> bool:
        """Whether another key than this one does not rest."""
        now = self._clock.monotonic()
        return any(rest <= now for other, rest in enumerate(self._rests) if other != index)

    @property
    def rest(self) -> float | None:
        """Seconds until the next key is rested, None where none rests."""
        now = self._clock.monotonic()
        return min((rest - now for rest in self._rests if rest > now), default=None)

    @property
    def resting(self) -> int:
        """Keys that rest."""
        now = self._clock.monotonic()
        return sum(rest > now for rest in self._rests)
