"""Frames of an Anthropic stream into events."""

from collections.abc import Callable, Sequence

import msgspec

from trimtab.dialects import loose, sse, stops
from trimtab.dialects.base import Decoder, Wanted
from trimtab.dialects.messages_wire import Body, Counters, Frame, Part, merged, usage_of
from trimtab.dialects.problems import complaint
from trimtab.events import (
    BlockStop,
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

_FRAME = msgspec.json.Decoder(Frame)
_PART = msgspec.json.Decoder(Part)


def _read(data: bytes) -> Frame:
    try:
        return _FRAME.decode(data)
    except msgspec.ValidationError:
        return loose.frame(data)


def _marks(kind: str) -> tuple[bytes, ...]:
    """How a frame of a kind begins, in the spellings met; one that begins otherwise is read in full."""
    name = kind.encode()
    lines = [space + name + end for space in (b"event: ", b"event:") for end in (b"\n", b"\r")]
    return (*lines, b'data: {"type":"%s"' % name, b'data: {"type": "%s"' % name, b'data:{"type":"%s"' % name)


_DELTA = _marks("content_block_delta")
_STOP = _marks("content_block_stop")
_PING = _marks("ping")


class MessagesDecoder(Decoder):
    """Reads one stream. Blocks are counted from 0 in the order of their start, whatever the upstream calls them."""

    def __init__(self, wanted: Wanted) -> None:
        self.narrow(wanted)
        self._counters: Counters | None = None
        self._blocks: dict[int, int] = {}
        self._count = 0
        self._unknown: set[int] = set()
        self._inputs: dict[int, str] = {}
        self._called = False
        self._finished: Finished | None = None
        self._reason: tuple[str, str | None] | None = None
        self._over = self._begun = False

    def narrow(self, wanted: Wanted) -> None:
        """From here on leave out what nobody wants."""
        self._opaque = wanted(Opaque)
        self._skipped: tuple[bytes, ...] = ()
        if not any(wanted(kind) for kind in (TextDelta, ThinkingDelta, ToolDelta, Opaque)):
            self._skipped += _DELTA
        # A block's stop may give the input that its start held back.
        if not any(wanted(kind) for kind in (BlockStop, ToolDelta, Opaque)):
            self._skipped += _STOP
        if not self._opaque:
            self._skipped += _PING

    def decode(self, frame: bytes) -> Sequence[Event]:
        """The events of one whole SSE frame; none when nobody wants what it holds."""
        if self._over or (frame.startswith(self._skipped) and frame.endswith((b"}\n\n", b"}\r\n\r\n"))):
            return ()
        event, data = sse.parse(frame)
        if data is None or data.strip() == b"[DONE]":
            return self._pass(frame, "comment")
        try:
            found = _read(data)
        except msgspec.ValidationError:
            return self._pass(frame, event.decode("utf-8", "replace"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._fail(Failed("the upstream sent an event that is not valid JSON"))
        kind = found.type or event.decode("utf-8", "replace")
        reader = _READERS.get(kind if found.error is None else "error")
        return self._pass(frame, kind) if reader is None else reader(self, found, frame)

    def _pass(self, frame: bytes, kind: str) -> Sequence[Event]:
        return (Opaque(frame, kind, "messages"),) if self._opaque else ()

    def _fail(self, failed: Failed) -> Sequence[Event]:
        self._over = self.closed = True
        return (failed,)

    def _start(self, found: Frame, _frame: bytes) -> Sequence[Event]:
        message = found.message or Body()
        self._begun = True
        self._counters = message.usage
        return (Started(message.id or "", message.model or "", stops.prompted(usage_of(message.usage))),)

    def _index(self, upstream: int) -> int:
        if upstream not in self._blocks:
            self._blocks[upstream] = self._count
            self._count += 1
        return self._blocks[upstream]

    def _open(self, found: Frame, frame: bytes) -> Sequence[Event]:
        # An index used again means a new block.
        self._blocks.pop(found.index, None)
        index = self._index(found.index)
        try:
            part = _PART.decode(found.content_block)
        except msgspec.DecodeError:
            part = Part()
        match part.type:
            case "text":
                return (TextDelta(part.text or "", index),)
            case "thinking":
                return (ThinkingDelta(part.thinking or "", part.signature or "", index),)
            case "tool_use":
                self._called = True
                given = bytes(part.input)
                self._inputs[index] = "" if given in (b"{}", b"null") else given.decode()
                return (ToolStart(part.id or "", part.name or "", index),)
        self._unknown.add(index)
        return self._pass(frame, found.type)

    def _delta(self, found: Frame, frame: bytes) -> Sequence[Event]:
        delta, index = found.delta, self._index(found.index)
        if delta is None or index in self._unknown:
            return self._pass(frame, found.type)
        match delta.type:
            case "text_delta":
                return (TextDelta(delta.text or "", index),)
            case "thinking_delta":
                return (ThinkingDelta(delta.thinking or "", "", index),)
            case "signature_delta":
                return (ThinkingDelta("", delta.signature or "", index),)
            case "input_json_delta":
                if delta.partial_json:
                    self._inputs.pop(index, None)
                return (ToolDelta(delta.partial_json or "", index),)
        return self._pass(frame, found.type)

    def _stop(self, found: Frame, frame: bytes) -> Sequence[Event]:
        index = self._index(found.index)
        if index in self._unknown:
            return self._pass(frame, found.type)
        # Some gateways give the whole input at the start of the block and no delta.
        held = self._inputs.pop(index, "")
        return (ToolDelta(held, index), BlockStop(index)) if held else (BlockStop(index),)

    def _message(self, found: Frame, frame: bytes) -> Sequence[Event]:
        self._counters = merged(self._counters, found.usage)
        if found.delta is not None and found.delta.stop_reason is not None:
            failed = stops.broken(found.delta.stop_reason)
            if failed is not None:
                return self._fail(failed)
            self.word = stops.fitting(found.delta.stop_reason, stops.MESSAGES, called=self._called)
            self._reason = self._reason or (found.delta.stop_reason, found.delta.stop_sequence)
        if self._reason is None:
            return self._pass(frame, found.type)
        return () if self.patient else self._end()

    def _end(self) -> Sequence[Event]:
        """The end, and once more where a later frame tells another usage."""
        native, sequence = self._reason or ("", None)
        reason = stops.reason(native, called=self._called) if native else StopReason.END
        finished = Finished(reason, stops.said(usage_of(self._counters)), sequence, native)
        before, self._finished = self._finished, finished
        return () if finished == before else (finished,)

    def _close(self, _found: Frame, _frame: bytes) -> Sequence[Event]:
        if not (self._begun or self._blocks or self._reason or self._counters):
            return self._fail(Failed("the upstream ended its stream without a reply"))
        self.complete = self.closed = self._over = True
        return self._end()

    def _error(self, found: Frame, _frame: bytes) -> Sequence[Event]:
        told = complaint(found.error)
        return self._fail(Failed(told.message, told.cause, told.native))


_Reader = Callable[[MessagesDecoder, Frame, bytes], Sequence[Event]]

_READERS: dict[str, _Reader] = {
    "message_start": MessagesDecoder._start,
    "content_block_start": MessagesDecoder._open,
    "content_block_delta": MessagesDecoder._delta,
    "content_block_stop": MessagesDecoder._stop,
    "message_delta": MessagesDecoder._message,
    "message_stop": MessagesDecoder._close,
    "error": MessagesDecoder._error,
}
