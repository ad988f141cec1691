"""Replies that come whole, in memory."""

import json

import pytest

from replying import (
    BODIES,
    BOTH,
    CHAT,
    CHAT_BODY,
    DIALECTS,
    ERROR,
    EVERY,
    STREAMS,
    USAGE,
    Changes,
    Way,
    chunk,
    double,
    first,
    same,
    shout,
    split,
    sse,
    whole,
)
from trimtab import replies
from trimtab.errors import UpstreamError
from trimtab.events import (
    Finished,
    Opaque,
    Started,
    TextDelta,
)


@BOTH
@pytest.mark.parametrize("stages", [[], [Changes(same, *EVERY)]])
def test_a_whole_reply_that_nobody_changed_leaves_as_it_came(name: str, stages: list[Changes]) -> None:
    body, exchange = whole(name, BODIES[name], *stages)
    assert body == BODIES[name]
    assert exchange.outcome.usage == USAGE[name]


@BOTH
def test_a_whole_reply_is_patched_in_place(name: str) -> None:
    body, exchange = whole(name, BODIES[name], Changes(shout, TextDelta))
    assert body == BODIES[name].replace(b'"one"', b'"ONE"')
    body, exchange = whole(name, BODIES[name], Changes(double, Finished))
    assert exchange.outcome.usage == USAGE[name]
    assert json.loads(body)["x_own"] == [1.5]
    assert body != BODIES[name]


@BOTH
def test_a_whole_reply_with_other_events_is_made_anew(name: str) -> None:
    body, _ = whole(name, BODIES[name], Changes(split, TextDelta))
    made = json.loads(body)
    said = made["choices"][0]["message"]["content"] if name == "chat" else made["content"][0]["text"]
    assert (said, made["model"]) == ("one", "glm")
    assert whole(name, body)[1].outcome.usage == USAGE[name]


def test_a_whole_reply_in_another_dialect() -> None:
    body, _ = whole("chat", CHAT_BODY, client="messages")
    made = json.loads(body)
    assert (made["model"], made["content"][0]["text"], made["usage"]["input_tokens"]) == ("glm", "one", 40)


def test_what_of_a_reply_another_dialect_cannot_show_is_named() -> None:
    noted = {"role": "assistant", "content": "one", "annotations": [{"type": "url_citation"}]}
    body = json.dumps({**json.loads(CHAT_BODY), "choices": [{"message": noted, "finish_reason": "stop"}]}).encode()
    _, exchange = whole("chat", body, client="messages")
    assert exchange.dropped == ["reply.annotations"]
    assert whole("chat", body)[1].dropped == []
    way = Way("messages", upstream="chat").feed(sse(chunk(noted), chunk({}, "stop"), "[DONE]"))
    assert way.exchange.dropped == ["reply.annotations"]
    gathered = Way("messages").exchange
    replies.gather(gathered, CHAT, sse(chunk(noted), chunk({}, "stop")))
    assert gathered.dropped == ["reply.annotations"]
    assert Way("chat").feed(sse(chunk(noted))).exchange.dropped == []


@BOTH
def test_a_whole_reply_that_is_none(name: str) -> None:
    for body in (b"<html>", b"[]", b"{}", b'{"error":{"message":"too fast","type":"rate_limit_error"}}'):
        with pytest.raises(UpstreamError):
            whole(name, body)


@BOTH
def test_a_stream_that_came_whole_is_gathered(name: str) -> None:
    exchange = Way(name).exchange
    events = replies.gather(exchange, DIALECTS[name], STREAMS[name])
    assert isinstance(events[0] if name == "chat" else events[1], Started | Opaque)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "one \u00e9 two"
    assert exchange.outcome.usage == USAGE[name]
    with pytest.raises(UpstreamError, match="broke off"):
        replies.gather(exchange, DIALECTS[name], first(name, 4))
    with pytest.raises(UpstreamError, match="too fast"):
        replies.gather(exchange, DIALECTS[name], first(name, 4) + ERROR[name])
    assert replies.gather(exchange, DIALECTS[name], STREAMS[name][:-2]) == events
