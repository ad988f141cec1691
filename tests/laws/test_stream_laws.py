"""What holds for every stream and reply, in every dialect."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.replies import FIXED, check, decoded, expected, replies, shown, unnamed
from laws.samples import REPLIES, Sample
from trimtab.dialects.sse import Framer
from trimtab.errors import Cause
from trimtab.events import (
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
    replace,
)


@pytest.mark.parametrize("sample", REPLIES.values(), ids=REPLIES)
@pytest.mark.parametrize("form", ["lf", "crlf", "cr", "bom", "comments"])
def test_events_do_not_depend_on_how_bytes_were_split(sample: Sample, form: str) -> None:
    stream = {
        "lf": sample.stream,
        "crlf": sample.stream.replace(b"\n", b"\r\n"),
        "cr": sample.stream.replace(b"\n", b"\r"),
        "bom": b"\xef\xbb\xbf" + sample.stream,
        "comments": b": hello\n\n" + sample.stream.replace(b"data: ", b": x\ndata:"),
    }[form]
    plainly = shown(decoded(sample.dialect, sample.stream))
    frames = Framer().feed(stream)
    assert b"".join(frames) == stream
    assert shown(decoded(sample.dialect, stream)) == plainly
    for cut in range(len(stream) + 1):
        framer = Framer()
        # A lone CR at the cut may be half of a CR LF: then the frame ends with the next bytes.
        assert b"".join([*framer.feed(stream[:cut]), *framer.feed(stream[cut:])]) == stream
    for cut in range(0, len(stream) + 1, 7):
        assert shown(decoded(sample.dialect, stream, cut)) == plainly


@pytest.mark.parametrize("sample", REPLIES.values(), ids=REPLIES)
def test_a_folded_stream_is_the_whole_reply(sample: Sample) -> None:
    dialect = FIXED[sample.dialect]
    streamed, whole = decoded(sample.dialect, sample.stream), dialect.unfold(sample.body)
    assert shown(streamed) == shown(whole)
    assert json.loads(dialect.fold(streamed, "m")) == json.loads(dialect.fold(whole, "m"))


@pytest.mark.parametrize("sample", REPLIES.values(), ids=REPLIES)
def test_whoever_listens_the_frame_of_an_end_is_read(sample: Sample) -> None:
    asked, unasked = decoded(sample.dialect, sample.stream), decoded(sample.dialect, sample.stream, wanted=False)
    essential = [event for event in asked if isinstance(event, Started | Finished | Failed)]
    assert [event for event in unasked if isinstance(event, Started | Finished | Failed)] == essential
    assert not [event for event in unasked if isinstance(event, Opaque)]


@pytest.mark.parametrize("sample", REPLIES.values(), ids=REPLIES)
@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_any_stream_is_well_formed_in_any_dialect(sample: Sample, dialect: str) -> None:
    check(dialect, [event for event in decoded(sample.dialect, sample.stream) if not isinstance(event, Opaque)])


@given(events=replies(), usage=st.booleans())
@settings(max_examples=150)
def test_the_encoders_follow_the_grammar(events: list[Event], usage: bool) -> None:
    check("chat", events, usage=usage)
    check("messages", events)


@given(events=replies())
@settings(max_examples=150)
def test_encoded_events_are_decoded_again(events: list[Event]) -> None:
    for name in ("chat", "messages"):
        again = decoded(name, FIXED[name].encoder("m", usage=True).encode(events))
        assert expected(name, events) == expected(name, [unnamed(event) for event in again])


@given(events=replies())
@settings(max_examples=150)
def test_a_folded_reply_unfolds_again(events: list[Event]) -> None:
    for name in ("chat", "messages"):
        again = FIXED[name].unfold(FIXED[name].fold(events, "m"))
        assert expected(name, events) == expected(name, [unnamed(event) for event in again])


NATIVE = {"chat": "server_overloaded", "messages": "overloaded_error"}


@pytest.mark.parametrize("dialect", NATIVE)
def test_nothing_follows_a_failure(dialect: str) -> None:
    encoder = FIXED[dialect].encoder("m", usage=True)
    events = [Started(), TextDelta("a"), Failed("overloaded", Cause.OVERLOADED), Finished(StopReason.END)]
    wire = encoder.encode(events)
    assert b"[DONE]" not in wire
    assert b"message_stop" not in wire
    again = decoded(dialect, wire)
    assert again[-1] == Failed(
        "overloaded", Cause.OVERLOADED, "server_overloaded" if dialect == "chat" else "overloaded_error"
    )


@pytest.mark.parametrize("sample", REPLIES.values(), ids=REPLIES)
def test_a_patched_stream_is_the_stream_of_the_changed_events(sample: Sample) -> None:
    dialect = FIXED[sample.dialect]
    decoder, out, asked = dialect.decoder(lambda _: True), [], []
    for frame in Framer().feed(sample.stream):
        events = list(decoder.decode(frame))
        after = [_scaled(event) for event in events]
        patched = dialect.patch(frame, events, after)
        assert patched is not None, frame
        asked += after
        out.append(patched)
    again = decoded(sample.dialect, b"".join(out))
    keep = (Started, Finished, TextDelta, ThinkingDelta, ToolStart, ToolDelta)
    assert [e for e in again if isinstance(e, keep)] == [e for e in asked if isinstance(e, keep)]


@pytest.mark.parametrize("sample", REPLIES.values(), ids=REPLIES)
def test_a_patched_body_is_the_body_of_the_changed_events(sample: Sample) -> None:
    dialect = FIXED[sample.dialect]
    before = dialect.unfold(sample.body)
    after = [_scaled(event) for event in before]
    patched = dialect.patch(sample.body, before, after)
    assert patched is not None
    assert dialect.unfold(patched) == after
    assert dialect.patch(sample.body, before, before) == sample.body
    assert dialect.patch(sample.body, before, before[1:]) is None


def _scaled(event: Event) -> Event:
    match event:
        case Started():
            return replace(event, model="mine", usage=event.usage and _double(event.usage))
        case Finished():
            return replace(event, usage=event.usage and _double(event.usage))
        case TextDelta(text=text) if text:
            return replace(event, text=text.upper() + "é")
        case ThinkingDelta(text=text) if text:
            return replace(event, text=text.upper())
        case ToolStart():
            return replace(event, name="renamed")
    return event


def _double(usage: Usage) -> Usage:
    return Usage(
        input=usage.input * 2, cache_read=usage.cache_read * 2, output=usage.output * 2, reasoning=usage.reasoning
    )
