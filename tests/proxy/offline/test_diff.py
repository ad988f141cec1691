"""Edits as people read them."""

import time
from collections import Counter
from typing import Any

import msgspec

from trimtab.conversation import Message
from trimtab.dialects import DIALECTS
from trimtab.exchange import Edit
from trimtab.offline.diff import LONGEST, lines, readable, shortened


def message(content: Any) -> Message:
    return Message(DIALECTS["messages"], "user", msgspec.json.encode({"role": "user", "content": content}))


def changed(before: str, after: str) -> list[str]:
    return lines(Edit("s", "r", index=0, before=message(before), after=message(after)))


def test_a_change_is_shown_with_a_line_around_it() -> None:
    edit = Edit("s", "r", index=0, before=message("a\nb\nc\nd\ne"), after=message("a\nb\nx\ne"))
    assert lines(edit) == ["  b", "- c", "- d", "+ x", "  e"]


def test_a_removed_message_is_all_gone() -> None:
    assert lines(Edit("s", "r", index=0, before=message("a\nb"), after=None)) == ["- a", "- b"]


def test_a_moved_mark_changes_nothing_a_model_reads() -> None:
    marked = message([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}])
    edit = Edit("s", "r", index=0, before=message([{"type": "text", "text": "a"}]), after=marked)
    assert lines(edit) == ["  (only cache marks or spelling differ)"]


def test_members_are_shown_as_json() -> None:
    assert lines(Edit("s", "r", member="model", before=b'"a"', after=b'"b"')) == ['- "a"', '+ "b"']
    assert lines(Edit("s", "r", member="thinking", before=None, after=b"{}")) == ["+ {}"]


def test_what_is_no_text_is_told_by_its_size() -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "out"}, picture]}
    call = {"type": "tool_use", "id": "t1", "name": "ls", "input": {"a": 1}}
    other = {"type": "unheard_of"}
    assert readable(message([call, result, other])) == [
        '[call ls] {"a":1}',
        "[result of t1]",
        "out",
        "[image image/png, 4 characters of base64]",
        "[unheard_of, 21 bytes]",
    ]


def test_a_message_that_cannot_be_read_is_shown_as_it_is() -> None:
    assert readable(message(5)) == ['{"role":"user","content":5}']


def test_lines_fit_and_drive_no_terminal() -> None:
    assert shortened("\x1b[2Ja\tb") == "\\x1b[2Ja   b"
    assert shortened("x" * 500) == "x" * (LONGEST - 1) + "…"


def test_many_lines_that_are_alike_take_no_time() -> None:
    """60,000 equal lines cut in their middle, and two texts of 5,000 lines that have nothing in common."""
    many, begun = "a line\n" * 60_000, time.process_time()
    cut = changed(many, many[:7_000] + "[cut]\n" + many[-7_000:])
    assert Counter(cut) == {"  a line": 2, "- a line": 58_000, "+ [cut]": 1}
    other = changed("top\n" + "one\n" * 5_000 + "end", "top\n" + "two\n" * 5_000 + "end")
    assert other == ["  top", *["- one"] * 5_000, *["+ two"] * 5_000, "  end"]
    assert time.process_time() - begun < 5
