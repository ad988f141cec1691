"""Blocks of a reply one behind the other, where an upstream mixes them: a client of Responses sees one item at a time.

A block that begins while another is open waits only where that one is a tool call without its whole input; else the
open one is taken to be complete. A call whose input is not whole stays open at its own stop, until the reply goes on:
at the end of a reply that was cut off, such a call is half a call.
"""

from collections.abc import Iterable, Iterator

import msgspec

from trimtab.events import BlockStop, Event, TextDelta, ThinkingDelta, ToolDelta, ToolStart

BlockEvent = TextDelta | ThinkingDelta | ToolStart | ToolDelta | BlockStop


def whole(text: str) -> bool:
    """Whether the input of a call is complete; none at all is."""
    if not text.strip():
        return True
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


class Nesting:
    """Puts the events of blocks into an order in which each block is closed before the next begins."""

    def __init__(self) -> None:
        self._open: int | None = None
        self._kind: type[Event] | None = None
        self._input: list[str] = []
        self._stopped = False
        self._held: dict[int, list[BlockEvent]] = {}

    def feed(self, event: BlockEvent) -> Iterator[BlockEvent]:
        """The events that can be told now."""
        if self._open is None or event.index == self._open:
            yield from self._own(event)
        elif self._held.get(event.index) or (self._waits() and not isinstance(event, BlockStop)):
            self._held.setdefault(event.index, []).append(event)
        elif not isinstance(event, BlockStop):
            yield from self._grow(event)

    def end(self) -> Iterator[BlockEvent]:
        """What is left at the end of the reply, the open block first."""
        yield from self._close()
        yield from self._release()
        yield from self._close()

    def half(self) -> bool:
        """Whether a call is open or waits whose input is not whole."""
        waiting = ["".join(step.json for step in steps if isinstance(step, ToolDelta)) for steps in self._held.values()]
        return self._part() or not all(map(whole, waiting))

    def _part(self) -> bool:
        return self._kind is ToolStart and not whole("".join(self._input))

    def _waits(self) -> bool:
        """Whether the open block must be finished before another begins."""
        return not self._stopped and self._part()

    def _own(self, event: BlockEvent) -> Iterator[BlockEvent]:
        if not isinstance(event, BlockStop):
            yield from self._grow(event)
        elif self._open is not None:
            self._stopped = True
            if not self._part():
                yield from self._close()
                yield from self._release()

    def _release(self) -> Iterator[BlockEvent]:
        """Blocks that waited; the last of them stays open while nothing has closed it."""
        while self._held:
            waiting = self._held.pop(next(iter(self._held)))
            for event in waiting:
                if not isinstance(event, BlockStop):
                    yield from self._grow(event)
            if self._held or isinstance(waiting[-1], BlockStop):
                yield from self._close()

    def _grow(self, event: BlockEvent) -> Iterator[BlockEvent]:
        kind = ToolStart if isinstance(event, ToolDelta) else type(event)
        if self._open != event.index or self._kind is not kind:
            if isinstance(event, ToolDelta) or _silent(event):
                # A signature behind its block, or a piece of a call that never began.
                return
            yield from self._close()
            self._open, self._kind, self._input, self._stopped = event.index, kind, [], False
        if isinstance(event, ToolDelta):
            self._input.append(event.json)
        yield event

    def _close(self) -> Iterable[BlockEvent]:
        at, self._open, self._kind = self._open, None, None
        return () if at is None else (BlockStop(at),)


def _silent(event: BlockEvent) -> bool:
    return isinstance(event, TextDelta | ThinkingDelta) and not event.text
