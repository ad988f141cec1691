"""Recorded sessions through any pipeline, offline: tokens, cached share and cost behind each stage.

Each session is walked twice, as a provider with an implicit cache reads it, and with cache marks for one that wants
them; requests that bring marks of their own are walked once and read both ways.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from itertools import pairwise

import msgspec

from trimtab.config import Config
from trimtab.conversation import Conversation
from trimtab.errors import BadRequest
from trimtab.models import Terms, terms

from . import recorded
from .chain import Offline, Walk
from .marks import has_marks, with_marks
from .meter import measured
from .recorded import Recorded, Source
from .track import Sums, Track

PAUSE = 20.0
"""Seconds between two requests that tell no time."""

Progress = Callable[[int, float], None]
"""Is told how many requests of the file are done, and which share of it that is."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """What one session gave."""

    name: str
    dialect: str
    requests: int
    implicit: tuple[Sums, ...]
    """As the client sent it, then behind each stage."""
    marks: tuple[Sums, ...]
    targets: tuple[tuple[str, str], ...]
    """(upstream, model), each named once."""
    switches: int
    """Requests that went elsewhere than the one before: a cold cache that is not in the prices."""
    terms: Terms | None
    """Prices and cache of the target that took the last request."""
    recorded_edited: bool
    """Whether the recording holds requests with the edits of the day in them."""
    ended: tuple[str, ...]
    notes: dict[str, int]


class Pair:
    """One session on its way: its walks without marks and with them."""

    def __init__(self, name: str, dialect: str, stages: Sequence[str], hidden: int) -> None:
        self.name = name
        self.dialect = dialect
        self.edited = False
        self.terms: Terms | None = None
        self.plain = Track(stages, hidden=hidden)
        self.marked = Track(stages, hidden=hidden, marks=True)

    def add(self, plain: Walk, marked: Walk) -> None:
        """The next request."""
        self.plain.add(plain)
        self.marked.add(marked)
        if plain.target is not None:
            self.terms = terms(plain.target)

    def result(self) -> Session:
        """What it gave."""
        targets = self.plain.targets
        return Session(
            name=self.name,
            dialect=self.dialect,
            requests=len(self.plain),
            implicit=tuple(self.plain.sums()),
            marks=tuple(self.marked.sums()),
            targets=tuple(dict.fromkeys(targets)),
            switches=sum(one != other for one, other in pairwise(targets)),
            terms=self.terms,
            recorded_edited=self.edited,
            ended=tuple(self.plain.ended),
            notes=self.plain.notes,
        )


class Grouped:
    """Tells sessions apart by their messages: a request belongs to the one whose last request it extends."""

    def __init__(self) -> None:
        self._ends: dict[bytes, str] = {}
        self._count = 0

    def name(self, conversation: Conversation) -> str:
        """The session of a request; a new name where it extends none."""
        chain, keys, stable = b"", [], 0
        found = measured(conversation)
        for number, each in enumerate(found.pieces, 1):
            chain = sha256(chain + each.digest).digest()
            keys.append(chain)
            stable = number if number == found.stable else stable
        name = next((self._ends[key] for key in reversed(keys) if key in self._ends), None)
        if name is None:
            self._count += 1
            name = f"session {self._count}"
        self._ends[keys[-1]] = name
        # Edits at the end of a request, and clients that say its last turn anew, leave what stood before it.
        if stable and any(message.role == "assistant" for message in conversation.messages):
            self._ends[keys[stable - 1]] = name
        return name


class Replay:
    """Replays through one pipeline; `opened` starts its stages."""

    def __init__(self, plain: Offline, marked: Offline) -> None:
        self._plain = plain
        self._marked = marked
        self._grouped = Grouped()
        self._logged: dict[str, Pair] = {}
        """Sessions of logs: one may go on in the next file of its log."""
        self._pairs: list[Pair] = []
        self.unread: dict[tuple[str, str], int] = {}
        """File and reason of requests that could not be read, and how often."""

    @classmethod
    @asynccontextmanager
    async def opened(cls, config: Config, pipeline: str = "default") -> AsyncIterator["Replay"]:
        """A replay through a pipeline of a configuration."""
        async with Offline(config, pipeline) as plain, Offline(config, pipeline) as marked:
            yield cls(plain, marked)

    async def file(
        self, source: Source, model: str = recorded.MODEL, progress: Progress | None = None
    ) -> list[Session]:
        """The sessions of one file, in the order in which they come in it. Raises Unreadable.

        One that an earlier file of a log began is told as a whole.
        """
        pairs: dict[str, Pair] = {}
        missed = partial(self._missed, source.path.name)
        for number, request in enumerate(recorded.read(source, model, missed), 1):
            try:
                await self._one(pairs, request)
            except BadRequest as error:
                missed(error.message)
            if progress is not None:
                progress(number, request.share)
        return [pair.result() for pair in pairs.values()]

    def sessions(self) -> list[Session]:
        """The sessions of all files so far, in the order in which they began."""
        return [pair.result() for pair in self._pairs]

    def _missed(self, name: str, reason: str) -> None:
        self.unread[name, reason] = self.unread.get((name, reason), 0) + 1

    async def _one(self, pairs: dict[str, Pair], request: Recorded) -> None:
        conversation = self._plain.parse(request.dialect, request.body)
        name = request.session or self._grouped.name(conversation)
        pair = (self._logged if request.session is None else pairs).get(name)
        if pair is None:
            pair = Pair(name, request.dialect, self._plain.stages, request.hidden)
            self._pairs.append(pair)
        if request.session is None:
            self._logged[name] = pair
        pairs[name] = pair
        pair.edited |= request.edited
        for offline in (self._plain, self._marked):
            offline.clock.to(request.time if request.time is not None else offline.clock.now() + PAUSE)
        plain = await self._plain.walk(conversation, request.headers)
        # Responses has no place for marks.
        read_twice = has_marks(conversation) or conversation.dialect == "responses"
        pair.add(plain, plain if read_twice else await self._with_marks(request, conversation))

    async def _with_marks(self, request: Recorded, conversation: Conversation) -> Walk:
        body = with_marks(conversation).render()
        return await self._marked.walk(self._marked.parse(request.dialect, body), request.headers)


def total(sessions: Sequence[Session]) -> Iterator[tuple[str, tuple[Sums, ...], tuple[Sums, ...]]]:
    """Each stage over all sessions: its name, and its sums without marks and with them."""
    if not sessions:
        return
    for number, first in enumerate(sessions[0].implicit):
        yield (
            first.stage,
            tuple(session.implicit[number] for session in sessions),
            tuple(session.marks[number] for session in sessions),
        )
