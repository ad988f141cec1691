"""The two tables that make a turn cost its new messages only.

`MessageTable` finds a parsed message by its bytes, bounded in bytes; `FactTable` keeps small values by digest, bounded
in items, so that what was counted once is not counted again when the message itself was evicted. Both belong to the
event loop's thread.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from trimtab.conversation import Codec, DialectName, Message
from trimtab.resume import Recent

T = TypeVar("T")

_OVERHEAD = 600
"""Bytes that a message costs beside its text: the objects around it (measured with tracemalloc, 560 to 620)."""


class _Session:
    """The messages last seen in one conversation."""

    __slots__ = ("bytes", "dialect", "key", "messages")

    def __init__(self, key: bytes, dialect: DialectName) -> None:
        self.key = key
        self.dialect = dialect
        self.messages: dict[bytes, Message] = {}
        self.bytes = 0


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
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        self._found: dict[str, dict[bytes, tuple[Message, _Session]]] = {}

    def __len__(self) -> int:
        return sum(len(table) for table in self._found.values())

    def find(
        self, codec: Codec, raws: Sequence[bytes], make: Callable[[int, bytes], Message], opening: int = 2
    ) -> tuple[Message, ...]:
        """The messages of a conversation, those not known made by `make(index, raw)`; the first `opening` name it."""
        session = self._session(codec.name, raws[:opening])
        table = self._found.setdefault(codec.name, {})
        messages = []
        for index, raw in enumerate(raws):
            known = table.get(raw)
            if known is None:
                self.misses += 1
                message = make(index, raw)
                self._adopt(table, message, session, None)
            else:
                self.hits += 1
                message, owner = known
                if owner is not session:
                    self._adopt(table, message, session, owner)
            messages.append(message)
        self._evict()
        return tuple(messages)

    def _session(self, dialect: DialectName, start: Sequence[bytes]) -> _Session:
        # By digest: the bytes themselves would hold a copy of each conversation's system prompt.
        key = hashlib.sha256(b"\0".join((dialect.encode(), *start))).digest()
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = _Session(key, dialect)
        else:
            self._sessions.move_to_end(key)
        return session

    def _adopt(
        self,
        table: dict[bytes, tuple[Message, _Session]],
        message: Message,
        session: _Session,
        owner: _Session | None,
    ) -> None:
        size = weight(message.raw)
        if owner is None:
            self.bytes += size
        else:
            del owner.messages[message.raw]
            owner.bytes -= size
            if not owner.messages:
                self._sessions.pop(owner.key, None)
        session.messages[message.raw] = message
        session.bytes += size
        table[message.raw] = (message, session)

    def _evict(self) -> None:
        while self.bytes > self.max_bytes and self._sessions:
            _, session = self._sessions.popitem(last=False)
            table = self._found[session.dialect]
            for raw in session.messages:
                del table[raw]
            self.bytes -= session.bytes


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
