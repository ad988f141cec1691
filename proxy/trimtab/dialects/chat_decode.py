"""Chunks of an OpenAI stream into events."""

import re
from collections.abc import Sequence

import msgspec

from trimtab.dialects import loose, sse, stops
from trimtab.dialects.base import Decoder, Wanted
from trimtab.dialects.chat_wire import Call, Choice, Chunk, Delta, Function, usage_of
from trimtab.dialects.ids import Token
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
    Usage,
)

_CHUNK = msgspec.json.Decoder(Chunk)


def _read(data: bytes) -> Chunk:
    try:
        return _CHUNK.decode(data)
    except msgspec.ValidationError:
        return loose.chunk(data)


# A member that says something in a chunk nobody wants: an end, counters, an error, a call. Most servers send the
# first two in every chunk, as null, and a few as an empty string.
_NOTABLE = re.compile(rb'"(?:finish_reason|usage|error|tool_calls|function_call)"\s*:(?!\s*(?:null|""|\[\s*\]))')
_ENDS = (b"}\n\n", b"}\r\n\r\n")
_BLOCKS = (TextDelta, ThinkingDelta, ToolStart, ToolDelta, BlockStop)


_TEXT = re.compile(rb'"(?:content|reasoning_content)":\s*("(?:[^"\\]|\\.)*")')


class _Mould:
    """Tells chunks that hold nothing notable, most of them without a search.

    A chunk that differs from a plain one only inside one string is plain too.
    """

    __slots__ = ("_end", "_from", "_start", "_to")

    def __init__(self) -> None:
        self._start = self._end = b"\0"
        self._from = self._to = 0

    def fits(self, frame: bytes) -> bool:
        """Whether a chunk is plain."""
        if frame.startswith(self._start) and frame.endswith(self._end):
            if frame.find(b'"', self._from, self._to) < 0:
                return True
        elif frame[:5] != b"data:" or not frame.endswith(_ENDS):
            return False
        if _NOTABLE.search(frame) is not None:
            return False
        text = _TEXT.search(frame)
        if text is not None:
            self._start, self._end = frame[: text.start(1) + 1], frame[text.end(1) - 1 :]
            self._from, self._to = len(self._start), -len(self._end)
        return True


class _Tool(msgspec.Struct):
    """A call on its way: `index` is its block's once that has begun."""

    id: str = ""
    name: str = ""
    index: int | None = None
    text: str = ""
    stopped: bool = False

    def whole(self) -> bool:
        """Whether its arguments are complete."""
        try:
            msgspec.json.decode(self.text)
        except msgspec.DecodeError:
            return False
        return True


class ChatDecoder(Decoder):
    """Reads one stream. `Finished` waits for the usage, which may come in a chunk of its own behind the finish.

    Chunks carry no block numbers, so blocks are decoded all or not at all.
    """

    def __init__(self, wanted: Wanted, token: Token) -> None:
        self._opaque = wanted(Opaque)
        self._skip = not any(wanted(kind) for kind in _BLOCKS)
        self._token = token
        self._begun = False
        self._number: int | None = None
        self._ended: set[int] = set()
        self._skipping = False
        self._mould = _Mould()
        self._over = False
        self._native: str | None = None
        self._usage: Usage | None = None
        self._called = False
        self._refused = False
        self._count = 0
        self._open: type[Event] | None = None
        self._index = 0
        self._tools: list[_Tool] = []
        self._slots: dict[int, _Tool] = {}
        self._last: _Tool | None = None

    def narrow(self, wanted: Wanted) -> None:
        """From here on leave out what nobody wants."""
        self._opaque = wanted(Opaque)
        self._skip = not any(wanted(kind) for kind in _BLOCKS)
        self._skipping = self._begun and self._skip
        if self._skip:
            self._tools.clear()
            self._slots.clear()
            self._last = None

    def decode(self, frame: bytes) -> Sequence[Event]:
        """The events of one whole SSE frame; none when nobody wants what it holds."""
        if self._skipping and not self._over and self._mould.fits(frame):
            return ()
        event, data = sse.parse(frame)
        if self._over:
            # The usage may have come before the last word.
            return self._behind(data)
        if data is None:
            return self._pass(frame, "comment")
        if data.strip() == b"[DONE]":
            return self._done()
        try:
            chunk = _read(data)
        except msgspec.ValidationError:
            return self._pass(frame, "unknown")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._fail(Failed("the upstream sent an event that is not valid JSON"))
        if chunk.error is not None or event == b"error":
            told = complaint(chunk.error if chunk.error is not None else msgspec.json.decode(data))
            return self._fail(Failed(told.message, told.cause, told.native))
        return self._chunk(chunk, frame)

    def _behind(self, data: bytes | None) -> Sequence[Event]:
        """What comes behind the finish: the last word, or a failure after all."""
        if data is None or self.closed:
            return ()
        if data.strip() == b"[DONE]":
            self.closed = True
        elif b'"error"' in data or b'"usage"' in data:
            try:
                chunk = _read(data)
            except msgspec.DecodeError:
                return ()
            if chunk.error is not None:
                told = complaint(chunk.error)
                return self._fail(Failed(told.message, told.cause, told.native))
            return self._recounted(stops.said(usage_of(chunk.usage)))
        return ()

    def _recounted(self, usage: Usage | None) -> Sequence[Event]:
        """The end once more, where a chunk behind it tells another usage."""
        if usage is None or usage == self._usage:
            return ()
        self._usage = usage
        return (self._finished(),)

    def finish(self) -> Sequence[Event]:
        """The end, where the upstream gave a finish reason and no more."""
        return () if self._native is None or not self.complete or self._over else self._end()

    def _pass(self, frame: bytes, kind: str) -> Sequence[Event]:
        return (Opaque(frame, kind, "chat"),) if self._opaque else ()

    def _fail(self, failed: Failed) -> Sequence[Event]:
        self._over, self.complete, self.closed = True, False, True
        return (failed,)

    def _done(self) -> Sequence[Event]:
        self.closed = True
        if not self._begun:
            return self._fail(Failed("the upstream ended its stream without a reply"))
        self.complete = True
        return self._end()

    def _chunk(self, chunk: Chunk, frame: bytes) -> Sequence[Event]:
        events: list[Event] = []
        if not self._begun:
            self._begun, self._skipping = True, self._skip
            events.append(Started(chunk.id or "", chunk.model or ""))
        told = stops.said(usage_of(chunk.usage))
        for choice in chunk.choices or ():
            if self._number is None:
                # Some servers number a lone choice otherwise than 0; of several any may come first.
                self._number = 0 if self.answers > 1 else choice.index or 0
            own = (choice.index or 0) == self._number
            if choice.finish_reason and (own or self.answers > 1):
                self._ended.add(choice.index or 0)
            if own:
                told = told or stops.said(usage_of(choice.usage))
                self._choice(choice, events)
        self._usage = told or self._usage
        self.complete |= len(self._ended) >= self.answers
        failed = stops.broken(self._native or "")
        if failed is not None:
            return (*events, *self._fail(failed))
        # A usage that was told before the finish may be followed by a truer one.
        if self._native is not None and self.complete and told is not None and not self.patient:
            return (*events, *self._end())
        if not events and not chunk.choices and chunk.usage is None:
            return self._pass(frame, "unknown")
        return events

    def _choice(self, choice: Choice, events: list[Event]) -> None:
        delta = choice.delta or choice.message
        if delta is not None:
            self._delta(delta, events)
        if choice.finish_reason:
            self._native = choice.finish_reason
            self.word = stops.fitting(choice.finish_reason, stops.CHAT, called=self._called)

    def _delta(self, delta: Delta, events: list[Event]) -> None:
        if delta.calls:
            self._called = True
        self._refused |= bool(delta.refusal)
        if self._skip:
            return
        if thought := delta.thought:
            self._into(ThinkingDelta, events)
            events.append(ThinkingDelta(thought, "", self._index))
        for text in (delta.content, delta.refusal):
            # White space between calls is no text.
            if text and not (self._open is ToolStart and text.isspace()):
                self._into(TextDelta, events)
                events.append(TextDelta(text, self._index))
        for call in delta.calls:
            self._call(call, events)

    def _into(self, kind: type[Event], events: list[Event]) -> None:
        """Make sure that a block of text or thought is open."""
        if self._open is not kind:
            self._stop(events)
            self._open, self._index = kind, self._count
            self._count += 1

    def _stop(self, events: list[Event], *, last: bool = False) -> None:
        """Close what is open; a call whose arguments are not whole may still go on beside the next."""
        if self._open in (TextDelta, ThinkingDelta):
            events.append(BlockStop(self._index))
        for tool in self._tools:
            if tool.index is not None and not tool.stopped and (last or tool.whole()):
                tool.stopped = True
                events.append(BlockStop(tool.index))
        self._open = None

    def _call(self, call: Call, events: list[Event]) -> None:
        function = call.function or Function()
        tool = self._tool(call)
        tool.id = tool.id or call.id or ""
        tool.name = tool.name or function.name or ""
        if tool.index is None:
            tool.text += function.arguments or ""
            if tool.id and tool.name:
                self._begin(tool, events)
        elif function.arguments:
            tool.text += function.arguments
            events.append(ToolDelta(function.arguments, tool.index))

    def _tool(self, call: Call) -> _Tool:
        """The call that a piece belongs to: by its number, or by its id where a server numbers none or all alike."""
        if call.index is not None:
            tool = self._slots.get(call.index)
        elif call.id:
            tool = next((known for known in self._tools if known.id == call.id), None)
        else:
            tool = self._last
        named = call.function is not None and call.function.name
        if tool is None or (named and call.id and tool.id and call.id != tool.id):
            tool = _Tool()
            self._tools.append(tool)
        if call.index is not None:
            self._slots[call.index] = tool
        self._last = tool
        return tool

    def _begin(self, tool: _Tool, events: list[Event]) -> None:
        self._stop(events)
        self._open, tool.index = ToolStart, self._count
        self._count += 1
        events.append(ToolStart(tool.id, tool.name, tool.index))
        if tool.text:
            events.append(ToolDelta(tool.text, tool.index))

    def _end(self) -> list[Event]:
        self._over = True
        events: list[Event] = []
        for tool in self._tools:
            if tool.index is None and tool.name:
                tool.id = f"call_{self._token()}"
                self._begin(tool, events)
        if not self._skip:
            self._stop(events, last=True)
        return [*events, self._finished()]

    def _finished(self) -> Finished:
        native = self._native or ""
        reason = stops.reason(native, called=self._called, refused=self._refused) if native else StopReason.END
        return Finished(reason, self._usage, None, native)
