"""What holds for every Responses conversation and every reply to one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import published
from fixtures import FOLDER, compact, needs_recordings
from laws.replies import FIXED, replies
from laws.samples import REPLIES, Sample
from responding import check, replying, told
from translating import CHAT, CHECKED, MESSAGES, SPREAD, ZAI_CHAT, ZAI_MESSAGES, parsed
from translating import check as valid
from trimtab.dialects.responses_request import kind_of
from trimtab.dialects.sse import Framer
from trimtab.errors import UpstreamError
from trimtab.events import Event, Finished, replace
from trimtab.memo import MessageTable
from trimtab.models import Target
from trimtab.splice import scan
from trimtab.translate import translate

TARGETS = (ZAI_CHAT, CHAT, SPREAD, ZAI_MESSAGES, MESSAGES, CHECKED)
HEAD: dict[str, Any] = {"model": "x", "instructions": "be brief"}
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
PNG = "data:image/png;base64,iVBORw0KGgo="
PARTS = st.one_of(
    st.builds(lambda text: {"type": "input_text", "text": text}, WORDS),
    st.sampled_from([{"type": "input_image", "image_url": PNG}, {"type": "input_audio"}, {"type": "input_file"}]),
)
CONTENT = st.one_of(WORDS, st.lists(PARTS, max_size=3))
IDS = st.sampled_from(["call_1", "call_2", "call:3/é", "x" * 70])
NAMES = st.sampled_from(["read", "ns.read", "apply_patch"])
ITEMS = st.one_of(
    st.builds(lambda role, text: {"role": role, "content": text}, st.sampled_from(["user", "developer"]), CONTENT),
    st.builds(
        lambda text: {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}, WORDS
    ),
    st.builds(
        lambda text: {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": text}]}, WORDS
    ),
    st.builds(lambda i, n: {"type": "function_call", "call_id": i, "name": n, "arguments": '{"a":1}'}, IDS, NAMES),
    st.builds(lambda i, text: {"type": "custom_tool_call", "call_id": i, "name": "p", "input": text}, IDS, WORDS),
    st.builds(lambda i, out: {"type": "function_call_output", "call_id": i, "output": out}, IDS, CONTENT),
    st.builds(lambda i, out: {"type": "custom_tool_call_output", "call_id": i, "output": out}, IDS, WORDS),
    st.sampled_from([{"type": "mcp_call", "id": "m"}, {"type": "item_reference", "id": "m"}, {"type": "compaction"}]),
)
SESSIONS = st.lists(ITEMS, min_size=1, max_size=9)


def body(items: Sequence[Any]) -> bytes:
    return compact({**HEAD, "input": items})


def sent(items: Sequence[Any], target: Target, table: MessageTable | None = None) -> bytes:
    return translate(parsed("responses", body(items), table), target).body


def spoken(raw: bytes) -> int:
    """Where what follows the assistant's last turn begins in a translated body; none of the opening may move either."""
    items = scan(raw, ("messages",)).items["messages"]
    said = [message.startswith(b'{"role":"assistant"') for message in items.raws]
    at = len(said) - said[::-1].index(True) if any(said) else 0
    return items.spans[at][0] if at < len(said) else len(raw) - 2


@given(items=SESSIONS, target=st.sampled_from(TARGETS))
def test_any_session_is_valid_and_keeps_what_was_said(items: list[Any], target: Target) -> None:
    made = json.loads(sent(items, target))
    valid(target.dialect, made, schema=False)
    everything = json.dumps([made["messages"], made.get("system")], ensure_ascii=False)
    for item in items:
        if item.get("role") == "user" and isinstance(item["content"], str) and item["content"].strip():
            assert json.dumps(item["content"], ensure_ascii=False)[1:-1] in everything


@given(items=SESSIONS, target=st.sampled_from([CHAT, MESSAGES]))
@settings(max_examples=25, deadline=None)
def test_any_session_fits_the_published_schema(items: list[Any], target: Target) -> None:
    published.asked(target.dialect, json.loads(sent(items, target)))


@given(items=SESSIONS, target=st.sampled_from(TARGETS))
def test_a_longer_session_begins_with_the_bytes_of_the_shorter_one(items: list[Any], target: Target) -> None:
    whole = sent(items, target)
    for count in range(1, len(items)):
        said = [role for item in items[:count] if (role := kind_of(compact(item))[1])]
        if not said or said[-1] == "assistant":
            # A client asks when it has something to say.
            continue
        short = sent(items[:count], target)
        end = spoken(short)
        assert whole[:end] == short[:end]


@given(items=SESSIONS, target=st.sampled_from(TARGETS), room=st.integers(0, 3000))
def test_what_was_forgotten_is_made_again_alike(items: list[Any], target: Target, room: int) -> None:
    small, large = MessageTable(room), MessageTable(10**7)
    for count in range(1, len(items) + 1):
        said = items[:count]
        assert sent(said, target, small) == sent(said, target, large) == sent(said, target)


def recorded() -> list[Path]:
    return sorted((FOLDER / "clients").glob("*/*-responses.json"))


@needs_recordings
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.upstream.name)
def test_recorded_requests_lose_nothing_but_what_only_their_vendor_does(target: Target) -> None:
    files = recorded()
    assert len(files) >= 6
    for file in files:
        raw = compact(json.loads(file.read_text())["body"])
        conversation = parsed("responses", raw)
        assert conversation.render() == raw
        found = translate(conversation, target)
        valid(target.dialect, json.loads(found.body))
        named = {"prompt_cache_key", "client_metadata", "web_search"}
        # The detail of a picture has no place in Anthropic's dialect.
        assert set(found.dropped) <= named | ({"detail"} if target.dialect == "messages" else set()), file.name


@needs_recordings
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.upstream.name)
def test_recorded_turns_of_codex_begin_with_each_other(target: Target) -> None:
    folder = FOLDER / "clients" / "codex"
    for before, after in (("01", "02"), ("03", "04")):
        short, long = (
            translate(
                parsed("responses", compact(json.loads((folder / f"{n}-responses.json").read_text())["body"])), target
            ).body
            for n in (before, after)
        )
        assert len(short) > 30_000
        assert long.startswith(short[:-2])


def streamed(events: Sequence[Event], **members: Any) -> bytes:
    return replying(**members).encoder("m", usage=False).encode(events)


@given(events=replies(), sealed=st.booleans())
def test_any_reply_obeys_the_grammar_and_is_the_same_whole(events: list[Event], sealed: bool) -> None:
    include = ["reasoning.encrypted_content"] if sealed else []
    events = [
        replace(event, native=event.native or "stop") if isinstance(event, Finished) else event for event in events
    ]
    found = told(streamed(events, include=include))
    last = check(found, schema=False)
    assert json.loads(replying(include=include).fold(events, "m")) == last


@given(events=replies(), cut=st.integers(0, 30))
def test_a_reply_that_stops_has_no_end_and_no_half_call(events: list[Event], cut: int) -> None:
    dialect = replying()
    encoder = dialect.encoder("m", usage=False)
    kept = [event for event in events if not isinstance(event, Finished)][:cut]
    found = told(encoder.encode(kept) + dialect.error_frame(UpstreamError("broke off"), "r"))
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert [event["type"] for event in found if event["type"] in ("response.completed", "response.incomplete")] == []
    assert found[-1]["type"] == "response.failed"
    for event in found:
        if event["type"] == "response.output_item.done" and event["item"]["type"] == "function_call":
            json.loads(event["item"]["arguments"])


@pytest.mark.parametrize("sample", REPLIES.values(), ids=REPLIES)
def test_recorded_replies_obey_the_grammar_and_the_schemas(sample: Sample) -> None:
    decoder = FIXED[sample.dialect].decoder(lambda _: True)
    events = [event for frame in Framer().feed(sample.stream) for event in decoder.decode(frame)]
    events += decoder.finish()
    last = check(told(streamed(events)))
    assert last["status"] in ("completed", "incomplete")


@pytest.mark.parametrize("target", [ZAI_CHAT, ZAI_MESSAGES], ids=["chat", "messages"])
def test_a_turn_translates_its_new_items_only(target: Target) -> None:
    """Promise 4: items and the turns made of several of them are found again with what was made of them."""
    items: list[Any] = [{"role": "user", "content": "go"}]
    for turn in range(3):
        calls = [{"type": "function_call", "call_id": f"{turn}{n}", "name": "read", "arguments": "{}"} for n in "ab"]
        outputs = [{"type": "function_call_output", "call_id": f"{turn}{n}", "output": "x"} for n in "ab"]
        thought = [{"type": "summary_text", "text": f"hm {turn}"}]
        items += [{"type": "reasoning", "id": f"r{turn}", "summary": thought}, *calls, *outputs]
    table, key = MessageTable(10**7), f"said:{target.dialect}"
    first = parsed("responses", body(items), table)
    translate(first, target)
    made = [message.notes[key] for message in first.messages]
    rendered = [said.rendering for said in made]
    assert sum(rendering is not None for rendering in rendered) >= 6
    second = parsed("responses", body([*items, {"role": "user", "content": "more"}]), table)
    translate(second, target)
    assert all(message.notes[key] is said for message, said in zip(second.messages, made, strict=False))
    # The last turn of the first request has grown.
    assert all(said.rendering is before for said, before in zip(made[:14], rendered[:14], strict=True))
