"""The two tables that make a turn cost its new messages only.

`MessageTable` finds a parsed message by its bytes, bounded in bytes; `FactTable` keeps small values by digest, bounded
in items, so that what was counted once is not counted again when the message itself was evicted. Both belong to the
event loop's thread.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from trimtab.conversation import Codec, DialectName, Message, Prefix
from trimtab.resume import Recent

T = TypeVar("T")

_OVERHEAD = 760
"""Bytes that a message costs beside its text: the objects around it (measured with tracemalloc, 560 to 620), and what
is known up to it."""


BACK = 4
"""Messages that may have changed at the end of a conversation and leave the rest its short way."""


LENT = 8
"""The part of its own bytes that a conversation may hold of others: the agents of one kind share a system prompt."""


BIG = 250_000
"""Bytes from which a message is looked for by samples of it: to hash 60 MB holds the loop for 50 ms."""
_SAMPLE = 1_000


class _Big:
    """A big message as a key: equal where all bytes are, which is compared at once where its samples agree."""

    __slots__ = ("_hash", "_raw")

    def __init__(self, raw: bytes) -> None:
        middle = len(raw) // 2
        self._raw = raw
        self._hash = hash((len(raw), raw[:_SAMPLE], raw[middle : middle + _SAMPLE], raw[-_SAMPLE:]))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Big) and self._raw == other._raw


_Key = bytes | _Big


def _key(raw: bytes) -> _Key:
    return raw if len(raw) < BIG else _Big(raw)


class Run(NamedTuple):
    """The messages of a conversation, their bytes, and what is known along them."""

    raws: tuple[bytes, ...] = ()
    messages: tuple[Message, ...] = ()
    prefixes: tuple[Prefix, ...] = ()


class _Session:
    """The messages last seen in one conversation."""

    __slots__ = ("bytes", "dialect", "key", "last", "lent", "messages")

    def __init__(self, key: int, dialect: DialectName) -> None:
        self.key = key
        self.dialect = dialect
        self.messages: dict[_Key, Message] = {}
        self.last = Run()
        self.bytes = self.lent = 0


class MessageTable:
    """Parsed messages by (dialect, bytes); evicts whole conversations, least recently used first.

    A conversation is told by its first messages (system and task). A message belongs to the one that used it
    last; what is stored is a copy of the bytes, never a view of a body.
    """

    def __init__(self, max_bytes: int) -> None:
        # Beside them, a third as much for whole bodies: the next turn of a session is scanned from where it goes on.
        self.recent = Recent(max_bytes // 3)
        self.max_bytes = max_bytes
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self._sessions: OrderedDict[int, _Session] = OrderedDict()
        self._fresh: list[tuple[Message, _Session]] = []
        """Messages of the last run whose notes are not booked: they are written while their request is served."""
        self._found: dict[str, dict[_Key, tuple[Message, _Session]]] = {}

    def __len__(self) -> int:
        return sum(len(table) for table in self._found.values())

    def find(
        self, codec: Codec, raws: Sequence[bytes], make: Callable[[int, bytes], Message], opening: int = 2
    ) -> tuple[Message, ...]:
        """The messages of a conversation, those not known made by `make(index, raw)`; the first `opening` name it."""
        return self.run(codec, tuple(raws), make, opening).messages

    def run(
        self, codec: Codec, raws: tuple[bytes, ...], make: Callable[[int, bytes], Message], opening: int = 2
    ) -> Run:
        """The messages of a conversation, with what is known of its beginnings from the turn before."""
        self._settle()
        session = self._session(codec.name, raws[:opening])
        last = session.last
        shared = _shared(last.raws, raws)
        self.hits += shared
        found = self._messages(codec, session, raws, shared, make)
        messages = last.messages[:shared] + found
        prefixes = last.prefixes[:shared] + tuple([Prefix() for _ in found])
        # The bytes are those of the messages, so that none are held twice.
        run = session.last = Run(last.raws[:shared] + tuple([message.raw for message in found]), messages, prefixes)
        self._evict()
        return run

    def _messages(
        self,
        codec: Codec,
        session: _Session,
        raws: Sequence[bytes],
        start: int,
        make: Callable[[int, bytes], Message],
    ) -> tuple[Message, ...]:
        """The messages from `start` on."""
        table = self._found.setdefault(codec.name, {})
        messages = []
        for index in range(start, len(raws)):
            raw = raws[index]
            key = _key(raw)
            known = table.get(key)
            if known is None:
                self.misses += 1
                message = make(index, raw)
                self._fresh.append((message, session))
                self._adopt(table, key, message, session, None)
            else:
                self.hits += 1
                message, owner = known
                if owner is not session:
                    self._adopt(table, key, message, session, owner)
            messages.append(message)
        return tuple(messages)

    def _session(self, dialect: DialectName, start: Sequence[bytes]) -> _Session:
        # By hash: the bytes themselves would hold a copy of each conversation's system prompt. Two that share one by
        # chance share what is evicted, and nothing else: messages are found by their bytes.
        key = hash((dialect, *map(_key, start)))
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = _Session(key, dialect)
        else:
            self._sessions.move_to_end(key)
        return session

    def _adopt(
        self,
        table: dict[_Key, tuple[Message, _Session]],
        key: _Key,
        message: Message,
        session: _Session,
        owner: _Session | None,
    ) -> None:
        size = weight(message.raw) + message.held
        if owner is None:
            self.bytes += size
        else:
            del owner.messages[key]
            owner.bytes -= size
            owner.lent += size
            if owner.lent > owner.bytes // LENT:
                # What it does not own it must not hold for long by a short way either: it was booked for another.
                owner.last, owner.lent = Run(), 0
            if not owner.messages:
                self._sessions.pop(owner.key, None)
        session.messages[key] = message
        session.bytes += size
        table[key] = (message, session)

    def _settle(self) -> None:
        """Book what stages derived from the messages that were new in the run before."""
        fresh, self._fresh = self._fresh, []
        for message, session in fresh:
            if session.messages.get(_key(message.raw)) is message:
                message.held = sum([getattr(note, "held", 0) for note in message.notes.values()])
                session.bytes += message.held
                self.bytes += message.held

    def _evict(self) -> None:
        while self.bytes > self.max_bytes and self._sessions:
            _, session = self._sessions.popitem(last=False)
            table = self._found[session.dialect]
            for key in session.messages:
                del table[key]
            self.bytes -= session.bytes


def _shared(last: tuple[bytes, ...], raws: tuple[bytes, ...]) -> int:
    """How many messages two runs have in common at their start; 0 where it is not nearly all of the shorter one."""
    most = min(len(last), len(raws))
    for count in range(most, max(0, most - BACK - 1), -1):
        if last[:count] == raws[:count]:
            return count
    return 0


def weight(raw: bytes) -> int:
    """Bytes a message is taken to hold: its own, as much again for parsed text, and its objects."""
    return 2 * len(raw) + _OVERHEAD


class FactTable(Generic[T]):
    """Small values by digest, bounded in items, least recently used first out."""

    def __init__(self, max_items: int) -> None:
        self.max_items = max_items
        self._facts: OrderedDict[bytes, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._facts)

    def get(self, digest: bytes) -> T | None:
        """The value kept for a digest."""
        value = self._facts.get(digest)
        if value is not None:
            self._facts.move_to_end(digest)
        return value

    def put(self, digest: bytes, value: T) -> None:
        """Keep a value."""
        self._facts[digest] = value
        if len(self._facts) > self.max_items:
            self._facts.popitem(last=False)
