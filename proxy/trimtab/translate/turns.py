"""What all messages say as turns, and what was answered in each: the part of the pass that both directions share.

Nothing here depends on a later turn, so that a longer conversation begins with the bytes of the shorter one. Hence two
rules are narrower than those of other proxies: a result belongs to the turn right behind its call or to none, and a
second result for one call replaces the first only within that turn.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from trimtab.translate.names import Ids
from trimtab.translate.piece import Call, Kind, Piece, Rendering, Said, inside

GO_ON = inside("Please continue.")
"""What the user says where nobody did and somebody must."""
NO_RESULT = inside("[no result]")
"""What a call is answered that never was."""


class Turn:
    """What one side says: an assistant's turn, or all that stands before the next one."""

    __slots__ = ("assistant", "prompt", "said", "start", "unsaid")

    def __init__(self, said: list[Said], start: int = 0, *, assistant: bool) -> None:
        self.assistant = assistant
        self.said = said
        self.start = start
        """Which of the messages is its first."""
        self.prompt: int | None = None
        """How many of the messages came before an assistant's turn that said nothing and went; None is all."""
        self.unsaid = False
        """Whether such a turn held a thought, which went with it."""

    @property
    def pieces(self) -> Iterator[Piece]:
        """All pieces in their order."""
        return (piece for said in self.said for piece in said.pieces)

    @property
    def timely(self) -> Iterator[tuple[Piece, bool]]:
        """All pieces, each with whether it may answer a call: not behind an assistant's turn that went."""
        for index, said in enumerate(self.said):
            may = self.prompt is None or index < self.prompt
            for piece in said.pieces:
                yield piece, may

    def calls(self, ids: Ids) -> tuple[Call, ...]:
        """The calls, each with an id of its own."""
        if len(self.said) == 1:
            return ids.own(self.said[0].calls)
        return ids.own(tuple(call for said in self.said for call in said.calls))

    def kept(self, key: object, dropped: dict[str, None]) -> Sequence[bytes]:
        """The fragments made the last time, none where there are none or anything that `key` says was different."""
        found = self.said[0].rendering if self.said else None
        if found is None or found.key != (key, self.prompt, *self.said[1:]):
            return ()
        for name in found.dropped:
            dropped[name] = None
        return found.fragments

    def keep(
        self, key: object, dropped: dict[str, None], make: Callable[[dict[str, None]], Iterable[bytes]]
    ) -> Sequence[bytes]:
        """The fragments that `make` makes; those are kept with the turn's first message."""
        names: dict[str, None] = {}
        fragments = tuple(make(names))
        if self.said:
            self.said[0].rendering = Rendering((key, self.prompt, *self.said[1:]), fragments, tuple(names))
        dropped.update(names)
        return fragments


class Answered(NamedTuple):
    """A user's turn: a result for each call, in the order of the calls, and the rest; None is no result."""

    results: list[tuple[str, Piece | None]]
    rest: list[Piece]
    replaced: bool = False
    """Whether a call had several results, of which one is left."""


def turns(messages: Sequence[Said], dropped: dict[str, None]) -> list[Turn]:
    """Runs of one side; an assistant's turn that says nothing goes, and what is lost is told to `dropped`."""
    found: list[Turn] = []
    last: Turn | None = None
    for at, said in enumerate(messages):
        for name in said.lost:
            dropped[name] = None
        if said.silent:
            continue
        if last is not None and last.assistant is not said.assistant:
            last = _closed(found, last)
        if last is not None and last.assistant is said.assistant:
            last.said.append(said)
        else:
            last = Turn([said], at, assistant=said.assistant)
            found.append(last)
    if last is not None:
        last = _closed(found, last)
    if last is not None and last.assistant and any(said.calls for said in last.said):
        found.append(Turn([], len(messages), assistant=False))
    return found


def _closed(found: list[Turn], last: Turn) -> Turn | None:
    """The last turn, after an assistant's that came out empty was dropped: the turns around that become one."""
    if last.assistant and not any(said.speaks for said in last.said):
        found.pop()
        before = found[-1] if found else None
        if before is not None:
            before.unsaid |= any(piece.kind is Kind.THOUGHT for piece in last.pieces)
            before.prompt = len(before.said) if before.prompt is None else before.prompt
        return before
    return last


def answered(turn: Turn, asked: Sequence[Call]) -> Answered:
    """The results of a user's turn beside their calls; those without a call are left in the rest."""
    slots: dict[str, list[int]] = {}
    for at, call in enumerate(asked):
        slots.setdefault(call.said, []).append(at)
    found: list[Piece | None] = [None] * len(asked)
    rest: list[Piece] = []
    replaced = False
    for piece, timely in turn.timely:
        if piece.kind is not Kind.RESULT:
            if piece.kind is not Kind.LOST:
                rest.append(piece)
        elif timely and piece.said in slots:
            waiting = slots[piece.said]
            # The last of several results counts, at the place of the first.
            at = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            replaced |= found[at] is not None
            found[at] = piece
        else:
            rest.append(piece)
    return Answered([(call.id, result) for call, result in zip(asked, found, strict=True)], rest, replaced)
