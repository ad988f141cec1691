"""A whole reply out of its events, for those who send it as one body."""

from collections.abc import Iterable

import msgspec

from trimtab.errors import UpstreamError
from trimtab.events import (
    Event,
    Failed,
    Finished,
    Opaque,
    Started,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    ToolStart,
)


class Piece(msgspec.Struct):
    """One block of a reply: its kind is the type of event that began it."""

    kind: type[Event]
    text: str = ""
    signature: str = ""
    id: str = ""
    name: str = ""
    frames: list[Opaque] = []


class Gathered(msgspec.Struct):
    """A reply that has ended well."""

    started: Started = Started()
    pieces: list[Piece] = []
    finished: Finished = Finished(StopReason.END)

    def text(self, kind: type[Event]) -> str:
        """The text of all blocks of a kind."""
        return "".join(piece.text for piece in self.pieces if piece.kind is kind)


def gather(events: Iterable[Event]) -> Gathered:
    """Put a whole sequence of events together. Raises UpstreamError when it failed or never ended."""
    reply = Gathered()
    blocks: dict[int, Piece] = {}
    ended = False
    for event in events:
        match event:
            case Started():
                reply.started = event
            case Finished():
                reply.finished, ended = event, True
            case Failed(message=message, cause=cause):
                raise UpstreamError(message, cause=cause)
            case Opaque():
                _opaque(reply, event)
            case TextDelta() | ThinkingDelta() | ToolStart() | ToolDelta():
                _add(reply, blocks, event)
    if not ended:
        raise UpstreamError("the upstream broke off before the end of its reply")
    return reply


def _add(reply: Gathered, blocks: dict[int, Piece], event: TextDelta | ThinkingDelta | ToolStart | ToolDelta) -> None:
    kind = ToolStart if isinstance(event, ToolDelta) else type(event)
    piece = blocks.get(event.index)
    if piece is None or piece.kind is not kind:
        piece = blocks[event.index] = Piece(kind)
        reply.pieces.append(piece)
    match event:
        case TextDelta(text=text):
            piece.text += text
        case ThinkingDelta(text=text, signature=signature):
            piece.text += text
            piece.signature = signature or piece.signature
        case ToolStart(id=id_, name=name):
            piece.id, piece.name = id_, name
        case ToolDelta(json=json):
            piece.text += json


def _opaque(reply: Gathered, event: Opaque) -> None:
    """Frames of a block that nobody knows belong together; their dialect puts them into one."""
    if event.kind == "content_block_start" or event.raw[:1] == b"{":
        reply.pieces.append(Piece(Opaque, frames=[event]))
    elif event.kind.startswith("content_block_"):
        for piece in reversed(reply.pieces):
            if piece.kind is Opaque:
                piece.frames.append(event)
                return
