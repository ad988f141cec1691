"""Counts what no table knows yet: a little on the event loop, much in a thread, each thing once."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from trimtab.api import Conversation, DialectName, FactTable, Message, Picture, Tokenizer
from trimtab_stages.token_parts import Pages, Part, of_message, of_system, of_tools

IN_PLACE = 16_000
"""Characters that are counted on the event loop: 1 to 8 ms of source code, 13 ms of the worst text there is."""
BATCH = 100_000
"""Characters the thread takes at a time, so that a huge session does not keep the others waiting."""


class Pictured(NamedTuple):
    """Tokens of texts, and the pictures beside them, which are another number of tokens in every model."""

    tokens: int
    pictures: tuple[Picture, ...]


Size = int | Pictured
"""What a table keeps of a message; a plain number where no picture is in it."""


class Sizes(NamedTuple):
    """The sizes of messages in a row; `tokens` is their sum and 0 pictures are in it where they are `plain`."""

    sizes: tuple[Size, ...] = ()
    tokens: int = 0
    plain: bool = True

    def plus(self, more: tuple[Size, ...]) -> "Sizes":
        plain = [size for size in more if isinstance(size, int)]
        return Sizes(self.sizes + more, self.tokens + sum(plain), self.plain and len(plain) == len(more))


class Measured(NamedTuple):
    """A conversation in sizes."""

    sizes: Sizes
    overhead: int
    new: int
    """Messages that nobody had counted before."""


class Piece(NamedTuple):
    """Something to count: the name under which a table keeps its size, and what it holds."""

    digest: bytes
    parts: Callable[[], Iterable[Part]]


_SYSTEM: Mapping[DialectName, str] = {"messages": "system", "responses": "instructions"}
"""The member that holds the system prompt, where it is none of the messages."""


def around(conversation: Conversation) -> list[Piece]:
    """What is read beside the messages: tools on offer, and the system prompt of a dialect that keeps it apart."""
    dialect, head = conversation.dialect, conversation.head
    known: list[Piece] | None = head.notes.get(Piece)
    if known is not None:
        return known
    tools, system = head.raw("tools"), head.raw(_SYSTEM[dialect]) if dialect in _SYSTEM else None
    found: list[Piece] = []
    head.notes[Piece] = found
    if tools:
        found.append(Piece(_digest(tools, f"tools {dialect}"), lambda: of_tools(tools, dialect)))
    if system:
        found.append(Piece(_digest(system, "system"), lambda: of_system(system)))
    return found


def _digest(raw: bytes, kind: str) -> bytes:
    return hashlib.sha256(raw).digest()[:16] + kind.encode()


def piece_of(message: Message) -> Piece:
    """A message."""
    # The same bytes say different things in different dialects.
    return Piece(message.digest + message.codec.name[:1].encode(), lambda: of_message(message))


class _Job(NamedTuple):
    digest: bytes
    parts: Sequence[Part]

    @property
    def weight(self) -> int:
        """Characters that take time."""
        return sum([len(part) if isinstance(part, str) else _weight(part) for part in self.parts])


def _weight(part: int | Picture | Pages) -> int:
    # Looking for pages is a hundred times as fast as counting tokens.
    return len(part.data) // 100 if isinstance(part, Pages) else 0


class TokenWorker:
    """The sizes of pieces, from a table where it knows them; `salt` tells apart who counts differently."""

    def __init__(self, tokenizer: Tokenizer | None, table: FactTable[Size], salt: bytes) -> None:
        self.tokenizer = tokenizer
        """None takes a quarter of the characters."""
        self.cold = tokenizer is not None and not tokenizer.ready
        """Whether the table of tokens has yet to be loaded, which takes a third of a second."""
        self._table = table
        self._salt = salt
        # One: a second thread gains nothing on the two cores we design for, and would take the loop's.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trimtab-count")

    def close(self) -> None:
        """Let the thread go; what it is counting is finished first."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def sizes(self, pieces: Sequence[Piece]) -> list[Size]:
        """The size of each piece, in order."""
        known = [self._table.get(piece.digest + self._salt) for piece in pieces]
        new = [piece for piece, size in zip(pieces, known, strict=True) if size is None]
        jobs = [_Job(piece.digest, tuple(piece.parts())) for piece in new]
        fresh = await self._count(jobs)
        for job, size in zip(jobs, fresh, strict=True):
            self._table.put(job.digest + self._salt, size)
        counted = iter(fresh)
        return [next(counted) if size is None else size for size in known]

    async def _count(self, jobs: Sequence[_Job]) -> list[Size]:
        if not jobs:
            return []
        loop = asyncio.get_running_loop()
        if self.cold and self.tokenizer is not None:
            await loop.run_in_executor(self._thread, self.tokenizer.load)
            # The loop counts a little in every request, the thread much and seldom.
            self.tokenizer.claim()
            self.cold = False
        if self.tokenizer is None or _total(jobs) <= IN_PLACE:
            return self._sizes(jobs)
        sizes: list[Size] = []
        for batch in _batches(jobs):
            sizes += await loop.run_in_executor(self._thread, partial(self._sizes, batch, beside=True))
        return sizes

    def _sizes(self, jobs: Sequence[_Job], *, beside: bool = False) -> list[Size]:
        return [self._size(job, beside=beside) for job in jobs]

    def _size(self, job: _Job, *, beside: bool) -> Size:
        tokens = sum([self._tokens(part, beside=beside) for part in job.parts if not isinstance(part, Picture)])
        pictures = tuple([part for part in job.parts if isinstance(part, Picture)])
        return Pictured(tokens, pictures) if pictures else tokens

    def _tokens(self, part: str | int | Pages, *, beside: bool) -> int:
        if isinstance(part, int):
            return part
        if isinstance(part, Pages):
            return part.tokens()
        return -(-len(part) // 4) if self.tokenizer is None else self.tokenizer.count(part, beside=beside)


def _total(jobs: Iterable[_Job]) -> int:
    return sum([job.weight for job in jobs])


def _batches(jobs: Iterable[_Job]) -> Iterator[list[_Job]]:
    batch: list[_Job] = []
    held = 0
    for job in jobs:
        batch.append(job)
        held += job.weight
        if held >= BATCH:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
