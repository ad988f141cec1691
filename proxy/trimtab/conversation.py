"""What a client sent, as typed nouns over its own bytes.

A `Conversation` is frozen: an edit makes a new one that shares everything else. Blocks are parsed only when a stage or
another dialect asks for them, and only once per message, since the tables of `memo.py` find a message by its bytes.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from trimtab.splice import Scanned, decode, splice

DialectName = Literal["chat", "messages", "responses"]
"""The three dialects: OpenAI Chat Completions, Anthropic Messages, OpenAI Responses."""

ARRAYS: Mapping[DialectName, str] = {"chat": "messages", "messages": "messages", "responses": "input"}
"""The member that holds the messages."""

B = TypeVar("B", bound="Block")
T = TypeVar("T")


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a message; `raw` is its JSON as sent, empty where it is no JSON value of its own (a plain string)."""

    raw: bytes = b""


class Text(Block, frozen=True):
    """Visible text."""

    text: str


class Image(Block, frozen=True):
    """A picture, inline (`data` is base64) or by `url`."""

    media_type: str = ""
    data: str = ""
    url: str = ""


class Document(Block, frozen=True):
    """A file, kept as sent."""

    media_type: str = ""


class Thinking(Block, frozen=True):
    """The model's thought; `redacted` ones carry no text. A signed block may never change."""

    text: str = ""
    signature: str = ""
    redacted: bool = False


class ToolUse(Block, frozen=True):
    """A call of a tool; `input` is JSON text as the model wrote it (not always valid)."""

    id: str
    name: str
    input: bytes = b"{}"


class ToolResult(Block, frozen=True):
    """What a tool call gave; `id` is the call's."""

    id: str
    content: tuple[Block, ...] = ()
    is_error: bool = False


class Opaque(Block, frozen=True):
    """A block of a type we do not know, shown to its own dialect only and never edited."""

    kind: str = ""


class Codec(Protocol):
    """What a message needs of its dialect."""

    @property
    def name(self) -> DialectName:
        """The dialect's name."""

    def blocks(self, raw: bytes) -> tuple[Block, ...]:
        """The blocks of one message."""

    def with_blocks(self, raw: bytes, blocks: Sequence[Block]) -> bytes:
        """The message with other blocks; blocks kept as they were and unknown members stay byte for byte."""


class Message:
    """One message: its dialect, role and bytes; blocks and digest are computed once."""

    __slots__ = ("_blocks", "_digest", "codec", "held", "notes", "raw", "role")

    def __init__(self, codec: Codec, role: str, raw: bytes) -> None:
        self.codec = codec
        self.role = role
        self.raw = raw
        self.notes: dict[Any, Any] = {}
        """What stages derived from this very message and may find again; never part of its meaning. A value may say in
        `held` how many bytes it holds."""
        self.held = 0
        """What the table of messages has booked for the notes."""
        self._blocks: tuple[Block, ...] | None = None
        self._digest: bytes | None = None

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The parts of the message in order; BadRequest where they cannot be read."""
        if self._blocks is None:
            self._blocks = self.codec.blocks(self.raw)
        return self._blocks

    @property
    def digest(self) -> bytes:
        """16 bytes of SHA-256 of the message's bytes."""
        if self._digest is None:
            self._digest = hashlib.sha256(self.raw).digest()[:16]
        return self._digest

    def with_blocks(self, blocks: Sequence[Block]) -> "Message":
        """This message with other blocks; an unchanged block keeps its bytes."""
        return Message(self.codec, self.role, self.codec.with_blocks(self.raw, blocks))

    def has(self, kind: type[B]) -> bool:
        """Whether a block of `kind` is in it, in tool results too."""
        found = self.notes.get(kind)
        if found is None:
            found = self.notes[kind] = _has(self.blocks, kind)
        return bool(found)

    def __repr__(self) -> str:
        return f"Message({self.codec.name}, {self.role}, {len(self.raw)} bytes)"


def _has(blocks: Sequence[Block], kind: type[Block]) -> bool:
    return any(
        isinstance(block, kind) or (isinstance(block, ToolResult) and _has(block.content, kind)) for block in blocks
    )


class Tool(msgspec.Struct, frozen=True):
    """A tool on offer, as sent."""

    name: str
    raw: bytes


_UNCHANGED: Mapping[str, bytes | None] = MappingProxyType({})


class Head:
    """The members of a request outside its messages, and the changes stages made to them."""

    __slots__ = ("_values", "changes", "notes", "scanned")

    def __init__(
        self,
        scanned: Scanned,
        changes: Mapping[str, bytes | None] | None = None,
        notes: dict[Any, Any] | None = None,
    ) -> None:
        self.scanned = scanned
        self.changes: Mapping[str, bytes | None] = MappingProxyType(dict(changes)) if changes else _UNCHANGED
        self.notes: dict[Any, Any] = {} if notes is None else notes
        """What was derived from these members alone; the turns of a session find it again as long as they bring the
        same. Nothing in it may ever be changed."""
        self._values: dict[str, Any] = {}

    def raw(self, name: str) -> bytes | None:
        """The JSON of a member as it would leave, None where it is absent."""
        if name in self.changes:
            return self.changes[name]
        span = self.scanned.members.get(name)
        return None if span is None else self.scanned.raw[span[0] : span[1]]

    def get(self, name: str) -> Any:
        """The decoded value of a member, None where it is absent or null."""
        if name not in self._values:
            raw = self.raw(name)
            self._values[name] = None if raw is None else decode(raw, Any, f"the member '{name}'")
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.raw(name) is not None

    def having(self, name: str, raw: bytes | None) -> "Head":
        """A head in which the member has this JSON, or is gone (None)."""
        head = Head(self.scanned, {**self.changes, name: raw})
        head._values = {known: value for known, value in self._values.items() if known != name}
        return head


class Prefix:
    """The first messages of a conversation, up to one of them; what was worked out over them may be gone on from."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: dict[Any, tuple[Any, int]] = {}
        """A result by its key, and how many messages the result before it was over."""


RESULTS = 5
"""Results of one kind that are kept along a conversation: agents change the last messages that they sent."""


class Conversation(msgspec.Struct, frozen=True):
    """A request: its head, system blocks (of a dialect that keeps them apart), tools on offer, and messages."""

    dialect: DialectName
    head: Head
    messages: tuple[Message, ...]
    system: tuple[Block, ...] = ()
    tools: tuple[Tool, ...] = ()
    edited: bool = False
    """Whether a message is not as the client sent it."""
    prefixes: tuple[Prefix, ...] = ()
    """One for each message, as long as all up to it is as it was; none where the messages are not from a table."""

    @property
    def model(self) -> str:
        """The model the request names."""
        return str(self.head.get("model") or "")

    @property
    def stream(self) -> bool:
        """Whether the client wants the reply as a stream."""
        return self.head.get("stream") is True

    @property
    def mended(self) -> int:
        """How many lone surrogates were replaced so that the body could be read."""
        return self.head.scanned.mended

    def has(self, kind: type[Block]) -> bool:
        """Whether any message holds a block of `kind`."""
        if not self.prefixes:
            # Of edited messages nothing is known along the conversation, but of each.
            found = [message.notes[kind] if kind in message.notes else message.has(kind) for message in self.messages]
            return True in found
        return self.fold(kind, start=False, step=lambda found, message: found or message.has(kind))

    def fold(self, key: Any, start: T, step: Callable[[T, Message], T]) -> T:
        """The last of the values that `step` makes of the one before and a message; a turn pays its new messages.

        `key` names what is worked out, and all that it depends on beside the messages.
        """
        at, value = self.reached(key, start)
        if at < len(self.messages):
            for message in self.messages[at:-1]:
                value = step(value, message)
            self.remember(key, value, back=1)
            value = step(value, self.messages[-1])
            self.remember(key, value)
        return value

    def reached(self, key: Any, start: T) -> tuple[int, T]:
        """Over how many messages something was worked out already, and the result; none and `start` at first."""
        prefixes = self.prefixes
        if prefixes and (whole := prefixes[-1].known.get(key)) is not None:
            return len(prefixes), whole[0]
        at = self._last(key)
        return (at, prefixes[at - 1].known[key][0]) if at else (0, start)

    def remember(self, key: Any, value: Any, *, back: int = 0) -> None:
        """Keep a result over all messages, or all but the last `back`, for the turns to come.

        What is kept counts as memory of nobody: keep it small.
        """
        end = len(self.prefixes) - back
        if end <= 0:
            return
        at = older = self._last(key)
        if at >= end:
            return
        self.prefixes[end - 1].known[key] = (value, at)
        for _ in range(RESULTS - 1):
            older = self.prefixes[older - 1].known.get(key, (None, 0))[1] if older else 0
        if older:
            self.prefixes[older - 1].known.pop(key, None)

    def _last(self, key: Any) -> int:
        at = len(self.prefixes)
        while at and key not in self.prefixes[at - 1].known:
            at -= 1
        return at

    def with_message(self, index: int, message: Message | None) -> "Conversation":
        """The conversation with one message replaced, or removed (None)."""
        new = self.messages[:index] + (() if message is None else (message,)) + self.messages[index + 1 :]
        return msgspec.structs.replace(self, messages=new, edited=True, prefixes=())

    def with_messages(self, messages: Sequence[Message]) -> "Conversation":
        """The conversation with other messages."""
        return msgspec.structs.replace(self, messages=tuple(messages), edited=True, prefixes=())

    def with_member(self, name: str, raw: bytes | None) -> "Conversation":
        """The conversation with one member of its head replaced, added or removed (None)."""
        return msgspec.structs.replace(self, head=self.head.having(name, raw))

    def render(self) -> bytes:
        """The body as it leaves in its own dialect: the bytes that came, with the changed spans replaced."""
        if not self.edited:
            return splice(self.head.scanned, self.head.changes, {})
        raws, name = [message.raw for message in self.messages], ARRAYS[self.dialect]
        if name in self.head.scanned.items:
            return splice(self.head.scanned, self.head.changes, {name: raws})
        # A bare string stands for the one message.
        value = raws[0] if len(raws) == 1 and raws[0][:1] == b'"' else b"[" + b",".join(raws) + b"]"
        return splice(self.head.scanned, {**self.head.changes, name: value}, {})
