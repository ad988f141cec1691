"""What upstreams report over what we counted, per upstream and model: for reports only, never moving an edit."""

from collections import OrderedDict
from typing import Literal, NamedTuple

import msgspec

from trimtab.api import Store

KIND = "calibration"
LOWEST, HIGHEST = 0.8, 1.3
"""What is beyond says more about a mistake than about a model."""
STEADY = 10
"""Samples that weigh the same; after that each new one moves the ratio by a tenth of the way."""
LEAST = 500
"""Tokens of a prompt below which framing hides what the text costs."""
WORTH = 0.005
"""Change of a ratio that is worth a write."""
KEPT = 1_000
"""Ratios in memory; clients may name any model."""


class Learned(msgspec.Struct, frozen=True):
    """A ratio, and how many replies it was learned from."""

    ratio: float = 1.0
    samples: int = 0

    def after(self, sample: float) -> "Learned":
        """With one sample more: a mean at first, then a moving one."""
        share = 1 / min(STEADY, self.samples + 1)
        return Learned(round(self.ratio + share * (_clamped(sample) - self.ratio), 4), self.samples + 1)


class Calibration:
    """The ratios known so far. They are read at the first reply of a model and written when they moved."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: OrderedDict[str, Learned] = OrderedDict()
        self._written: dict[str, float] = {}

    def ratio(self, key: str) -> float:
        """Tokens the upstream reports for each of ours, as far as is known without waiting."""
        known = self._known.get(key)
        return 1.0 if known is None else known.ratio

    def take(self, key: str, counted: int, reported: int) -> bool:
        """Take in one reply at once; False where the store has to be asked or told, which is work for `learn`."""
        if counted < LEAST:
            return True
        known = self._known.get(key)
        if known is None or self._due(key, learned := known.after(reported / counted)):
            return False
        self._known[key] = learned
        return True

    async def learn(self, key: str, counted: int, reported: int) -> None:
        """Take in one reply; runs when it has gone, one after the other."""
        if counted < LEAST:
            return
        known = self._known.get(key)
        known = await self._read(key) if known is None else known
        self._known[key] = learned = known.after(reported / counted)
        self._known.move_to_end(key)
        while len(self._known) > KEPT:
            self._written.pop(self._known.popitem(last=False)[0], None)
        if self._due(key, learned):
            self._written[key] = learned.ratio
            await self._store.put(KIND, "", key.encode(), msgspec.json.encode(learned))

    def _due(self, key: str, learned: Learned) -> bool:
        """Whether a ratio is worth a write."""
        return learned.samples == STEADY or abs(learned.ratio - self._written.get(key, 0.0)) >= WORTH

    async def _read(self, key: str) -> Learned:
        raw = await self._store.get(KIND, "", key.encode())
        try:
            held = Learned() if raw is None else msgspec.json.decode(raw, type=Learned)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Learned()
        return Learned(_clamped(held.ratio), max(0, held.samples))


def _clamped(ratio: float) -> float:
    return min(HIGHEST, max(LOWEST, ratio))


class Tolerance(NamedTuple):
    """When a difference is worth a word; all but `tokens` are percent."""

    warn: float
    error: float
    percent: float
    tokens: int


class Verdict(NamedTuple):
    """How well a count met what the upstream reported."""

    level: Literal["ok", "warning", "error"]
    accuracy: float
    """Percent."""
    difference: int
    """Tokens that the count is above (or, negative, below) the report."""


def judge(counted: int, reported: int, tolerance: Tolerance) -> Verdict:
    """Compare a count with a report; a difference within either tolerance is no reason to warn."""
    difference = counted - reported
    percent = 100 * abs(difference) / max(1, reported)
    accuracy = max(0.0, 100 - percent)
    if percent <= tolerance.percent or abs(difference) <= tolerance.tokens or accuracy >= tolerance.warn:
        return Verdict("ok", accuracy, difference)
    return Verdict("error" if accuracy < tolerance.error else "warning", accuracy, difference)
