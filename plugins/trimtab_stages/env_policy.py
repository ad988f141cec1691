"""Which sections of environment blocks go: the policy `keep_latest`, and its variants (`How`).

The blocks are read turn by turn; a turn is what stands between two messages of the assistant. Of each state the copies
that are sent form a pile, the newest on top. When a turn brings a value of it:

1. If the top came with the turn before and the new value differs, the top is superseded and leaves the pile, provided
   that its going pays (below). An older top stays for good: to take it out now would change what is cached.
2. If the new value equals the top as it is now, it is unchanged and is not sent; else it becomes the top.

            turn 1   turn 2   turn 3   turn 4
    comes   time 1   time 2   time 3   time 4    always new: only the newest is sent
            tabs A   tabs A   tabs B   tabs A
    sent                               time 4
            tabs A                               turn 2 and 4: unchanged; turn 3: superseded by turn 4

Sections with the rule `history` (the mode) are never superseded, those with the rule `kept` (events, what is sent once,
what is not known) never go. A key that a turn brings twice is kept, and after it nothing counts as unchanged.

What follows: of each state the last copy sent is the newest value; no two copies in a row say the same; what is sent of
a turn depends on the turns before it and on the next one (the prefix law). Two copies in a row stand two turns apart,
or the older one's going did not pay, so a second pass finds nothing to do.

Going pays: what stands behind a removed section was cached and is sent anew, once. So sections go from the end of a
turn's blocks back to the place where the bytes removed, each worth `WORTH` bytes sent anew, win most over the bytes
that stay behind it. A superseded copy that stays costs its cached price and misleads nobody: the newer one follows.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from trimtab_stages.env_blocks import Section

_DIGITS = re.compile(r"\d+")

WORTH = 8.0
"""How many bytes sent anew one removed byte is worth: r * n / (1 - r) for a cached price of r and n requests to come;
8 for r = 0.1 and 72 requests, r = 0.2 and 32; the best of 1 to 20 on recorded sessions (docs/stages/env-dedup.md)."""


ALIKE = 0.9
"""The share of lines that two sections must have in common to be taken for the same (`env-dedup.similarity`)."""


class How(NamedTuple):
    """A strategy, by what it does otherwise than `keep_latest`."""

    unchanged: bool = True
    """Whether a value goes that was sent before."""
    older: Literal["differing", "alike", "all", "none"] = "differing"
    """What goes of a turn when the next one arrives: states that it says anew, states that it repeats, everything,
    nothing."""
    spared: bool = False
    """Whether the turn that says more than any before it keeps its states."""
    similarity: float = ALIKE
    priced: bool = True
    """Whether a superseded state stays where its going does not pay. Not where events leave the block later: what stood
    behind a state would be less then, and a second pass would find that its going pays."""


KEEP_LATEST = How()


class Arrival(NamedTuple):
    """The sections a turn brings; `fixed` when they may not change."""

    turn: int
    sections: tuple[Section, ...]
    fixed: bool = False


class Pile(NamedTuple):
    """The newest copy of a state that stays for good, and the one the last turn laid on it with its place there."""

    firm: str | None = None
    loose: str | None = None
    place: int = -1


class State(NamedTuple):
    """What the turns so far leave behind; never changed."""

    turn: int = -2
    piles: Mapping[str, Pile] = {}
    sent: tuple[tuple[int, int], ...] = ()
    """Place and length of each section that the last turn sends and may lose."""
    best: tuple[int, ...] = ()
    """The most that any turn said."""
    spared: bool = False
    """Whether the last turn was the one that said it."""


class Step(NamedTuple):
    """What a turn does: the state behind it, which of its own sections go, and which of the turn before."""

    state: State
    unchanged: frozenset[int]
    superseded: frozenset[int]


START = State()


def step(state: State, arrival: Arrival, how: How = KEEP_LATEST) -> Step:
    """Read the blocks of one turn."""
    sections = distinct(arrival.sections)
    going = frozenset[int]()
    if arrival.turn == state.turn + 1 and not (how.spared and state.spared):
        going = _superseded(state, sections, how)
    piles = {key: _settled(pile, going) for key, pile in state.piles.items()}
    unchanged = set()
    for place, section in enumerate(sections):
        if section.rule == "kept":
            piles.pop(section.key, None)
            continue
        pile = piles.get(section.key, Pile())
        if how.unchanged and section.value == pile.firm:
            unchanged.add(place)
        elif section.rule == "history" or arrival.fixed:
            piles[section.key] = Pile(section.value)
        else:
            piles[section.key] = Pile(pile.firm, section.value, place)
    # By what is sent: a second pass must find the same turns to say most.
    left = [section for place, section in enumerate(sections) if arrival.fixed or place not in unchanged]
    said = (_said(left),) if how.spared else ()
    best, spared = max((state.best, *said)), any(found > state.best for found in said)
    if arrival.fixed:
        return Step(State(arrival.turn, piles, (), best, spared), frozenset(), going)
    sent = tuple((place, len(section.text)) for place, section in enumerate(sections) if place not in unchanged)
    return Step(State(arrival.turn, piles, sent, best, spared), frozenset(unchanged), going)


def plan(arrivals: Sequence[Arrival], how: How = KEEP_LATEST) -> list[frozenset[int]]:
    """The sections that go, turn by turn."""
    gone: list[frozenset[int]] = []
    state = START
    for arrival in arrivals:
        state, unchanged, superseded = step(state, arrival, how)
        if gone:
            gone[-1] |= superseded
        gone.append(unchanged)
    return gone


def distinct(sections: Sequence[Section]) -> tuple[Section, ...]:
    """The sections; those whose key occurs twice are kept, since one of them may be a line of some output."""
    often = {key for key, count in Counter(section.key for section in sections).items() if key and count > 1}
    if not often:
        return tuple(sections)
    return tuple(section._replace(rule="kept") if section.key in often else section for section in sections)


def _superseded(state: State, sections: Sequence[Section], how: How) -> frozenset[int]:
    """Places of the sections of the last turn that go now."""
    if how.older == "all":
        return frozenset(place for place, _ in state.sent)
    if how.older == "alike":
        return _paying(state.sent, _repeated(state.piles, sections, how.similarity))
    if how.older == "none":
        return frozenset()
    differing = _differing(state.piles, sections)
    return _paying(state.sent, differing) if how.priced else frozenset(differing)


def _said(sections: Sequence[Section]) -> tuple[int, ...]:
    """How much a turn says: whether it holds an event or what comes once, and how many different sections."""
    return int(any(section.rule != "state" for section in sections)), len({section.key for section in sections})


def _repeated(piles: Mapping[str, Pile], sections: Sequence[Section], similarity: float) -> set[int]:
    """Places of the copies of the last turn that these sections repeat, but for their digits."""
    found = set()
    for section in sections:
        pile = piles.get(section.key)
        held = pile.loose if pile and section.rule == "state" else None
        if pile and held is not None and _likeness(held, section.value) >= similarity:
            found.add(pile.place)
    return found


def _likeness(one: str, other: str) -> float:
    """The share of their lines that two texts have in common; digits do not count."""
    lines = [Counter(_DIGITS.sub("0", line).strip() for line in text.splitlines()) for text in (one, other)]
    return (lines[0] & lines[1]).total() / max(1, (lines[0] | lines[1]).total())


def _differing(piles: Mapping[str, Pile], sections: Sequence[Section]) -> set[int]:
    """Places of the copies of the last turn that these sections say anew."""
    found = set()
    for section in sections:
        pile = piles.get(section.key)
        if pile and pile.loose is not None and section.rule == "state" and pile.loose != section.value:
            found.add(pile.place)
    return found


def _paying(sent: Sequence[tuple[int, int]], superseded: Collection[int]) -> frozenset[int]:
    """Those of the superseded sections whose going pays."""
    taken: list[int] = []
    best = won = 0.0
    cut = 0
    for place, length in reversed(sent):
        if place not in superseded:
            won -= length
            continue
        taken.append(place)
        won += WORTH * length
        if won > best:
            best, cut = won, len(taken)
    return frozenset(taken[:cut])


def _settled(pile: Pile, going: Collection[int]) -> Pile:
    """The pile when a further turn arrives: what its last one brought is gone, or stays for good."""
    if pile.loose is None:
        return pile
    return Pile(pile.firm if pile.place in going else pile.loose)
