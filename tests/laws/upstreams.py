"""Replies as upstreams send them, made at random: each as the frames of a stream and as one body that says the same.

They take the liberties that upstreams were seen to take: pieces of parallel calls mixed, ids and names late or told
again, usage anywhere, words and frames that nobody knows.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import strategies as st

from laws.replies import VISIBLE, WORDS


class Told(NamedTuple):
    """The usage of a reply as an upstream counts it, whatever its names for the counters."""

    prompt: int
    cached: int
    written: int
    output: int
    reasoning: int


class Made(NamedTuple):
    """A reply of an upstream."""

    dialect: str
    frames: list[bytes]
    body: bytes
    told: Told


@st.composite
def counts(draw: st.DrawFn) -> Told:
    """Counters that agree with each other: of what is prompted some is cached, of what is put out some is thought."""
    fresh, cached, written = draw(st.integers(1, 99)), draw(st.integers(0, 99)), draw(st.integers(0, 99))
    output = draw(st.integers(1, 99))
    return Told(fresh + cached + written, cached, written, output, draw(st.integers(0, output)))


INPUTS = st.dictionaries(st.sampled_from("abc"), WORDS, max_size=2).map(json.dumps)


def split(draw: st.DrawFn, text: str) -> list[str]:
    """A text in up to three pieces, none of them empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=2)))
    found = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return [piece for piece in found if piece]


def merged(draw: st.DrawFn, runs: list[list[Any]]) -> list[Any]:
    """Several runs as one, each in its order, and begun one after the other."""
    left, begun, found = [run[:] for run in runs], 0, list[Any]()
    while any(left):
        at = draw(st.sampled_from([at for at, run in enumerate(left[: begun + 1]) if run]))
        begun = max(begun, at + 1)
        found.append(left[at].pop(0))
    return found


# Chat


def chat_usage(told: Told) -> dict[str, Any]:
    """The counters as OpenAI names them."""
    return {
        "prompt_tokens": told.prompt,
        "completion_tokens": told.output,
        "total_tokens": told.prompt + told.output,
        "prompt_tokens_details": {"cached_tokens": told.cached, "cache_write_tokens": told.written},
        "completion_tokens_details": {"reasoning_tokens": told.reasoning},
    }


class _Call(NamedTuple):
    id: str
    name: str
    arguments: str


def _pieces(draw: st.DrawFn, number: int, call: _Call, *, last: bool) -> list[dict[str, Any]]:
    """A call in pieces: its id and name come first, or again and again, or, of the last one, late."""
    parts = split(draw, call.arguments) or [""]
    manner = draw(st.sampled_from(["first", "again", *["late"] * last]))
    if manner == "late":
        parts = ["", *parts]
    found = []
    for at, part in enumerate(parts):
        named = at == (1 if manner == "late" else 0) or (manner == "again" and at > 0)
        function = {"name": call.name if named else None, "arguments": part}
        found.append({"index": number, "id": call.id if named else None, "type": "function", "function": function})
    return found


def _deltas(draw: st.DrawFn, thought: str, text: str, calls: list[_Call]) -> list[dict[str, Any]]:
    """What is said, in pieces; now and then two of them in one chunk."""
    found: list[dict[str, Any]] = [{"reasoning_content": piece} for piece in split(draw, thought)]
    found += [{"content": piece} for piece in split(draw, text)]
    pieces = merged(draw, [_pieces(draw, at, call, last=call is calls[-1]) for at, call in enumerate(calls)])
    found += [{"tool_calls": [piece]} for piece in pieces]
    made: list[dict[str, Any]] = []
    for delta in found:
        if made and not made[-1].keys() & delta.keys() and draw(st.integers(0, 3)) == 0:
            made[-1] = {**made[-1], **delta}
        else:
            made.append(delta)
    return made


@st.composite
def chat(draw: st.DrawFn) -> Made:
    """A reply of an upstream that speaks chat."""
    thought, text = draw(st.one_of(st.just(""), WORDS)), draw(st.one_of(st.just(""), VISIBLE))
    names = st.sampled_from(["read", "write"])
    calls = [_Call(f"c{at}", draw(names), draw(INPUTS)) for at in range(draw(st.integers(0, 3)))]
    finish = draw(st.sampled_from(["stop", "tool_calls" if calls else "stop", "length"]))
    told, number = draw(counts()), draw(st.sampled_from([0, 0, 0, 76]))
    head = {"id": "x", "created": 1, "model": "m", **draw(st.sampled_from([{}, {"object": "chat.completion.chunk"}]))}
    always, place = draw(st.booleans()), draw(st.sampled_from(["finish", "behind", "all"]))
    usage: dict[str, Any] = {"usage": chat_usage(told)}

    def chunk(delta: dict[str, Any], word: str | None) -> dict[str, Any]:
        more = (
            usage
            if place == "all" or (place == "finish" and not delta)
            else draw(st.sampled_from([{}, {"usage": None}]))
        )
        return {**head, "choices": [{"index": number, "delta": delta, "finish_reason": word}], **more}

    deltas = [{"role": "assistant", "content": ""}, *_deltas(draw, thought, text, calls)]
    chunks = [chunk(delta, finish if always and place != "all" and at else None) for at, delta in enumerate(deltas)]
    chunks.append(chunk({}, finish))
    if place == "behind":
        chunks.append({**head, "choices": [], **usage})
    noise = st.sampled_from([b"", b"", b"", b": keep-alive\n\n"])
    frames = [draw(noise) + b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks]
    said = {"role": "assistant", "content": text or None, "reasoning_content": thought}
    asked = [{"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in calls]
    message = said | ({"tool_calls": asked} if asked else {})
    whole = {**head, "choices": [{"index": number, "message": message, "finish_reason": finish}], **usage}
    return Made("chat", [*frames, b"data: [DONE]\n\n"], json.dumps(whole).encode(), told)


# Messages


def messages_usage(told: Told) -> dict[str, Any]:
    """The counters as Anthropic names them."""
    return {
        "input_tokens": told.prompt - told.cached - told.written,
        "cache_read_input_tokens": told.cached,
        "cache_creation_input_tokens": told.written,
        "output_tokens": told.output,
        "output_tokens_details": {"thinking_tokens": told.reasoning},
    }


def _thinking(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    text, signature = draw(WORDS), draw(st.sampled_from(["", "c2ln"]))
    deltas: list[dict[str, Any]] = [{"type": "thinking_delta", "thinking": piece} for piece in split(draw, text)]
    if signature or draw(st.booleans()):
        deltas.append({"type": "signature_delta", "signature": signature})
    whole = {"type": "thinking", "thinking": text, "signature": signature}
    return {"type": "thinking", "thinking": "", "signature": ""}, deltas, whole


def _text(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    text = draw(VISIBLE)
    deltas = [{"type": "text_delta", "text": piece} for piece in split(draw, text)]
    return {"type": "text", "text": ""}, deltas, {"type": "text", "text": text}


def _use(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    written = draw(INPUTS)
    head = {
        "type": "tool_use",
        "id": f"t{draw(st.integers(0, 10**6))}",
        "name": draw(st.sampled_from(["read", "write"])),
    }
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *split(draw, written)]]
    if draw(st.integers(0, 3)) == 0:
        # Some gateways give the whole input at the start, and no delta.
        return {**head, "input": json.loads(written)}, [], {**head, "input": json.loads(written)}
    return {**head, "input": {}}, deltas, {**head, "input": json.loads(written)}


def _server(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    block = {"type": "server_thing", "x": draw(st.integers(0, 9))}
    return block, draw(st.sampled_from([[], [{"type": "novel_delta", "x": 1}]])), block


_BLOCKS: dict[str, Callable[[st.DrawFn], tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]]] = {
    "thinking": _thinking,
    "text": _text,
    "tool_use": _use,
    "server_thing": _server,
}


@st.composite
def messages(draw: st.DrawFn) -> Made:
    """A reply of an upstream that speaks messages."""
    made = [_BLOCKS[draw(st.sampled_from(sorted(_BLOCKS)))](draw) for _ in range(draw(st.integers(0, 4)))]
    called = any(whole["type"] == "tool_use" for _, _, whole in made)
    stop = draw(st.sampled_from(["tool_use" if called else "end_turn", "end_turn", "max_tokens"]))
    told = draw(counts())
    usage = messages_usage(told)
    place = draw(st.sampled_from(["parts", "end", "zeros", "twice"]))
    blocks: list[list[dict[str, Any]]] = []
    for index, (start, deltas, _) in enumerate(made):
        opened = {"type": "content_block_start", "index": index, "content_block": start}
        run = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        blocks.append([opened, *run, {"type": "content_block_stop", "index": index}])
    events = [event for block in blocks for event in block]
    if draw(st.booleans()):
        # llama.cpp closes all blocks at the end.
        stops = [event for event in events if event["type"] == "content_block_stop"]
        events = [event for event in events if event["type"] != "content_block_stop"] + stops
    head = {"id": "x", "type": "message", "role": "assistant", "model": "m"}
    first = {"parts": {**usage, "output_tokens": 1}, "end": {}, "zeros": {"input_tokens": 0, "output_tokens": 0}}
    start = {**head, "content": [], "stop_reason": None, "stop_sequence": None, "usage": first.get(place, usage)}
    last = {"output_tokens": told.output} if place == "parts" else usage
    end = {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": last}
    events = [{"type": "message_start", "message": start}, *events, end, {"type": "message_stop"}]
    noise = [b'event: ping\ndata: {"type": "ping"}\n\n', b'event: novel\ndata: {"type":"novel","x":[1]}\n\n']
    between = st.sampled_from([b"", b"", b"", *noise])
    frames = [
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
        + (draw(between) if at < len(events) - 1 else b"")
        for at, event in enumerate(events)
    ]
    content = [whole for _, _, whole in made]
    whole = {**head, "content": content, "stop_reason": stop, "stop_sequence": None, "usage": usage}
    return Made("messages", frames, json.dumps(whole).encode(), told)


REPLIES = st.one_of(chat(), messages())
