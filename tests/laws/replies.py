"""Replies for the laws of streams: made at random, brought to a normal form, held against the grammar of a dialect."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from trimtab.dialects.base import Dialect
from trimtab.dialects.chat import Chat
from trimtab.dialects.messages import Messages
from trimtab.dialects.messages_encode import signature
from trimtab.dialects.sse import Framer, parse
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
    Usage,
    replace,
)

FIXED: dict[str, Dialect] = {"chat": Chat(lambda: "made", lambda: 1.0), "messages": Messages(lambda: "made")}
"""The dialects with nothing random in them."""


def decoded(dialect: str, stream: bytes, cut: int | None = None, wanted: bool = True) -> list[Event]:
    """The events of a stream whose bytes came in two pieces."""
    framer, decoder = Framer(), FIXED[dialect].decoder(lambda _: wanted)
    pieces = [stream] if cut is None else [stream[:cut], stream[cut:]]
    events = [event for piece in pieces for frame in framer.feed(piece) for event in decoder.decode(frame)]
    return [*events, *decoder.finish()]


def shown(events: Sequence[Event]) -> list[Event]:
    """A reply in normal form: contiguous blocks, one delta each, an input for every call, nothing opaque."""
    blocks: dict[int, list[Event]] = {}
    ends: list[Event] = []
    for event in events:
        if isinstance(event, Started):
            blocks[-1] = [replace(event, usage=None)]
        elif isinstance(event, Finished | Failed):
            ends.append(event)
        elif not isinstance(event, Opaque):
            grown = blocks.setdefault(event.index, [])  # type: ignore[attr-defined]  # every event of a block has one
            _grow(grown, event)
    ordered = sorted(blocks.items())
    whole = [
        event for number, block in enumerate(block for _, block in ordered) for event in _closed(block, number - 1)
    ]
    return [*whole, *ends]


def _grow(block: list[Event], event: Event) -> None:
    last = block[-1] if block else None
    match last, event:
        case TextDelta(), TextDelta():
            block[-1] = replace(last, text=last.text + event.text)
        case ThinkingDelta(), ThinkingDelta():
            block[-1] = replace(last, text=last.text + event.text, signature=event.signature or last.signature)
        case ToolDelta(), ToolDelta():
            block[-1] = replace(last, json=last.json + event.json)
        case _, BlockStop():
            pass
        case _:
            block.append(event)


def _closed(block: list[Event], number: int) -> list[Event]:
    if isinstance(block[0], Started):
        return block
    if isinstance(block[0], ToolStart) and (len(block) == 1 or block[1] == replace(block[1], json="")):
        block = [block[0], ToolDelta("{}")]
    return [*(replace(event, index=number) for event in block), BlockStop(number)]


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
VISIBLE = WORDS.filter(lambda text: not text.isspace())
USAGES = st.builds(
    Usage,
    input=st.integers(1, 99),
    cache_read=st.integers(0, 99),
    cache_write=st.integers(0, 99),
    output=st.integers(1, 99),
    reasoning=st.one_of(st.none(), st.integers(0, 9)),
)
INPUTS = st.dictionaries(st.sampled_from("abc"), WORDS, max_size=2).map(lambda value: json.dumps(value))


@st.composite
def blocks(draw: st.DrawFn, index: int) -> list[Event]:
    """One block of a reply, in pieces."""
    match draw(st.sampled_from(["text", "thinking", "tool"])):
        case "text":
            inside: list[Event] = [TextDelta(text, index) for text in draw(st.lists(VISIBLE, min_size=1, max_size=3))]
        case "thinking":
            inside = [ThinkingDelta(text, "", index) for text in draw(st.lists(WORDS, min_size=1, max_size=3))]
            if draw(st.booleans()):
                inside.append(ThinkingDelta("", "c2ln", index))
        case _:
            given_, cut = draw(INPUTS), draw(st.integers(0, 5))
            pieces = [piece for piece in (given_[:cut], given_[cut:]) if piece]
            inside = [ToolStart(f"t{index}", draw(st.sampled_from(["read", "write"])), index)]
            inside += [ToolDelta(piece, index) for piece in pieces if draw(st.just(True))]
    return [*inside, BlockStop(index)]


@st.composite
def replies(draw: st.DrawFn) -> list[Event]:
    """A whole reply; sometimes the way llama.cpp sends it, with all stops at the end."""
    made = [draw(blocks(index)) for index in range(draw(st.integers(0, 4)))]
    events = [event for block in made for event in block]
    if draw(st.booleans()):
        events = [e for e in events if not isinstance(e, BlockStop)] + [e for e in events if isinstance(e, BlockStop)]
    called = any(isinstance(event, ToolStart) for event in events)
    reason = draw(st.sampled_from([StopReason.TOOL_USE if called else StopReason.END, StopReason.LENGTH]))
    return [Started("", "m"), *events, Finished(reason, draw(USAGES))]


def unnamed(event: Event) -> Event:
    if isinstance(event, Finished):
        return replace(event, native="")
    return replace(event, id="") if isinstance(event, Started) else event


def expected(dialect: str, events: Sequence[Event]) -> list[Event]:
    """What a dialect can say of a reply: chat has one thought, one text and no signatures; messages signs all."""
    found = shown(events)
    if dialect == "messages":
        return [
            replace(event, signature=event.signature or signature(event.text))
            if isinstance(event, ThinkingDelta)
            else event
            for event in found
        ]
    thought = "".join(event.text for event in found if isinstance(event, ThinkingDelta))
    text = "".join(event.text for event in found if isinstance(event, TextDelta))
    tools = [replace(event, index=0) for event in found if isinstance(event, ToolStart | ToolDelta)]
    ends = [event for event in found if isinstance(event, Started | Finished)]
    return [ThinkingDelta(thought), TextDelta(text), *tools, *ends]


def check(dialect: str, events: Sequence[Event], *, usage: bool = True) -> None:
    """Hold a whole encoded stream against the rules that official clients rely on."""
    encoder = FIXED[dialect].encoder("client-model", usage=usage)
    frames = Framer().feed(b"".join(encoder.encode([event]) for event in events))
    assert encoder.encode([TextDelta("late")]) == b""
    if dialect == "messages":
        check_messages([(parse(frame).event.decode(), json.loads(parse(frame).data or b"")) for frame in frames])
    else:
        assert frames[-1] == b"data: [DONE]\n\n"
        check_chat([json.loads(parse(frame).data or b"") for frame in frames[:-1]], usage)


KINDS = {"text": "text_delta", "thinking": "thinking_delta", "tool_use": "input_json_delta"}


def check_messages(frames: list[tuple[str, dict[str, Any]]]) -> None:
    assert all(event == data["type"] for event, data in frames)
    assert [event for event, _ in frames[:2]] == ["message_start", "ping"]
    assert [event for event, _ in frames[-2:]] == ["message_delta", "message_stop"]
    first = frames[0][1]["message"]
    assert first["model"] == "client-model"
    assert first["id"].startswith("msg_")
    required = {"id", "type", "role", "content", "model", "stop_reason", "stop_sequence", "stop_details"}
    assert required | {"usage", "container"} <= first.keys()
    assert {"input_tokens", "output_tokens", "cache_creation", "service_tier", "inference_geo"} <= first["usage"].keys()
    assert {"stop_reason", "stop_sequence", "stop_details", "container"} <= frames[-2][1]["delta"].keys()
    started, kind, signed = 0, "", 0
    for event, data in frames[2:-2]:
        if event == "content_block_start":
            assert not kind
            assert data["index"] == started
            kind, signed, started = data["content_block"]["type"], 0, started + 1
            continue
        assert data["index"] == started - 1
        if event == "content_block_stop":
            assert signed == (kind == "thinking")
            kind = ""
        elif data["delta"]["type"] == "signature_delta":
            assert data["delta"]["signature"]
            signed += 1
        else:
            assert data["delta"]["type"] == KINDS[kind]
            assert not signed
    assert not kind


def check_chat(chunks: list[dict[str, Any]], usage: bool) -> None:
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert chunks[0]["model"] == "client-model"
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    if usage:
        last = chunks.pop()
        assert last["choices"] == []
        assert last["usage"]["total_tokens"] == last["usage"]["prompt_tokens"] + last["usage"]["completion_tokens"]
    assert all(("usage" in chunk) == usage for chunk in chunks)
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons[-1] is not None
    assert set(reasons[:-1]) <= {None}
    inputs: dict[int, str] = {}
    for chunk in chunks:
        for call in chunk["choices"][0]["delta"].get("tool_calls", ()):
            if call.get("id"):
                assert call["index"] == len(inputs)
                inputs[call["index"]] = ""
            inputs[call["index"]] += call["function"]["arguments"]
    assert all(isinstance(json.loads(given_), dict) for given_ in inputs.values())
