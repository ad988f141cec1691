"""Where a message's block stands, and the message without parts of it."""

import json
from typing import Any

import pytest

from trimtab.api import Message
from trimtab.testing import StageBench
from trimtab_stages.env_blocks import ENVIRONMENT
from trimtab_stages.env_places import SUPERSEDED, can_move, edited, find, has_carrier, marked_outside, marks_behind

TAGS = [ENVIRONMENT]
BLOCK = "<environment_details>\n# Current Time\n1\n\n# Recently Modified Files\na.py\n</environment_details>"
LEFT = "<environment_details>\n# Recently Modified Files\na.py\n</environment_details>"
MARK = {"cache_control": {"type": "ephemeral"}}
DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a page"}}
IMAGE: dict[str, Any] = {"type": "image", "source": {}}


def text(value: str, **more: Any) -> dict[str, Any]:
    """A part of text."""
    return {"type": "text", "text": value, **more}


def result(content: Any, **more: Any) -> dict[str, Any]:
    """A tool's result."""
    return {"type": "tool_result", "tool_use_id": "c1", "content": content, **more}


def message(content: Any, role: str = "user", dialect: str = "messages", **more: Any) -> Message:
    """A message that the dialect read."""
    raw = content if isinstance(content, bytes) else json.dumps({"role": role, **more, "content": content}).encode()
    body = b'{"model":"small","max_tokens":1,"messages":[' + raw + b"]}"
    return StageBench().exchange(body, dialect=dialect).received.messages[0]


def tool(content: Any) -> Message:
    """A message of the chat dialect with a tool's output."""
    return message(content, role="tool", dialect="chat", tool_call_id="c1")


def without(found: Message, *gone: int) -> Any:
    """The content that leaves without some sections."""
    place = find(found, TAGS)
    assert place is not None
    return json.loads(edited(found, place, frozenset(gone), TAGS).raw)["content"]


@pytest.mark.parametrize(
    ("content", "left"),
    [
        (BLOCK, LEFT),
        (f"hi é\n\n{BLOCK}\n", f"hi é\n\n{LEFT}\n"),
        ([text("hi"), text(BLOCK)], [text("hi"), text(LEFT)]),
        ([text("hi"), text(BLOCK), IMAGE], [text("hi"), text(LEFT), IMAGE]),
        ([text("hi"), f"\n\n{BLOCK}"], [text("hi"), f"\n\n{LEFT}"]),
        ([result("ok"), text(BLOCK)], [result("ok"), text(LEFT)]),
        ([result(f"ok\n\n{BLOCK}")], [result(f"ok\n\n{LEFT}")]),
        ([result([text("a"), text(BLOCK)])], [result([text("a"), text(LEFT)])]),
        ([result(BLOCK), result(f"ok\n\n{BLOCK}")], [result(BLOCK), result(f"ok\n\n{LEFT}")]),
    ],
)  # fmt: skip
def test_a_section_goes(content: Any, left: Any) -> None:
    assert without(message(content), 0) == left


@pytest.mark.parametrize(
    ("content", "left"),
    [
        (BLOCK, SUPERSEDED),
        (f"hi\n\n{BLOCK}", "hi\n\n"),
        ([text(f"\n\n{BLOCK}")], [text(SUPERSEDED)]),
        ([text("hi"), text(f"\n\n{BLOCK}\n")], [text("hi")]),
        ([result("ok"), text(BLOCK)], [result("ok")]),
        ([result(BLOCK)], [result(SUPERSEDED)]),
        ([result([text(BLOCK)])], [result([text(SUPERSEDED)])]),
        ([result([text("a"), text(BLOCK)])], [result([text("a")])]),
        ([text(f"quoted\n\n{BLOCK}"), text(BLOCK)], [text(f"quoted\n\n{BLOCK}"), text(SUPERSEDED)]),
        ([result(f"ok\n\n{BLOCK}"), text(BLOCK)], [result(f"ok\n\n{BLOCK}"), text(SUPERSEDED)]),
        (f"quoted\n\n{BLOCK}\n\n{BLOCK}", f"quoted\n\n{BLOCK}\n\n{SUPERSEDED}"),
    ],
)
def test_a_block_goes(content: Any, left: Any) -> None:
    assert without(message(content), 0, 1) == left


@pytest.mark.parametrize(
    ("content", "left"),
    [(f"ok\n\n{BLOCK}", f"ok\n\n{LEFT}"), ([text(f"ok\n\n{BLOCK}")], [text(f"ok\n\n{LEFT}")])],
)
def test_a_tool_message_of_chat(content: Any, left: Any) -> None:
    assert without(tool(content), 0) == left
    assert without(tool(BLOCK), 0, 1) == SUPERSEDED


def test_a_block_in_a_text_that_a_client_joined() -> None:
    """One line break stands between the parts (context.md 2.3); a list of one text is the same message."""
    joined = f"do it\n{BLOCK}"
    assert without(message(joined, dialect="chat"), 0) == f"do it\n{LEFT}"
    assert without(message([text(joined)]), 0) == [text(f"do it\n{LEFT}")]
    for found in (
        message(f"do it {BLOCK}"), message(f"```\n{BLOCK}"), message([text("see"), text(f"this:\n{BLOCK}")]),
        tool(f"1 | a\n{BLOCK}"), message([result(f"1 | a\n{BLOCK}")]),
    ):  # fmt: skip
        assert find(found, TAGS) is None


def test_what_stays_keeps_its_bytes() -> None:
    escaped = json.dumps(f"h\u00e9 \U0001f600\n\n{BLOCK}").replace("h", "\\u0068", 1).encode()
    raw = b'{ "content" : ' + escaped + b' , "role":"user", "x": 1.0 }'
    found = message(raw, dialect="chat")
    place = find(found, TAGS)
    assert place is not None
    out = edited(found, place, frozenset({0}), TAGS).raw
    assert out == raw.replace(b"# Current Time\\n1\\n\\n", b"")
    odd = b'{"role":"user","content":[ {"text" : ' + escaped + b', "type":"text", "n":[ ] } ]}'
    found = message(odd)
    place = find(found, TAGS)
    assert place is not None
    assert edited(found, place, frozenset({0}), TAGS).raw == odd.replace(b"# Current Time\\n1\\n\\n", b"")


@pytest.mark.parametrize(
    ("content", "left"),
    [
        ([text("hi"), text(BLOCK, **MARK)], [text("hi", **MARK), text(LEFT)]),
        ([result("ok"), text(BLOCK, **MARK)], [result("ok", **MARK), text(LEFT)]),
        ([text("a"), text("b", **MARK), text(BLOCK, **MARK)], [text("a", **MARK), text("b", **MARK), text(LEFT)]),
        (
            [text("hi"), text(BLOCK), {**IMAGE, **MARK}],
            [text("hi", **MARK), text(LEFT), IMAGE],
        ),
        ([result("a"), result(f"b\n\n{BLOCK}", **MARK)], [result("a", **MARK), result(f"b\n\n{LEFT}")]),
        # A document is never changed.
        ([text("hi"), DOCUMENT, text(BLOCK, **MARK)], [text("hi", **MARK), DOCUMENT, text(LEFT)]),
    ],
)
def test_marks_stand_before_the_block(content: Any, left: Any) -> None:
    found = message(content)
    place = find(found, TAGS)
    assert place is not None
    assert has_carrier(found, place)
    assert can_move(found, place)
    assert without(found, 0) == left


def test_two_marks_keep_their_order() -> None:
    long = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    out = without(message([text("a"), text("b"), text(BLOCK, **long), {**IMAGE, **MARK}]), 0)
    assert out == [text("a", **long), text("b", **MARK), text(LEFT), IMAGE]


@pytest.mark.parametrize(
    "content",
    [
        [text(BLOCK, **MARK)],
        [text("a", **MARK), text(BLOCK, **MARK)],
        [{"type": "thinking", "thinking": "a", "signature": "b"}, text(BLOCK, **MARK)],
        [{"type": "novel"}, text(BLOCK, **MARK)],
        [result("a"), result([text(BLOCK, **MARK)])],
    ],
)
def test_marks_that_find_no_block(content: Any) -> None:
    found = message(content)
    place = find(found, TAGS)
    assert place is not None
    assert marks_behind(found, place) == 1
    assert not can_move(found, place)


def test_a_mark_on_the_message_itself() -> None:
    assert marked_outside(message([text("a"), text(BLOCK)], dialect="chat", cache_control={}))
    assert not marked_outside(message([text("a"), text(BLOCK, **MARK)], dialect="chat"))


@pytest.mark.parametrize(
    "found",
    [
        message([text(BLOCK)], role="assistant"),
        message(BLOCK, role="system", dialect="chat"),
        message([text(BLOCK), text("and now?")]),
        message([result(f"{BLOCK}\n\n1 | more of the file")]),
        message([result(f"1 | {BLOCK}")]),
        message([result(f"ok\n\n{BLOCK}"), text("what is this?")]),
        message([result([])]),
        message([{"type": "novel", "text": BLOCK}]),
        message([]),
    ],
)
def test_no_place(found: Message) -> None:
    assert find(found, TAGS) is None
