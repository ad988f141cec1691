"""Events into the stream of a Responses client, and into the response object that ends it.

Numbers run from 0 without gaps: `sequence_number` over all events, `output_index` over the items. An item is done only
when it is whole; a call that was cut off has no `output_item.done` and is no part of the output, since clients run what
is done. Exactly one of `completed`, `incomplete` and `failed` ends a stream.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from trimtab.dialects.base import Encoder
from trimtab.dialects.ids import Token, fitting
from trimtab.dialects.nesting import BlockEvent, Nesting
from trimtab.dialects.responses_items import Item, MessageItem, ReasoningItem, call_item
from trimtab.dialects.responses_wire import ID, Asked, incomplete, resource
from trimtab.errors import UpstreamError
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

PING = b": keep-alive\n\n"
_CUT = (StopReason.LENGTH, StopReason.CONTEXT, StopReason.REFUSAL)
"""Ends at which a call may be half a call."""


def frame(kind: str, members: dict[str, Any]) -> bytes:
    """A frame of one event."""
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode({"type": kind, **members}))


class ResponsesEncoder(Encoder):
    """Writes one stream; `failure` tells code and message of what broke off."""

    def __init__(
        self,
        model: str,
        asked: Asked,
        token: Token,
        now: Callable[[], float],
        failure: Callable[[Failed], dict[str, str]],
    ) -> None:
        self._model = model
        self._asked = asked
        self._token = token
        self._now = now
        self._failure = failure
        self._head: dict[str, Any] = {}
        self._number = 0
        self._over = False
        self._nesting = Nesting()
        self._item: Item | None = None
        self._added = 0
        self._output: list[dict[str, Any]] = []
        self._finished: Finished | None = None
        self._untold = b""
        self.response: dict[str, Any] = {}
        """The response object as last told."""

    def encode(self, events: Iterable[Event]) -> bytes:
        """The frames for some events. Raises UpstreamError where an end turns out to be none."""
        out: list[bytes] = []
        try:
            out += map(self._event, events)
        except UpstreamError:
            # What came before is told with the failure: its numbers are used up.
            self._untold = b"".join(out)
            raise
        return b"".join(out)

    def failed(self, error: dict[str, str]) -> bytes:
        """The frames that end a stream by a failure; open items stay as they are."""
        if self._over:
            return b""
        begun = self._untold + self._begin()
        self._over = True
        return begun + self._state("failed", resource(self._head, "failed", self._output, error=error))

    def _event(self, event: Event) -> bytes:
        if self._over:
            return b""
        match event:
            case Started():
                return self._start(event)
            case Finished():
                return self._begin() + self._finish(event)
            case Failed():
                return self.failed(self._failure(event))
            case Opaque():
                return self._begin() + self._whole(event) if event.dialect == "responses" else b""
            case TextDelta() | ThinkingDelta() | ToolStart() | ToolDelta() | BlockStop():
                return self._begin() + b"".join(self._block(step) for step in self._nesting.feed(event))
        return b""

    def _tell(self, kind: str, members: dict[str, Any]) -> bytes:
        number, self._number = self._number, self._number + 1
        return frame(f"response.{kind}", {**members, "sequence_number": number})

    def _state(self, kind: str, response: dict[str, Any]) -> bytes:
        self.response = response
        return self._tell(kind, {"response": response})

    def _begin(self) -> bytes:
        return b"" if self._head else self._start(Started())

    def _start(self, started: Started) -> bytes:
        if self._head:
            return b""
        head = {"id": fitting(started.id, ID, self._token), "object": "response", "created_at": int(self._now())}
        self._head = {**head, "model": self._model, **self._asked.echo}
        waiting = resource(self._head, "in_progress", [])
        return self._state("created", waiting) + self._state("in_progress", waiting)

    def _block(self, event: BlockEvent) -> bytes:
        match event:
            case BlockStop():
                return self._done()
            case ToolStart(id=id_, name=name):
                return self._open(call_item(id_, name, self._asked.offers))
            case ToolDelta(json=json):
                return self._grow(json)
            case ThinkingDelta():
                return self._think(event)
            case TextDelta(text=text) if text:
                opened = b"" if self._item is not None else self._open(MessageItem())
                return opened + self._grow(text)
        return b""

    def _think(self, event: ThinkingDelta) -> bytes:
        opened = b"" if self._item is not None else self._open(ReasoningItem(sealed=self._asked.sealed))
        if event.signature and isinstance(self._item, ReasoningItem):
            self._item.signature = event.signature
        return opened + self._grow(event.text)

    def _open(self, item: Item) -> bytes:
        self._item = item
        item.id = f"{item.prefix}{self._head['id'].removeprefix(ID)[:40]}_{self._added}"
        return self._add(item, "in_progress") if item.shown else b""

    def _add(self, item: Item, status: str) -> bytes:
        added = self._tell("output_item.added", {"output_index": self._added, "item": item.value(status)})
        self._added += 1
        return added + self._steps(item, item.begin())

    def _grow(self, text: str) -> bytes:
        item = self._item
        return self._steps(item, item.grow(text)) if item is not None and text else b""

    def _steps(self, item: Item, steps: Iterable[tuple[str, dict[str, Any]]]) -> bytes:
        place = {"item_id": item.id, "output_index": self._added - 1}
        return b"".join(self._tell(kind, {**place, **members}) for kind, members in steps)

    def _done(self) -> bytes:
        item, self._item = self._item, None
        if item is None or (item.half() and self._broken()):
            return b""
        status = "completed"
        if self._finished is not None and isinstance(item, MessageItem) and incomplete(self._finished.reason):
            status = "incomplete"
        added = b"" if item.shown else self._add(item, "in_progress")
        before = self._steps(item, item.end())
        value = item.value(status)
        self._output.append(value)
        return added + before + self._tell("output_item.done", {"output_index": self._added - 1, "item": value})

    def _broken(self) -> bool:
        """Whether the reply was cut off before this call was whole; a model's bad JSON is the client's to judge."""
        return self._finished is not None and self._finished.reason in _CUT

    def _finish(self, finished: Finished) -> bytes:
        if not finished.native and finished.reason is StopReason.END:
            # The upstream's last word alone, without a reason.
            if self._nesting.half():
                raise UpstreamError("the upstream ended its stream inside a tool call")
            if self._item is None and not self._output:
                raise UpstreamError("the upstream ended its stream without a reply")
        self._finished, self._over = finished, True
        last = b"".join(self._block(event) for event in self._nesting.end())
        reason = incomplete(finished.reason)
        status = "incomplete" if reason else "completed"
        ended = int(self._now()) if reason is None else None
        whole = resource(self._head, status, self._output, completed_at=ended, usage=finished.usage, reason=reason)
        return last + self._state(status, whole)

    def _whole(self, event: Opaque) -> bytes:
        """A finished item of our own."""
        item = msgspec.json.decode(event.raw)
        place = {"output_index": self._added, "item": item}
        self._added += 1
        self._output.append(item)
        return self._tell("output_item.added", place) + self._tell("output_item.done", place)
