"""Events into frames of an Anthropic stream.

One block is open at a time and the indices have no gaps: official clients append blocks as they start and then address
them by index. A block that begins while another is open waits only where that one is a tool call without its whole
input; else the open one is taken to be complete.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from trimtab.dialects import edits, stops
from trimtab.dialects.base import Encoder
from trimtab.dialects.ids import Token, fitting
from trimtab.dialects.messages_wire import delta_usage, full_usage
from trimtab.dialects.problems import PROBLEMS
from trimtab.events import (
    BlockStop,
    Event,
    Failed,
    Finished,
    Opaque,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    ToolStart,
    Usage,
)

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
ID = "msg_"
"""How the id of a message begins."""
OWN_SIGNATURE = "p1."
"""How a signature of ours begins: clients want one, and most upstreams give none."""


def signature(text: str) -> str:
    """Our own signature of a thought: opaque, never empty, the same for the same text."""
    return OWN_SIGNATURE + hashlib.sha256(text.encode()).hexdigest()[:32]


def message(head: dict[str, Any], content: list[Any], finished: Finished | None, usage: Usage | None) -> dict[str, Any]:
    """A message with every member that the specification requires."""
    return {**head, "content": content, **end(finished), "usage": full_usage(usage)}


def end(finished: Finished | None) -> dict[str, Any]:
    """How a reply ended, so far."""
    reason = None if finished is None else stops.MESSAGES[finished.reason]
    sequence = None if finished is None else finished.stop_sequence
    return {"stop_reason": reason, "stop_sequence": sequence, "stop_details": None, "container": None}


def head(id_: str, model: str) -> dict[str, Any]:
    """What names a message."""
    return {"id": id_, "type": "message", "role": "assistant", "model": model}


def failure(kind: str, text: str, request_id: str | None) -> bytes:
    """The body of an error."""
    return msgspec.json.encode(
        {"type": "error", "error": {"type": kind, "message": text}, "request_id": request_id or None}
    )


def frame(kind: str, **members: Any) -> bytes:
    """A frame of one event."""
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode({"type": kind, **members}))


class _Open(msgspec.Struct):
    """The block that the client sees growing: upstream's index, ours, and its text."""

    source: int
    index: int
    kind: type[Event]
    text: list[str]
    signed: bool = False

    def whole(self) -> bool:
        """Whether nothing can be missing: an unfinished tool call is no JSON."""
        if self.kind is not ToolStart:
            return True
        try:
            msgspec.json.decode("".join(self.text))
        except msgspec.DecodeError:
            return False
        return True


class MessagesEncoder(Encoder):
    """Writes one stream."""

    def __init__(self, model: str, token: Token) -> None:
        self._model = model
        self._token = token
        self._begun = False
        self._over = False
        self._open: _Open | None = None
        self._next = 0
        self._seen: set[int] = set()
        self._held: dict[int, list[Event]] = {}
        self._opaque: dict[int, int] = {}

    def encode(self, events: Iterable[Event]) -> bytes:
        """The frames for some events; empty when they show nothing in this dialect."""
        return b"".join(self._event(event) for event in events)

    def _event(self, event: Event) -> bytes:
        if self._over:
            return b""
        match event:
            case Started():
                return self._start(event)
            case Finished():
                return self._begin() + self._drain() + self._finish(event)
            case Failed():
                self._over = True
                return b"event: error\ndata: %s\n\n" % failure(PROBLEMS[event.cause].messages_type, event.message, None)
            case Opaque():
                return self._foreign(event)
            case TextDelta() | ThinkingDelta() | ToolStart() | ToolDelta() | BlockStop():
                return self._begin() + self._block(event)
        return b""

    def _begin(self) -> bytes:
        return b"" if self._begun else self._start(Started())

    def _start(self, started: Started) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        first = message(head(fitting(started.id, ID, self._token), self._model), [], None, started.usage)
        return frame("message_start", message=first) + PING

    def _finish(self, finished: Finished) -> bytes:
        self._over = True
        return frame("message_delta", delta=end(finished), usage=delta_usage(finished.usage)) + frame("message_stop")

    def _block(self, event: TextDelta | ThinkingDelta | ToolStart | ToolDelta | BlockStop) -> bytes:
        opened = self._open
        if opened is None or event.index == opened.source:
            return self._drain() if isinstance(event, BlockStop) else self._grow(event)
        if self._held or not (isinstance(event, BlockStop) or opened.whole()):
            self._held.setdefault(event.index, []).append(event)
            return b""
        return b"" if isinstance(event, BlockStop) else self._grow(event)

    def _drain(self) -> bytes:
        """Close the open block, and write out those that waited for it."""
        out = [self._shut()]
        while self._held:
            waiting = self._held.pop(next(iter(self._held)))
            out += [self._grow(event) for event in waiting if not isinstance(event, BlockStop)]
            out.append(self._shut())
        return b"".join(out)

    def _grow(self, event: Event) -> bytes:
        match event:
            case TextDelta(text=text):
                return self._opened(event, event.index, {"type": "text", "text": "", "citations": None}) + self._delta(
                    text, {"type": "text_delta", "text": text}
                )
            case ThinkingDelta():
                return self._think(event)
            case ToolStart(id=id_, name=name):
                use = {"type": "tool_use", "id": id_, "name": name, "input": {}, "caller": {"type": "direct"}}
                return self._shut() + self._opened(event, event.index, use)
            case ToolDelta(json=json):
                ours = self._open is not None and (self._open.source, self._open.kind) == (event.index, ToolStart)
                return self._delta(json, {"type": "input_json_delta", "partial_json": json}) if ours else b""
        return b""

    def _opened(self, event: Event, source: int, block: dict[str, Any]) -> bytes:
        """Make sure that the block of an event is the open one."""
        opened = self._open
        if opened is not None and opened.source == source and opened.kind is type(event):
            return b""
        shut = self._shut()
        self._open = _Open(source, self._next, type(event), [])
        self._next += 1
        self._seen.add(source)
        return shut + frame("content_block_start", index=self._open.index, content_block=block)

    def _delta(self, text: str, delta: dict[str, Any]) -> bytes:
        if not text or self._open is None:
            return b""
        self._open.text.append(text)
        return frame("content_block_delta", index=self._open.index, delta=delta)

    def _think(self, event: ThinkingDelta) -> bytes:
        closed = event.index in self._seen and (self._open is None or self._open.source != event.index)
        if closed and not event.text:
            return b""
        out = self._opened(event, event.index, {"type": "thinking", "thinking": "", "signature": ""})
        out += self._delta(event.text, {"type": "thinking_delta", "thinking": event.text})
        if event.signature and self._open is not None:
            self._open.signed = True
            out += self._sign(self._open.index, event.signature)
        return out

    def _sign(self, index: int, text: str) -> bytes:
        return frame("content_block_delta", index=index, delta={"type": "signature_delta", "signature": text})

    def _shut(self) -> bytes:
        opened, self._open = self._open, None
        if opened is None:
            return b""
        sign = b""
        if opened.kind is ThinkingDelta and not opened.signed:
            sign = self._sign(opened.index, signature("".join(opened.text)))
        return sign + frame("content_block_stop", index=opened.index)

    def _foreign(self, event: Opaque) -> bytes:
        if event.dialect != "messages":
            return b""
        if event.raw[:1] == b"{":
            return self._begin() + self._drain() + self._whole(event.raw)
        if not event.kind.startswith("content_block_"):
            return event.raw
        return self._renumbered(event)

    def _whole(self, block: bytes) -> bytes:
        index, self._next = self._next, self._next + 1
        start = frame("content_block_start", index=index, content_block=msgspec.Raw(block))
        return start + frame("content_block_stop", index=index)

    def _renumbered(self, event: Opaque) -> bytes:
        """A frame of an unknown block, with our number of that block."""
        out = b""
        try:
            theirs = edits.at(edits.decoded(event.raw), ("index",))
            if event.kind == "content_block_start":
                out = self._begin() + self._drain()
                self._opaque[theirs], self._next = self._next, self._next + 1
            ours = self._opaque.get(theirs)
            if ours is None and self._open is not None and self._open.source == theirs:
                ours = self._open.index
            if ours is None:
                return out
            return out + (
                event.raw if ours == theirs else edits.edit_frame(event.raw, {("index",): str(ours).encode()})
            )
        except edits.Misfit:
            return out
