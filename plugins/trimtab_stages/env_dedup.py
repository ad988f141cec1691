"""Removes from environment blocks what earlier blocks said already or the next one says anew.

Agents of the Cline family end every message with a block `<environment_details>`, which mostly repeats the one before.
What may go is the business of `env_policy`, how blocks are read of `env_blocks`, where they stand of `env_places`. Here
the stage walks over a request. It is a pure function of the messages: what it keeps between requests hangs on them.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from loguru import logger

from trimtab.api import Exchange, Fact, Message, Reply, Services, Stage, StageOptions, hookimpl
from trimtab_stages import env_places
from trimtab_stages.env_blocks import ENVIRONMENT, Tags
from trimtab_stages.env_places import Place
from trimtab_stages.env_policy import START, Arrival, State, Step, step
from trimtab_stages.env_tags import tags_of

STRATEGIES = ("keep_latest",)
LATER = ("keep_most_relevant", "merge", "merge_strategy", "selective_removal", "exact_match", "delta")
"""Names that the strategies to come have elsewhere."""


class EnvDedupOptions(StageOptions, frozen=True, kw_only=True):
    """The table `[stage.env-dedup]`."""

    strategy: str = "keep_latest"
    """What goes."""
    patterns: tuple[str, ...] = ()
    """Further pairs of tags around blocks: `<open>|</open>`, or `<open>.*?</open>`."""
    max_age: int = 0
    """Not built; anything but 0 is noted at start."""
    log: bool = False
    """A log line for every request whose blocks changed."""
    stats: bool = True
    """Whether what went is counted."""

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            known = "is not built yet" if self.strategy in LATER else "does not exist"
            raise ValueError(f"strategy '{self.strategy}' {known}: there is {', '.join(STRATEGIES)}")
        if self.max_age < 0:
            raise ValueError("max-age must be 0")
        for pattern in self.patterns:
            tags_of(pattern)


class EnvDedup(Fact, frozen=True):
    """What the stage did to a request."""

    blocks: int
    """Environment blocks of which something went."""
    sections: int
    """Sections that went."""
    bytes: int
    """By how much the body is shorter."""


class _Note:
    """What is known of a message. It hangs on it, with the last step and the last edit that were made of it."""

    __slots__ = ("edit", "held", "marked", "place", "step")

    def __init__(self, message: Message, tags: Sequence[Tags]) -> None:
        self.place = env_places.find(message, tags)
        self.marked = env_places.is_marked(message)
        self.step: tuple[State, tuple[int, bool], Step] | None = None
        self.edit: tuple[frozenset[int], Message] | None = None
        self.held = 0 if self.place is None else 2 * len(message.raw) + 1_000
        """Bytes in memory, with the edited message that there may be."""


class Found(NamedTuple):
    """A message with an environment block."""

    at: int
    message: Message
    note: _Note
    place: Place


class Turn(NamedTuple):
    """What stands between two messages of the assistant, as far as it holds blocks."""

    number: int
    found: tuple[Found, ...]


class EnvDeduplication(Stage[EnvDedupOptions]):
    """Edits the messages whose environment blocks say what is said elsewhere."""

    name = "env-dedup"
    Options = EnvDedupOptions
    provides = frozenset({EnvDedup})
    optional = True
    shapes = True

    def __init__(self, options: EnvDedupOptions, label: str | None = None) -> None:
        super().__init__(options, label)
        self._tags = (ENVIRONMENT, *(tags_of(pattern) for pattern in options.patterns))
        self._key = f"env-dedup:{self._tags[1:]}"

    @hookimpl
    async def start(self, services: Services) -> None:
        """Say what an option does not do."""
        self._counters = services.counters
        if self.options.max_age:
            logger.warning(
                "env-dedup.max-age is not built and has no effect: removing blocks by their age breaks the provider's "
                "cache, which cost up to 162 % more in our measurements; delete it (ENV_DETAILS_MAX_AGE_MINUTES)"
            )

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        """Edit the messages that hold a block."""
        if exchange.compaction or not exchange.conversation.fold(self._key, start=False, step=self._holds):
            return None
        turns, marked = self._read(exchange.conversation.messages)
        if not turns or any(env_places.marked_outside(message) for message in marked):
            return None
        blocks = sections = saved = 0
        for found, gone in _going(turns, marked=bool(marked)):
            after = self._edited(found, gone)
            if after is found.message or not exchange.edit(found.at, after, _reason(gone)):
                continue
            blocks += bool(gone)
            sections += len(gone)
            saved += len(found.message.raw) - len(after.raw)
        if sections:
            self._report(exchange, EnvDedup(blocks=blocks, sections=sections, bytes=saved))
        return None

    def _read(self, messages: Sequence[Message]) -> tuple[list[Turn], list[Message]]:
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
            note = self._note(message)
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

    def _holds(self, known: bool, message: Message) -> bool:
        """Whether a block was found so far: most agents send none, and then nothing is read again."""
        return known or (message.role != "assistant" and self._note(message).place is not None)

    def _note(self, message: Message) -> _Note:
        note: _Note | None = message.notes.get(self._key)
        if note is None:
            note = message.notes[self._key] = _Note(message, self._tags)
        return note

    def _edited(self, found: Found, gone: frozenset[int]) -> Message:
        """The message as it leaves; made once, and again only when something else goes."""
        message, note, place = found.message, found.note, found.place
        if not gone and not (note.marked and env_places.marks_behind(message, place)):
            return message
        if note.edit is None or note.edit[0] != gone:
            note.edit = gone, env_places.edited(message, place, gone, self._tags)
        return note.edit[1]

    def _report(self, exchange: Exchange, fact: EnvDedup) -> None:
        exchange.put(fact)
        if self.options.stats:
            for name in ("blocks", "sections", "bytes"):
                self._counters.add(f"env_dedup.{name}", getattr(fact, name))
        if self.options.log:
            logger.info(
                "{}: env-dedup took {} sections out of {} blocks, {} bytes",
                exchange.id, fact.sections, fact.blocks, fact.bytes,
            )  # fmt: skip


def _going(turns: Sequence[Turn], *, marked: bool) -> Iterator[tuple[Found, frozenset[int]]]:
    """The messages that may change, each with the sections that go; `marked` says that the client sets cache marks."""
    state = START
    last: Turn | None = None
    gone = frozenset[int]()
    for turn in turns:
        fixed = marked and not all(_movable(found) for found in turn.found)
        state, unchanged, superseded = _step(state, turn, fixed=fixed)
        if last is not None:
            yield from _shares(last, gone | superseded)
        last, gone = (None if fixed else turn), unchanged
    if last is not None:
        yield from _shares(last, gone)


def _movable(found: Found) -> bool:
    """Whether cache marks can stand before the block, now and in the turns to come."""
    return env_places.has_carrier(found.message, found.place) and (
        not found.note.marked or env_places.can_move(found.message, found.place)
    )


def _step(state: State, turn: Turn, *, fixed: bool) -> Step:
    """What a turn does; found again where the turns before it are those of the last request."""
    note = turn.found[0].note
    if len(turn.found) > 1:
        sections = tuple(section for found in turn.found for section in found.place.sections)
        return step(state, Arrival(turn.number, sections, fixed))
    known = note.step
    if known is None or known[0] is not state or known[1] != (turn.number, fixed):
        arrival = Arrival(turn.number, turn.found[0].place.sections, fixed)
        known = note.step = state, (turn.number, fixed), step(state, arrival)
    return known[2]


def _shares(turn: Turn, gone: frozenset[int]) -> Iterator[tuple[Found, frozenset[int]]]:
    """Each message of a turn with its own share of the sections that go."""
    if len(turn.found) == 1:
        yield turn.found[0], gone
        return
    first = 0
    for found in turn.found:
        end = first + len(found.place.sections)
        yield found, frozenset(index - first for index in gone if first <= index < end)
        first = end


def _reason(gone: frozenset[int]) -> str:
    return f"{len(gone)} section{'s' * (len(gone) != 1)} said elsewhere" if gone else "cache mark before the block"
