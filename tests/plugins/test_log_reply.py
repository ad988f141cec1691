"""A reply is put together from its events."""

import json

import msgspec

from trimtab.api import (
    BlockStop,
    Cause,
    Event,
    Failed,
    Finished,
    Started,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    ToolStart,
    Usage,
)
from trimtab_stages.log_reply import reply_of


def told(*events: Event) -> object:
    return json.loads(msgspec.json.encode(reply_of(events)))


def test_blocks_come_in_the_order_in_which_they_began() -> None:
    events = (
        Started("msg_1", "small", Usage(input=7)),
        ThinkingDelta("hm", index=0),
        ThinkingDelta("m", signature="sig", index=0),
        BlockStop(0),
        TextDelta("so", index=1),
        ToolStart("call_1", "read", index=2),
        ToolDelta('{"a":', index=2),
        TextDelta(" be it", index=1),
        ToolDelta("1}", index=2),
        Finished(StopReason.TOOL_USE, native="tool_use"),
    )
    assert told(*events) == {
        "id": "msg_1",
        "model": "small",
        "content": [
            {"type": "thinking", "text": "hmm", "signature": "sig"},
            {"type": "text", "text": "so be it"},
            {"type": "tool_use", "id": "call_1", "name": "read", "input": '{"a":1}'},
        ],
        "reason": "tool_use",
        "native": "tool_use",
        "usage": {
            "input": 7,
            "cache_read": 0,
            "cache_write": 0,
            "output": 0,
            "reasoning": None,
            "estimated": False,
        },
    }


def test_a_reply_that_broke_off() -> None:
    assert told(TextDelta("a"), Failed("too busy", Cause.OVERLOADED)) == {
        "content": [{"type": "text", "text": "a"}],
        "error": "overloaded: too busy",
    }
