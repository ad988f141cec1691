"""What holds for every reply of an upstream of either dialect, told to a client of any of the three."""

import json
import os
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import published
import responding
from laws import replies
from laws.replies import FIXED
from laws.upstreams import REPLIES, Made, Told, chat_usage
from responding import replying
from trimtab.dialects.base import Dialect
from trimtab.dialects.sse import Framer, parse
from trimtab.events import Event, Opaque

LAW = settings(max_examples=int(os.environ.get("TRIMTAB_LAWS", "40")), deadline=None)
"""The first example of a dialect reads its schemas."""
CLIENTS = ("chat", "messages", "responses")


def client(dialect: str) -> Dialect:
    """A client's dialect, its ids and its clock standing still."""
    return replying() if dialect == "responses" else FIXED[dialect]


def decoded(made: Made, cut: int | None = None) -> list[Event]:
    """The events of the stream, its bytes in two pieces; frames without a meaning for others are left out."""
    stream = b"".join(made.frames)
    framer, decoder = Framer(), FIXED[made.dialect].decoder(lambda _: True)
    # As serving a translated stream does: the end waits for what is told behind it.
    decoder.patient = True
    pieces = [stream] if cut is None else [stream[:cut], stream[cut:]]
    events = [event for piece in pieces for frame in framer.feed(piece) for event in decoder.decode(frame)]
    assert decoder.complete
    return [event for event in (*events, *decoder.finish()) if not isinstance(event, Opaque)]


def unfolded(made: Made) -> list[Event]:
    """The events of the whole body."""
    return [event for event in FIXED[made.dialect].unfold(made.body) if not isinstance(event, Opaque)]


def streamed(dialect: str, events: Sequence[Event]) -> bytes:
    return client(dialect).encoder("client-model", usage=True).encode(events)


def whole(dialect: str, events: Sequence[Event]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(client(dialect).fold(events, "client-model"))
    return told


@given(made=REPLIES, cut=st.integers(0, 4000))
@LAW
@pytest.mark.parametrize("dialect", CLIENTS)
def test_any_stream_obeys_the_grammar_and_the_published_schemas(dialect: str, made: Made, cut: int) -> None:
    events = decoded(made, cut)
    if dialect == "responses":
        responding.check(responding.told(streamed(dialect, events)))
    else:
        replies.check(dialect, events)
        published.check(dialect, 200, streamed(dialect, events))


@given(made=REPLIES)
@LAW
@pytest.mark.parametrize("dialect", CLIENTS)
def test_a_stream_says_what_the_whole_reply_says(dialect: str, made: Made) -> None:
    found = whole(dialect, unfolded(made))
    assert whole(dialect, decoded(made)) == found
    if dialect == "responses":
        assert responding.told(streamed(dialect, decoded(made)))[-1]["response"] == found
        responding.whole(found)
    else:
        published.check(dialect, 200, json.dumps(found).encode())


def told(dialect: str, usage: dict[str, Any]) -> Told:
    """The counters of an answer by what they mean (protocol.md 2.4)."""
    if dialect == "messages":
        read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
        details = usage["output_tokens_details"] or {"thinking_tokens": 0}
        return Told(
            usage["input_tokens"] + read + written, read, written, usage["output_tokens"], details["thinking_tokens"]
        )
    put, out = ("input", "output") if dialect == "responses" else ("prompt", "completion")
    assert usage["total_tokens"] == usage[f"{put}_tokens"] + usage[f"{out}_tokens"]
    details = usage[f"{put}_tokens_details"]
    cached, written = details["cached_tokens"], details.get("cache_write_tokens", 0)
    thought = usage[f"{out}_tokens_details"]["reasoning_tokens"]
    return Told(usage[f"{put}_tokens"], cached, written, usage[f"{out}_tokens"], thought)


def last_usage(dialect: str, raw: bytes) -> dict[str, Any]:
    """The usage that counts for a client of a stream: in messages, later counters stand for earlier ones."""
    found: dict[str, Any] = {}
    for frame in Framer().feed(raw):
        data = parse(frame).data
        if data is None or data == b"[DONE]":
            continue
        value = json.loads(data)
        for holder in (value, value.get("message"), value.get("response")):
            found |= (holder or {}).get("usage") or {}
    return found


@given(made=REPLIES)
@LAW
@pytest.mark.parametrize("dialect", CLIENTS)
def test_usage_is_the_upstreams_own_streamed_or_not(dialect: str, made: Made) -> None:
    assert told(dialect, whole(dialect, unfolded(made))["usage"]) == made.told
    assert told(dialect, last_usage(dialect, streamed(dialect, decoded(made)))) == made.told


@given(prompt=st.integers(0, 50), cached=st.integers(0, 99), written=st.integers(0, 99), output=st.integers(1, 9))
@pytest.mark.parametrize("dialect", CLIENTS)
def test_counters_that_contradict_each_other_never_go_below_zero(
    dialect: str, prompt: int, cached: int, written: int, output: int
) -> None:
    """Some upstreams count what was cached outside the prompt: the prompt's sum stands, and its parts fit in."""
    usage = chat_usage(Told(prompt, cached, written, output, 0))
    body = {
        "id": "x",
        "model": "m",
        "choices": [{"message": {"content": "a"}, "finish_reason": "stop"}],
        "usage": usage,
    }
    found = whole(dialect, FIXED["chat"].unfold(json.dumps(body).encode()))["usage"]
    counted = told(dialect, found)
    assert (counted.prompt, counted.output) == (prompt, output)
    assert counted.cached + counted.written <= prompt
    assert min(number for number in found.values() if isinstance(number, int)) >= 0
