"""Events into chunks of an OpenAI stream."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from trimtab.dialects import sse, stops
from trimtab.dialects.base import Encoder
from trimtab.dialects.chat_wire import usage_json
from trimtab.dialects.ids import Token, fitting
from trimtab.dialects.problems import PROBLEMS
from trimtab.errors import Cause
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
)

PING = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"
ID = "chatcmpl-"
"""How the id of a reply begins."""


def failure(cause: Cause, text: str, param: str | None, code: str | None = None) -> bytes:
    """The body of an error; `code` takes the place of the cause's own."""
    problem = PROBLEMS[cause]
    told = {"message": text, "type": problem.chat_type, "param": param, "code": code or problem.chat_code}
    return msgspec.json.encode({"error": told})


class ChatEncoder(Encoder):
    """Writes one stream; the usage comes in a chunk of its own, and only to those who asked."""

    def __init__(
        self, model: str, *, usage: bool, token: Token, now: Callable[[], float], legacy: bool = False
    ) -> None:
        """`legacy` says that the client offered `functions`, so that it knows one call, as `function_call`."""
        self._model = model
        self._usage = usage
        self._legacy = legacy
        self._token = token
        self._now = now
        self._head: dict[str, Any] = {}
        self._over = False
        self._calls: dict[int, int] = {}
        self._empty: set[int] = set()

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
                return self._begin() + self._finish(event)
            case Failed():
                self._over = True
                return sse.write(failure(event.cause, event.message, None))
            case Opaque():
                return event.raw if event.dialect == "chat" else b""
        return self._begin() + self._block(event)

    def _begin(self) -> bytes:
        return b"" if self._head else self._start(Started())

    def _start(self, started: Started) -> bytes:
        if self._head:
            return b""
        self._head = {
            "id": fitting(started.id, ID, self._token),
            "object": "chat.completion.chunk",
            "created": int(self._now()),
            "model": self._model,
        }
        return self._chunk({"role": "assistant", "content": ""})

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        absent = {"usage": None} if self._usage else {}
        return sse.write(msgspec.json.encode({**self._head, "choices": [choice], **absent}))

    def _block(self, event: Event) -> bytes:
        match event:
            case TextDelta(text=text) if text:
                return self._chunk({"content": text})
            case ThinkingDelta(text=text) if text:
                return self._chunk({"reasoning_content": text})
            case ToolStart():
                return self._call(event)
            case ToolDelta(json=json, index=index) if json and index in self._calls:
                self._empty.discard(index)
                return self._arguments(index, json)
            case BlockStop(index=index):
                return self._fill(index)
        return b""

    def _call(self, event: ToolStart) -> bytes:
        """Calls are numbered among themselves, not among all blocks."""
        if self._legacy and self._calls:
            return b""
        number = self._calls[event.index] = len(self._calls)
        self._empty.add(event.index)
        function = {"name": event.name, "arguments": ""}
        if self._legacy:
            return self._chunk({"function_call": function})
        call = {"index": number, "id": event.id, "type": "function", "function": function}
        return self._chunk({"tool_calls": [call]})

    def _arguments(self, index: int, json: str) -> bytes:
        if self._legacy:
            return self._chunk({"function_call": {"arguments": json}})
        return self._chunk({"tool_calls": [{"index": self._calls[index], "function": {"arguments": json}}]})

    def _fill(self, index: int) -> bytes:
        """Clients parse the arguments of a call, so one without any gets an empty object."""
        if index not in self._empty:
            return b""
        self._empty.discard(index)
        return self._arguments(index, "{}")

    def _finish(self, finished: Finished) -> bytes:
        self._over = True
        filled = b"".join(self._fill(index) for index in sorted(self._empty))
        end = self._chunk({}, stops.chat(finished.reason, legacy=self._legacy))
        return filled + end + self._counted(finished) + DONE

    def _counted(self, finished: Finished) -> bytes:
        usage = usage_json(finished.usage) if self._usage else None
        return b"" if usage is None else sse.write(msgspec.json.encode({**self._head, "choices": [], "usage": usage}))

    def late(self, events: Iterable[Event]) -> bytes:
        """The chunk of the usage, for those who asked."""
        return b"".join(self._counted(event) for event in events if isinstance(event, Finished) and not self._over)
