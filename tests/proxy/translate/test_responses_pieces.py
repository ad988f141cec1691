"""Items as pieces of either dialect."""

import json
from typing import Any

import pytest

from responding import request
from trimtab.conversation import DialectName
from trimtab.dialects.responses_blob import Sealed, seal
from trimtab.translate import Kind, pieces

BOTH: tuple[DialectName, ...] = ("chat", "messages")
PNG = "data:image/png;base64,iVBORw0KGgo="


def made(dialect: DialectName, **item: Any) -> list[tuple[Kind, str]]:
    """The kinds and bodies of one item's pieces."""
    [message] = request(input=[item]).messages
    return [(piece.kind, piece.body.decode()) for piece in pieces(message, dialect)]


@pytest.mark.parametrize("dialect", BOTH)
def test_texts_keep_who_said_them(dialect: DialectName) -> None:
    for role, other in (("developer", "system"), ("system", "system"), ("user", "user"), ("assistant", "assistant")):
        [message] = request(input=[{"role": role, "content": "a"}]).messages
        assert [(piece.role, piece.body) for piece in pieces(message, dialect)] == [(other, b"a")]


@pytest.mark.parametrize("dialect", BOTH)
def test_what_nobody_says_is_reported_where_something_is_lost(dialect: DialectName) -> None:
    for kind in ("mcp_call", "image_generation_call", "item_reference"):
        assert made(dialect, type=kind, id="x") == [(Kind.LOST, kind)]
    for kind in ("compaction_trigger", "additional_tools", "tool_search_output"):
        assert made(dialect, type=kind, tools=[]) == []
    foreign = made(dialect, type="compaction", encrypted_content="gAAA")
    assert foreign == [(Kind.TEXT, "[left out by the proxy: compaction]"), (Kind.LOST, "compaction")]
    assert made(dialect, role="user", content=[{"type": "input_audio"}])[1] == (Kind.LOST, "input_audio")
    assert made(dialect, role="assistant", content=[{"type": "odd"}]) == [(Kind.LOST, "odd")]


@pytest.mark.parametrize("dialect", BOTH)
def test_unknown_members_are_reported(dialect: DialectName) -> None:
    assert made(dialect, role="assistant", content="a", phase="commentary")[0] == (Kind.LOST, "phase")
    part = {"type": "output_text", "text": "a", "annotations": [], "logprobs": [], "odd": 1}
    assert made(dialect, role="assistant", content=[part])[0] == (Kind.LOST, "odd")


def test_a_thought_brings_its_signature_back() -> None:
    blob = seal("reasoning", Sealed("hm", "sig"))
    item = {
        "type": "reasoning",
        "id": "r",
        "summary": [{"type": "summary_text", "text": "hm"}],
        "encrypted_content": blob,
    }
    assert made("chat", **item) == [(Kind.THOUGHT, "hm")]
    [(_, body)] = made("messages", **item)
    assert json.loads(body) == {"type": "thinking", "thinking": "hm", "signature": "sig"}
    foreign = made("chat", **{**item, "encrypted_content": "gAAA"})
    assert foreign == [(Kind.LOST, "encrypted_content"), (Kind.THOUGHT, "hm")]
    assert made("chat", **{**item, "encrypted_content": "gAAA", "summary": []}) == [(Kind.LOST, "encrypted_content")]


def test_a_picture_keeps_its_detail_where_there_is_a_place_for_it() -> None:
    item = {"role": "user", "content": [{"type": "input_image", "image_url": PNG, "detail": "high"}]}
    [(_, body)] = made("chat", **item)
    assert json.loads(body)["image_url"] == {"url": PNG, "detail": "high"}
    assert [kind for kind, _ in made("messages", **item)] == [Kind.IMAGE, Kind.LOST]
    [(kind, _), lost] = made("chat", role="user", content=[{"type": "input_image", "file_id": "file_1"}])
    assert (kind, lost) == (Kind.TEXT, (Kind.LOST, "image"))


def test_a_file_is_one_where_it_is_inline() -> None:
    data = "data:application/pdf;base64,AAAA"
    item = {"role": "user", "content": [{"type": "input_file", "file_data": data, "filename": "a.pdf"}]}
    [(kind, body)] = made("chat", **item)
    assert (kind, json.loads(body)["file"]) == (Kind.FILE, {"filename": "a.pdf", "file_data": data})
    [(kind, body)] = made("messages", **item)
    assert json.loads(body)["source"] == {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}
    away = made("chat", role="user", content=[{"type": "input_file", "file_url": "http://x.test/a.pdf"}])
    assert away[1] == (Kind.LOST, "file")


def test_a_failed_patch_says_so_in_either_dialect() -> None:
    item = {"type": "apply_patch_call_output", "call_id": "c", "status": "failed", "output": "no such file"}
    assert made("chat", **item) == [(Kind.RESULT, "Error: no such file")]
    [(_, body)] = made("messages", **item)
    assert [part["text"] for part in json.loads(body)] == ["Error:", "no such file"]


def test_an_empty_system_message_still_opens_the_conversation() -> None:
    assert made("messages", role="developer", content="") == [(Kind.TEXT, "")]
