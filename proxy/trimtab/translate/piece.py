"""A message's parts in another dialect, made once per message and without regard to where it stands."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from trimtab.conversation import Block, DialectName, Document, Image, Message, Thinking, ToolResult, ToolUse

LEFT_OUT = "[left out by the proxy: {}]"
"""The text in the place of what the other dialect cannot say."""

_UNFIT = re.compile(r"[^A-Za-z0-9_.-]")
_NAMES: Mapping[type[Block], str] = {
    Document: "document",
    Image: "image",
    Thinking: "thinking",
    ToolResult: "tool_result",
    ToolUse: "tool_use",
}
_NOTHING = (b"null", b"[]", b"{}", b'""', b"false")


class Kind(Enum):
    """What a piece is."""

    TEXT = "text"
    IMAGE = "image"
    FILE = "file"
    THOUGHT = "thought"
    CALL = "call"
    RESULT = "result"
    LOST = "lost"


class Piece(msgspec.Struct, frozen=True, gc=False):
    """One part: JSON of the target dialect, finished but for what depends on its place.

    `body` is the inside of a JSON string for a text or thought (toward chat for a result too), a name for what was
    lost, the JSON behind the id for a call, and a whole value else.
    """

    role: str
    kind: Kind
    body: bytes = b""
    id: str = ""
    """The id of the call, as the target may read it."""
    said: str = ""
    """The id of the call in the client's spelling."""
    mark: bytes = b""
    """The cache mark that the client put on it."""
    media: "tuple[Piece, ...]" = ()
    """Images and files of a result, where the target has no place for them inside it."""
    whole: bool = False
    """Of what was lost: whether it is all of a part, and not a member that only describes one."""


class Call(NamedTuple):
    """A call: its id in the client's spelling, and as it goes upstream."""

    said: str
    id: str


class Rendering(NamedTuple):
    """A turn as fragments of JSON, what it depended on, and what was dropped on the way."""

    key: object
    fragments: tuple[bytes, ...]
    dropped: tuple[str, ...]


class Said:
    """The pieces of one message, what the pass wants to know of them, and how they were joined the last time."""

    __slots__ = ("assistant", "calls", "gone", "lost", "marked", "pieces", "rendering", "results", "silent", "speaks")

    def __init__(self, pieces: tuple[Piece, ...], *, assistant: bool, silent: bool = False) -> None:
        self.pieces = pieces
        self.assistant = assistant
        self.silent = silent
        """Whether nobody says it: it is no turn, and parts none."""
        self.calls = tuple(Call(piece.said, piece.id) for piece in pieces if piece.kind is Kind.CALL)
        self.results = any(piece.kind is Kind.RESULT for piece in pieces)
        self.speaks = bool(self.calls) or any(piece.kind is Kind.TEXT and piece.body for piece in pieces)
        self.lost = tuple(piece.body.decode() for piece in pieces if piece.kind is Kind.LOST)
        self.gone = frozenset(piece.body.decode() for piece in pieces if piece.whole)
        self.marked = any(piece.mark for piece in pieces)
        self.rendering: Rendering | None = None

    @property
    def held(self) -> int:
        """Bytes in memory: each piece in its own and as it is joined, and its objects."""
        return sum([2 * len(piece.body) + 200 for piece in self.pieces])


Maker = Callable[[Message], Iterable[Piece]]


def cached(message: Message, dialect: DialectName, make: Maker) -> Said:
    """What a message says in a dialect: made once, found again with the message."""
    key = _KEYS[dialect]
    found: Said | None = message.notes.get(key)
    if found is None:
        found = message.notes[key] = Said(
            tuple(make(message)),
            assistant=message.role == "assistant",
            silent=not message.role and message.codec.name == "responses",
        )
    return found


_KEYS: Mapping[DialectName, str] = {"chat": "said:chat", "messages": "said:messages", "responses": "said:responses"}


def lost(role: str, name: str) -> Piece:
    """The report of a member that the other dialect cannot say; `name` may be the client's own word."""
    return Piece(role, Kind.LOST, word(name).encode())


def gone(role: str, name: str) -> Piece:
    """The report of a part that is lost with all that it says."""
    return Piece(role, Kind.LOST, word(name).encode(), whole=True)


def misplaced(role: str, block: Block) -> Piece:
    """The report of a part that the other dialect has no place for on this side: a call of the user, say."""
    return gone(role, _NAMES[type(block)])


def word(name: str) -> str:
    """A name fit for a header."""
    return _UNFIT.sub("_", name)[:40]


def text(role: str, value: str, mark: bytes = b"") -> Piece:
    """A visible text."""
    return Piece(role, Kind.TEXT, inside(value), mark=mark)


def inside(value: str) -> bytes:
    """The inside of a JSON string: two of them joined are the string of both texts."""
    return msgspec.json.encode(value)[1:-1]


def left_out(role: str, what: str) -> tuple[Piece, Piece]:
    """A text in the place of something, and the report."""
    return text(role, LEFT_OUT.format(what)), gone(role, what)


def members(raw: bytes) -> Mapping[str, msgspec.Raw]:
    """The members of a part or message; none where it is no object."""
    if raw[:1] != b"{":
        return {}
    return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])


def unknown(found: Mapping[str, msgspec.Raw], known: frozenset[str]) -> list[str]:
    """Names of members that say something and have no place in the other dialect."""
    return [name for name, value in found.items() if name not in known and bytes(value) not in _NOTHING]


def joined(texts: Sequence[bytes]) -> bytes:
    """The insides of JSON strings as one, a blank line between them."""
    return texts[0] if len(texts) == 1 else b"\\n\\n".join(texts)


def decoded(value: bytes | msgspec.Raw) -> Any:
    """The value of JSON that was read before."""
    return msgspec.json.decode(value)
