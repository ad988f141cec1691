"""The turns of a request that hold environment blocks, and which of their sections go."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from trimtab.api import Message
from trimtab_stages import env_places
from trimtab_stages.env_blocks import UNCHANGED, Section, Tags
from trimtab_stages.env_places import Place
from trimtab_stages.env_policy import START, Arrival, How, State, Step, distinct, step


class Note:
    """What is known of a message. It hangs on it, with the last step and the last edit that were made of it."""

    __slots__ = ("edit", "held", "marked", "place", "step")

    def __init__(self, message: Message, tags: Sequence[Tags]) -> None:
        self.place = env_places.find(message, tags)
        self.marked = env_places.is_marked(message)
        self.step: tuple[State, tuple[int, bool], Step] | None = None
        self.edit: tuple[tuple[frozenset[int], str], Message] | None = None
        self.held = 0 if self.place is None else 2 * len(message.raw) + 1_000
        """Bytes in memory, with the edited message that there may be."""


class Found(NamedTuple):
    """A message with an environment block."""

    at: int
    message: Message
    note: Note
    place: Place


class Turn(NamedTuple):
    """What stands between two messages of the assistant, as far as it holds blocks."""

    number: int
    found: tuple[Found, ...]


class Going(NamedTuple):
    """A message that may change: the sections that go, and a text that takes their place."""

    found: Found
    gone: frozenset[int]
    said: str = ""
    sections: tuple[Section, ...] = ()
    """The sections of the message by the rules of its turn; what the turn says twice is kept."""


def note_of(message: Message, tags: Sequence[Tags], key: str) -> Note:
    """What is known of a message, read once."""
    note: Note | None = message.notes.get(key)
    if note is None:
        note = message.notes[key] = Note(message, tags)
    return note


def read(messages: Sequence[Message], tags: Sequence[Tags], key: str) -> tuple[list[Turn], list[Message]]:
    """The turns that hold blocks, and the users' messages that hold cache marks."""
    turns: list[Turn] = []
    marked: list[Message] = []
    found: list[Found] = []
    number, speaking = 0, False
    for index, message in enumerate(messages):
        if message.role == "assistant":
            if found:
                turns.append(Turn(number, tuple(found)))
                found = []
            # In Responses a thought and each call are items of their own: those in a row are one turn.
            number += not (speaking and message.codec.name == "responses")
            speaking = True
            continue
        if not message.role:
            continue
        speaking = False
        note = note_of(message, tags, key)
        if note.marked:
            marked.append(message)
        if found and found[-1].place.inner is not None:
            # A tool's output ends in a block only where the turn ends with it.
            found.pop()
        if note.place is not None:
            found.append(Found(index, message, note, note.place))
    if found:
        turns.append(Turn(number, tuple(found)))
    return turns, marked


def answers_of(messages: Sequence[Message]) -> list[int]:
    """Where the assistant begins to speak."""
    roles = ["", *(message.role for message in messages)]
    return [index for index, pair in enumerate(pairwise(roles)) if pair[1] == "assistant" != pair[0]]


def going(turns: Sequence[Turn], how: How, *, marked: bool) -> Iterator[Going]:
    """The messages that may change; `marked` says that the client sets cache marks."""
    state = START
    last: Turn | None = None
    gone = frozenset[int]()
    for turn in turns:
        fixed = marked and not all(_movable(found) for found in turn.found)
        state, unchanged, superseded = _step(state, turn, how, fixed=fixed)
        if last is not None:
            yield from _shares(last, gone | superseded)
        last, gone = (None if fixed else turn), unchanged
    if last is not None:
        yield from _shares(last, gone)


def appended(turns: Sequence[Turn], how: How) -> Iterator[Going]:
    """The same where nothing goes but on arrival: block by block, so that no later message plays a part."""
    state, told = START, False
    for number, found in enumerate(found for turn in turns for found in turn.found):
        state, gone, _ = step(state, Arrival(number, found.place.sections), how)
        rest = any(section.value for place, section in enumerate(found.place.sections) if place not in gone)
        said = "" if told and rest else UNCHANGED
        if sum(len(found.place.sections[place].text) for place in gone) > len(said) + 3:
            told = True
            yield Going(found, gone, said)


def fixed_keys(turns: Sequence[Turn], until: int) -> frozenset[str]:
    """The keys of sections before the message `until` that may not change, where the client sets cache marks."""
    return frozenset(
        section.key
        for turn in turns
        if not all(map(_movable, turn.found))
        for found in turn.found
        if found.at < until
        for section in found.place.sections
    )


def _movable(found: Found) -> bool:
    """Whether cache marks can stand before the block, now and in the turns to come."""
    return env_places.has_carrier(found.message, found.place) and (
        not found.note.marked or env_places.can_move(found.message, found.place)
    )


def _step(state: State, turn: Turn, how: How, *, fixed: bool) -> Step:
    """What a turn does; found again where the turns before it are those of the last request."""
    note = turn.found[0].note
    if len(turn.found) > 1:
        sections = tuple(section for found in turn.found for section in found.place.sections)
        return step(state, Arrival(turn.number, sections, fixed), how)
    known = note.step
    if known is None or known[0] is not state or known[1] != (turn.number, fixed):
        arrival = Arrival(turn.number, turn.found[0].place.sections, fixed)
        known = note.step = state, (turn.number, fixed), step(state, arrival, how)
    return known[2]


def _shares(turn: Turn, gone: frozenset[int]) -> Iterator[Going]:
    """Each message of a turn with its own share of the sections that go."""
    sections = distinct(tuple(section for found in turn.found for section in found.place.sections))
    first = 0
    for found in turn.found:
        end = first + len(found.place.sections)
        share = frozenset(index - first for index in gone if first <= index < end)
        yield Going(found, share, sections=sections[first:end])
        first = end
