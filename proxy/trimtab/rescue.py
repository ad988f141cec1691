"""What a client has seen of a streamed reply: as long as that is thoughts at most, another reply can go on behind it.

A tool call may be held until it is complete, so that a break inside it is not seen either.
"""

from collections.abc import Sequence

from trimtab.dialects.base import Dialect, Encoder
from trimtab.events import (
    BlockStop,
    Event,
    Finished,
    Opaque,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    ToolStart,
    replace,
)

_NUMBERED = (TextDelta, ThinkingDelta, ToolStart, ToolDelta, BlockStop)


class Shown:
    """What one client has seen, over all attempts."""

    def __init__(self, *, hold: bool = False) -> None:
        self.hold = hold
        """Whether a tool call waits until it is complete."""
        self.reached = False
        """Whether text or a tool call has reached the client: then nothing is generated anew."""
        self.encoder: Encoder | None = None
        """What wrote all that the client has seen, None where it was an upstream's own bytes."""
        self._started: Started | None = None
        self._thoughts: list[int] = []
        self._open = False
        self._before = 0

    @property
    def begun(self) -> bool:
        """Whether the reply has begun for the client."""
        return self._started is not None

    def note(self, events: Sequence[Event]) -> None:
        """These events reach the client now."""
        for event in events:
            match event:
                case Started():
                    self._started = self._started or event
                case ThinkingDelta() | BlockStop() if self._started is None:
                    # A stream without its start: no second reply would know where to go on.
                    self.reached = True
                case ThinkingDelta(index=index):
                    if index not in self._thoughts:
                        self._thoughts.append(index)
                    self._open = True
                case BlockStop():
                    self._open = False
                case Opaque():
                    self.reached |= event.kind.startswith("content_block")
                case _:
                    self.reached = True

    def again(self, client: Dialect, model: str, *, usage: bool) -> Encoder:
        """An encoder that goes on where the client is; what it is given goes through `follow` before."""
        self._before = max(self._thoughts, default=-1) + 1
        if self.encoder is None:
            self.encoder = client.encoder(model, usage=usage)
            seen: list[Event] = [self._started or Started()]
            for index in self._thoughts:
                seen += [ThinkingDelta("", "", index), BlockStop(index)]
            self.encoder.encode(seen[:-1] if self._open else seen)
        return self.encoder

    def follow(self, events: Sequence[Event]) -> list[Event]:
        """Events of a reply that goes on behind another one: without a start, its blocks counted on."""
        return [
            replace(event, index=event.index + self._before) if isinstance(event, _NUMBERED) else event
            for event in events
            if not isinstance(event, Started)
        ]


class Hold:
    """Holds what is written while a tool call is not complete."""

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._kept: list[bytes] = []
        self._events: list[Event] = []

    def __bool__(self) -> bool:
        return bool(self._kept)

    def take(self, events: Sequence[Event], out: bytes) -> tuple[Sequence[Event], bytes]:
        """What may be passed on of some events and their bytes, with what was held before them."""
        for event in events:
            if isinstance(event, ToolStart):
                self._open.add(event.index)
            elif isinstance(event, BlockStop):
                self._open.discard(event.index)
            elif isinstance(event, Finished):
                self._open.clear()
        if all(isinstance(event, Opaque) for event in events) and events:
            return events, out
        self._events += events
        self._kept.append(out)
        return ((), b"") if self._open else self.release()

    def release(self) -> tuple[Sequence[Event], bytes]:
        """All that is held."""
        events, out = tuple(self._events), b"".join(self._kept)
        self._events.clear()
        self._kept.clear()
        return events, out
