"""Replies to be passed on, in both dialects, and a way to do that in memory."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from trimtab import replies
from trimtab.dialects.base import Dialect
from trimtab.dialects.chat import Chat
from trimtab.dialects.messages import Messages
from trimtab.events import (
    BlockStop,
    Event,
    Failed,
    Finished,
    Opaque,
    Started,
    TextDelta,
    ToolDelta,
    Usage,
    replace,
)
from trimtab.exchange import Exchange
from trimtab.hookspecs import Stage, StageOptions, hookimpl
from trimtab.pipeline import Listener
from trimtab.relay import Relay
from trimtab.testing import StageBench

# Ids and times of our own making are the same at every run.
CHAT, MESSAGES = Chat(lambda: "id", lambda: 0.0), Messages(lambda: "id")

DIALECTS: dict[str, Dialect] = {"chat": CHAT, "messages": MESSAGES}


def sse(*values: Any) -> bytes:
    """Frames, with the spaces that some servers write."""
    return b"".join(
        (f"event: {value['type']}\n".encode() if "type" in value else b"")
        + b"data: "
        + json.dumps(value).encode()
        + b"\n\n"
        for value in values
    )


def chunk(delta: dict[str, Any], finish: str | None = None, **members: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "up-1", "model": "glm", "x_trace": {"b": 1.50}, "choices": [choice], **members}


CHAT_USAGE = {"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 60}, "x": 1}

CHAT_STREAM = (
    b": hello\n\n"
    + sse(
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "hm"}),
        chunk({"content": "one \u00e9"}),
    )
    + b": still here\n\n"
    + sse(chunk({"content": " two"}), chunk({}, "stop"), {"id": "up-1", "choices": [], "usage": CHAT_USAGE})
    + b"data: [DONE]\n\n"
)

START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "model": "glm",
        "content": [],
        "usage": {"input_tokens": 40, "cache_read_input_tokens": 60, "output_tokens": 1},
    },
}

MESSAGES_STREAM = sse(
    {"type": "ping"},
    START,
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "one \u00e9"}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " two"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "t", "name": "read", "input": {}},
    },
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a":'}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "1}"}},
    {"type": "content_block_stop", "index": 1},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7, "x_own": 3}},
    {"type": "message_stop"},
)

STREAMS = {"chat": CHAT_STREAM, "messages": MESSAGES_STREAM}

USAGE = {
    "chat": Usage(input=40, cache_read=60, output=7),
    "messages": Usage(input=40, cache_read=60, output=7),
}

Hook = Callable[[Event], Iterable[Event]]


class Changes(Stage[StageOptions]):
    """Passes events through a function."""

    name = "changes"

    def __init__(self, hook: Hook, *wants: type[Event]) -> None:
        super().__init__(StageOptions())
        self.hook = hook
        self.wants = frozenset(wants)  # type: ignore[misc]  # of the instance, for a test

    @hookimpl
    def event(self, exchange: Exchange, event: Event) -> Iterable[Event]:
        return self.hook(event)


class Way:
    """An exchange, its relay, and what the client got."""

    def __init__(
        self,
        name: str,
        *stages: Changes,
        sends: dict[str, Any] | None = None,
        upstream: str = "",
        stop: tuple[str, ...] = (),
    ) -> None:
        body = {"model": "glm", "stream": True, "messages": [{"role": "user", "content": "hi"}], **(sends or {})}
        self.pipeline = (bench := StageBench(*stages)).pipeline
        self.exchange = bench.exchange(body, dialect=name)
        self.exchange.stop_words = stop
        self.upstream, self.client = DIALECTS[upstream or name], DIALECTS[name]
        self.begin()

    def begin(self) -> "Way":
        """From the start, with the exchange as it stands."""
        self.relay = Relay(self.exchange, self.listener, self.upstream, self.client)
        self.got = b""
        return self

    @property
    def listener(self) -> Listener:
        return self.pipeline.listener(self.exchange)

    def feed(self, *chunks: bytes) -> "Way":
        for piece in chunks:
            self.got += self.relay.feed(piece)
        return self

    def finish(self) -> bytes:
        self.got += self.relay.finish()
        return self.got

    @property
    def data(self) -> list[Any]:
        lines = [line[6:] for line in self.got.decode().splitlines() if line.startswith("data: ")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


def same(event: Event) -> Iterable[Event]:
    return (event,)


def shout(event: Event) -> Iterable[Event]:
    assert isinstance(event, TextDelta)
    return (replace(event, text=event.text.upper()),)


def double(event: Event) -> Iterable[Event]:
    """Twice the usage that is there."""
    assert isinstance(event, Started | Finished)
    if event.usage is None:
        return (event,)
    return (replace(event, usage=replace(event.usage, input=event.usage.input * 2, output=event.usage.output * 2)),)


BOTH = pytest.mark.parametrize("name", ["chat", "messages"])

EVERY = (Started, TextDelta, BlockStop, ToolDelta, Finished, Failed, Opaque)

ERROR = {"chat": sse({"error": {"code": "1302", "type": "rate_limit_error", "message": "too fast"}})}

ERROR["messages"] = sse({"type": "error", "error": {"type": "rate_limit_error", "message": "too fast"}})


def first(name: str, frames: int) -> bytes:
    """The first frames of a stream."""
    return b"\n\n".join(STREAMS[name].split(b"\n\n")[:frames]) + b"\n\n"


def split(event: Event) -> Iterable[Event]:
    """Each text as two."""
    assert isinstance(event, TextDelta)
    half = len(event.text) // 2
    return (replace(event, text=event.text[:half]), replace(event, text=event.text[half:]))


CHAT_BODY = json.dumps(
    {
        "id": "up-1",
        "model": "glm",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "one"}, "finish_reason": "stop"}],
        "usage": CHAT_USAGE,
        "x_own": [1.50],
    },
    indent=1,
).encode()

MESSAGES_BODY = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "one"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 40, "cache_read_input_tokens": 60, "output_tokens": 7},
        "x_own": [1.50],
    },
    indent=1,
).encode()

BODIES = {"chat": CHAT_BODY, "messages": MESSAGES_BODY}


def whole(
    name: str, body: bytes, *stages: Changes, client: str = "", sends: dict[str, Any] | None = None
) -> tuple[bytes, Exchange]:
    """What becomes of a whole reply, and its exchange."""
    way = Way(client or name, *stages, sends=sends)
    made = replies.whole(way.exchange, way.listener, DIALECTS[name], DIALECTS[client or name], body)
    return made, way.exchange
