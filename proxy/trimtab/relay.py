"""The way back of a reply, sans-I/O: the upstream's bytes in, the client's bytes out, the stages' hooks between.

A frame that no stage changed leaves as the bytes that came, one with changed values is patched in place. Where a stage
splits, adds or drops events, no frame fits any more: from there on the stream is written anew, by an encoder that saw
all events before. Nothing here ends a stream that its upstream did not end.
"""

import re
from collections.abc import Callable, Sequence

import msgspec

from trimtab import extras, overflow, replies
from trimtab.dialects import stops
from trimtab.dialects.base import Decoder, Dialect
from trimtab.dialects.sse import Framer, parse
from trimtab.errors import LOST, ProxyError, StageFailed, UpstreamError
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
    replace,
)
from trimtab.exchange import Exchange
from trimtab.gauge import Gauge
from trimtab.pipeline import Listener
from trimtab.rescue import Hold, Shown
from trimtab.stopwords import StopWords

_BLOCKS = (TextDelta, ThinkingDelta, ToolStart, ToolDelta, BlockStop)
_ALWAYS = (Started, Finished, Failed)
_NO_CHOICE = re.compile(rb'"choices"[ ]*:[ ]*\[[ ]*\]')
_USAGE = re.compile(rb'"usage"[ ]*:[ ]*\{')


def _never(error: ProxyError) -> bool:
    return False


class Relay:
    """One streamed reply on its way to the client."""

    def __init__(
        self,
        exchange: Exchange,
        listener: Listener,
        upstream: Dialect,
        client: Dialect,
        *,
        annotated: bool = False,
        shown: Shown | None = None,
        raises: Callable[[ProxyError], bool] = _never,
    ) -> None:
        """`shown` is what the client has seen of earlier attempts; with it, failures are raised as long as another
        attempt could go on behind it. `raises` tells which are raised even then, in place of being told."""
        self._exchange = exchange
        self._annotated = annotated
        self._characters = 0
        self._listener = listener
        self._client = client
        self._shown = shown
        self._raises = raises
        self._follows = shown is not None and shown.begun
        self._noted: list[Event] = []
        self._hold = Hold() if shown is not None and shown.hold else None
        self._from = upstream.name
        self._passes = upstream.name == client.name and not self._follows
        """Whether frames leave as bytes; no longer once a stage left no frame for its events."""
        asked = replies.wants_usage(exchange)
        self._hides = self._passes and not asked and replies.asks_for_usage(exchange.conversation)
        self._stop = StopWords(exchange.stop_words) if exchange.stop_words else None
        whole = not self._passes or self._stop is not None or any(listener.wants(kind) for kind in _BLOCKS)
        self._framer = Framer()
        self._whole = whole
        everything = whole or shown is not None
        self._decoder: Decoder = upstream.decoder((lambda kind: True) if everything else listener.wants)
        self._decoder.patient = not self._passes
        self._several = replies.several(exchange)
        self._decoder.answers = self._several or 1
        model = exchange.received.model
        self._encoder = client.encoder(model, usage=asked)
        if shown is not None and self._follows:
            self._encoder = shown.again(client, model, usage=asked)
        elif shown is not None and whole and not self._passes:
            shown.encoder = self._encoder
        self._gauge = None if whole else Gauge()
        self._renames: bool | None = None if self._passes else False
        """Whether frames that pass name another model than the client; None until the upstream has named its own."""
        self._held: list[bytes] = []
        self._begun = self._follows
        self._follow = shown.follow if shown is not None and self._follows else None
        self.ended = False
        """Whether the upstream has said its last word; nothing behind it reaches the client."""

    def feed(self, chunk: bytes) -> bytes:
        """What the client gets for some bytes of the upstream; empty while nothing has begun, and behind the end.

        Raises UpstreamError when the upstream reports a failure before the first event; later ones are told in the
        stream, behind what came before them.
        """
        if not self._several and self._framer.alone(chunk):
            told = b"" if self.ended else self._told(chunk)
            return told if self._shown is None else told + self._settle(self._shown)
        out: list[bytes] = []
        for frame in self._framer.feed(chunk):
            if self.ended:
                break
            out.append(self._told(frame))
        if self._shown is not None:
            if self._several and any(out):
                # Only one of the answers is read: the others may have said anything.
                self._shown.reached = True
            out.append(self._settle(self._shown))
        return b"".join(out)

    def _settle(self, shown: Shown) -> bytes:
        """Book what the client gets now. Once it has seen something, nothing more needs to be read or held for it."""
        shown.note(self._noted)
        self._noted.clear()
        # A finish that left as bytes was seen, though `Finished` waits for the usage behind it.
        shown.reached |= self._passes and self._decoder.complete and not self._hold
        if not shown.reached:
            return b""
        if not self._whole:
            self._decoder.narrow(self._listener.wants)
        self._shown, held = None, self._hold
        self._hold = None
        return b"" if held is None else self._let_go(held)

    def _let_go(self, hold: Hold) -> bytes:
        """What is held, as it would have been written."""
        events, out = hold.release()
        if self._passes:
            return out
        return self._encoder.encode(events if self._follow is None else self._follow(events))

    def finish(self) -> bytes:
        """What the client gets at the upstream's end. Raises UpstreamError when the reply is not complete."""
        tail, rest = b"", self._framer.rest
        if rest.strip() and _whole(rest) and not self.ended:
            tail = self._told(rest + b"\n\n")
        if not self.ended:
            tail += self._pass(self._decoder.finish(), b"")
            if not self._decoder.complete:
                raise UpstreamError(f"{LOST}: the upstream's stream broke off before its end", broken=True)
        return tail

    def _told(self, frame: bytes) -> bytes:
        """A frame on its way, or the failure it led to where the answer has begun."""
        try:
            return self._frame(frame)
        except ProxyError as error:
            if not self._begun or self._shown is not None or self._raises(error):
                raise
            self.ended = True
            self._exchange.outcome.error = error = overflow.told(self._exchange, error)
            return self._client.error_frame(error, self._exchange.id)

    def _frame(self, frame: bytes) -> bytes:
        events = self._decoder.decode(frame)
        self.ended = self._decoder.closed
        if self._decoder.word is not None and self._passes:
            frame = stops.reworded(frame, self._decoder.word)
        if self._hides and _NO_CHOICE.search(frame) and _USAGE.search(frame):
            # Usage that route asked for: the client did not, and may not expect a chunk without a choice.
            frame = b""
        if self._gauge is not None and not _told_usage(self._exchange):
            self._gauge.add(frame)
        if not self._passes:
            replies.name_unshown(self._exchange, self._from, frame)
        if events:
            return self._pass(events, frame)
        if not self._passes:
            return b""
        if self._begun:
            out = self._client.rename(frame, self._exchange.received.model) if self._renames else frame
            # A finish does not leave before the call that is held.
            return self._hold.take((), out)[1] if self._hold else out
        # A comment before the first event must not open the answer: a failure may still become a plain HTTP error.
        self._held.append(frame)
        return b""

    def _pass(self, events: Sequence[Event], frame: bytes) -> bytes:
        for event in events:
            replies.observe(self._exchange, event)
            if isinstance(event, Failed):
                error = UpstreamError(event.message, cause=event.cause)
                own = self._passes and self._shown is None and self._client.tells(frame, event)
                if not self._begun or not own or self._raises(error):
                    raise error
                self.ended = True
        known = self._wanted(events)
        self._characters += sum(map(extras.size, known))
        told = known if self._stop is None else self._stop(known)
        told = extras.opened(self._exchange, told)
        if replies.ends(events) or replies.ends(told):
            size = self._characters + (0 if self._gauge is None else self._gauge.characters())
            replies.refuse_silence(events, size)
            told = extras.ended(self._exchange, told, size)
        after = self._listener(told)
        if replies.ends(known) and not replies.ends(after):
            raise StageFailed(self._exchange.stage or "event", "the end of the reply was dropped")
        seen, passing = after if self._whole else events, self._passes
        if self._hold is not None and not passing:
            # What an encoder has written it counts as said: it gets a call when the client does.
            seen, _ = self._hold.take(seen, b"")
            after = seen
        out = self._render(known, after, frame)
        if self._renames is None:
            self._renames = replies.names_another(events, self._exchange.received.model)
        if self._renames and self._passes:
            out = self._client.rename(out, self._exchange.received.model)
        if self._stop is not None and self._stop.cut:
            self.ended = True
        if self._annotated and out and (members := extras.added(self._exchange, after)):
            out = extras.annotate(out, members)
        if self._shown is not None:
            if self._hold is not None and passing:
                seen, out = self._hold.take(seen, out)
            self._noted += seen
        if self._begun or not events:
            return out
        if all(isinstance(event, Opaque) for event in events):
            self._held.append(out)
            return b""
        self._begun = True
        return b"".join(self._held) + out

    def _render(self, before: Sequence[Event], after: Sequence[Event], frame: bytes) -> bytes:
        patched, late = None, b""
        if self._passes:
            if replies.ends(before) and _last(frame) and _alike(before, after):
                late, patched = self._encoder.late(after), frame
            else:
                patched = self._client.patch(frame, before, after) if frame and after is not before else frame
        made = self._encoder.encode(after if self._follow is None else self._follow(after))
        if patched is not None:
            return late + patched
        if self._whole:
            self._passes = False
        elif replies.ends(after):
            # The encoder wrote the whole end; of the blocks, which pass unread, it knows nothing to go on with.
            self.ended = True
        return made

    def _wanted(self, events: Sequence[Event]) -> Sequence[Event]:
        """Of events that were read to know what the client sees, those that would have been read without that."""
        if self._whole or self._shown is None:
            return events
        return [event for event in events if isinstance(event, _ALWAYS) or self._listener.wants(type(event))]


def _last(frame: bytes) -> bool:
    """Whether a frame holds no more than the last word, behind an end that has left already."""
    return not frame or parse(frame).data == b"[DONE]"


def _alike(before: Sequence[Event], after: Sequence[Event]) -> bool:
    """Whether two sequences differ in the usage they tell and in nothing else."""
    return _without_usage(before) == _without_usage(after)


def _without_usage(events: Sequence[Event]) -> list[Event]:
    return [replace(event, usage=None) if isinstance(event, Finished) else event for event in events]


def _told_usage(exchange: Exchange) -> bool:
    usage = exchange.outcome.usage
    return usage is not None and usage.output > 0


def _whole(rest: bytes) -> bool:
    """Whether the last bytes of a stream lack no more than their blank line."""
    data = parse(rest).data
    return data is None or data.strip() == b"[DONE]" or _readable(rest)


def _readable(frame: bytes) -> bool:
    """Whether a frame holds JSON."""
    try:
        msgspec.json.decode(parse(frame).data or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
