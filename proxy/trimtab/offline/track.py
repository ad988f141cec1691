"""One session through one chain: what each stage made of its requests, and what a provider's cache made of that."""

from collections.abc import Sequence

import msgspec

from trimtab import caches
from trimtab.caches import Split
from trimtab.conversation import Conversation

from .chain import Walk
from .meter import Measured, measured


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """A session behind one stage. Prices are in fresh input tokens."""

    stage: str
    edited: int
    """Requests of which it changed a message."""
    tokens: int
    """Input tokens of all requests."""
    breaks: int
    """Requests that differ before the last turn from the one they extend, through this stage."""
    epochs: int
    """Those of the breaks for which it wrote a record."""
    splits: tuple[Split, ...]
    marks: bool
    """Whether the cache wants marks."""

    @property
    def cached(self) -> float:
        """The share of the tokens that the provider had."""
        return caches.cached_share(self.splits)

    def price(self, read: float) -> float:
        """What the session costs where a cached token costs `read` fresh ones."""
        return caches.price(self.splits, read)


class _Column:
    """What a stage made of the requests so far."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.turns: list[Measured] = []
        self.edited = self.breaks = self.epochs = 0


class Track:
    """Adds up the walks of one session."""

    def __init__(self, stages: Sequence[str], *, hidden: int = 0, marks: bool = False) -> None:
        self._columns = [_Column("client"), *map(_Column, stages)]
        self._hidden = hidden
        self._marks = marks
        self._target: tuple[str, str] | None = None
        self.targets: list[tuple[str, str]] = []
        """(upstream, model) of each request that would leave."""
        self.ended: list[str] = []
        """Why requests would not leave."""
        self.notes: dict[str, int] = {}
        """What stages noted, and how often."""

    def __len__(self) -> int:
        return len(self._columns[0].turns)

    def add(self, walk: Walk) -> None:
        """The next request."""
        steps = {step.stage: step for step in walk.steps}
        target = None if walk.target is None else (walk.target.upstream.name, walk.target.model.name)
        now = measured(walk.exchange.received)
        first = self._columns[0]
        extended = bool(first.turns) and target == self._target and begins(now, first.turns[-1], whole=True)
        broken = False
        for column in self._columns:
            step = steps.get(column.stage)
            if step is not None and step.after is not step.before:
                now = _measured(step.after, now)
                column.edited += any(edit.index is not None for edit in step.edits)
            if extended and not begins(now, column.turns[-1], whole=False):
                column.breaks += not broken
                column.epochs += not broken and step is not None and step.records > 0
                broken = True
            column.turns.append(now)
        self._book(walk, target)

    def _book(self, walk: Walk, target: tuple[str, str] | None) -> None:
        self._target = target
        if target is not None:
            self.targets.append(target)
        if walk.ended is not None:
            self.ended.append(walk.ended)
        for note in walk.exchange.notes:
            self.notes[note] = self.notes.get(note, 0) + 1

    def sums(self) -> list[Sums]:
        """The session as the client sent it, then behind each stage."""
        simulate = caches.explicit if self._marks else caches.implicit
        found: list[Sums] = []
        before: list[Measured] = []
        splits: tuple[Split, ...] = ()
        for column in self._columns:
            if not found or any(one is not other for one, other in zip(before, column.turns, strict=True)):
                splits = tuple(simulate([turn.pieces for turn in column.turns], self._hidden))
            before = column.turns
            found.append(
                Sums(
                    stage=column.stage,
                    edited=column.edited,
                    tokens=sum(split.tokens for split in splits),
                    breaks=column.breaks,
                    epochs=column.epochs,
                    splits=splits,
                    marks=self._marks,
                )
            )
        return found


def _measured(conversation: Conversation, before: Measured) -> Measured:
    """The pieces behind a stage; the very same object where it changed none."""
    after = measured(conversation)
    return before if after == before else after


def begins(after: Measured, before: Measured, *, whole: bool) -> bool:
    """Whether a request begins with an earlier one: with all of it, or with what stood before its last turn."""
    count = len(before.pieces) if whole else before.stable
    return len(after.pieces) >= count and all(
        new is old or new.text == old.text for new, old in zip(after.pieces, before.pieces[:count], strict=False)
    )
