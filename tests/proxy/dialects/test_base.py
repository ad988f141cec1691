"""Reading a request body."""

import json
from typing import Any

import pytest

from trimtab.conversation import Conversation, Text
from trimtab.dialects import DIALECTS
from trimtab.errors import BadRequest, Cause
from trimtab.memo import BIG, MessageTable

BOTH = pytest.mark.parametrize("dialect", ["chat", "messages"])
GOOD = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def parse(dialect: str, body: bytes | dict[str, Any]) -> Conversation:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return DIALECTS[dialect].parse(raw, MessageTable(10**6))


def refusal(dialect: str, body: bytes | dict[str, Any]) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(dialect, body)
    assert caught.value.cause is Cause.MALFORMED
    return caught.value


@BOTH
def test_a_good_body(dialect: str) -> None:
    found = parse(dialect, {**GOOD, "stream": True, "tools": []})
    assert (found.dialect, found.model, found.stream, found.tools, found.mended) == (dialect, "m", True, (), 0)
    assert found.messages[0].blocks == (Text(text="hi"),)


@BOTH
@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 3}, "model"),
        ({"messages": None}, "messages"),
    ],
)
def test_what_is_missing_is_named(dialect: str, change: dict[str, Any], param: str) -> None:
    error = refusal(dialect, {**GOOD, **change})
    assert error.param == param
    assert f"'{param}'" in error.message


@BOTH
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"not json",
        b'{"model":"m","messages":"hi"}',
        b'{"model":"m","messages":{}}',
        b'{"model":"m","messages":[3]}',
        b'{"model":"m","messages":[{"content":"no role"}]}',
        b'{"model":"m","messages":[{"role":3}]}',
        b'{"model":"m","messages":[],"tools":3}',
        b'{"model":"m","messages":[]} trailing',
        b'{"model":"m","messages":[],"user":"\xff"}',
        b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}',
        b'{"model":"m","messages":[],"user":"\x00"}',
        b"\x00" * 10,
        b"[" * 100_000,
        b'{"model":"m","messages":[],"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model":"m","messages":[{"role":"user","content":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}",
    ],
)
def test_what_cannot_be_read_is_refused(dialect: str, body: bytes) -> None:
    assert refusal(dialect, body).message


@BOTH
@pytest.mark.parametrize("name", ["model", "messages", "tools", "stream", "temperature"])
def test_a_member_that_we_read_may_not_repeat(dialect: str, name: str) -> None:
    value = b"[]" if name in ("messages", "tools") else b'"m"'
    body = b'{"model":"m","messages":[],"%s":%s,"%s":%s}' % (name.encode(), value, name.encode(), value)
    error = refusal(dialect, body)
    assert f"'{name}' occurs twice" in error.message


@BOTH
def test_a_repeated_member_behind_an_escape_is_the_same_member(dialect: str) -> None:
    refusal(dialect, b'{"model":"m","messages":[],"\\u006dodel":"n"}')


@BOTH
def test_a_member_that_we_do_not_know_may_repeat(dialect: str) -> None:
    body = b'{"model":"m","messages":[],"x":1,"x":2}'
    assert parse(dialect, body).render() == body


@BOTH
def test_lone_surrogates_are_mended(dialect: str) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"a \\ud83d b \\ud83d\\ude80 c \\\\ud83d"}]}'
    found = parse(dialect, body)
    assert found.mended == 1
    assert found.messages[0].blocks == (Text(text="a \ufffd b 🚀 c \\ud83d"),)
    assert found.render() == body.replace(b"a \\ud83d", b"a \\ufffd")


@BOTH
def test_an_escaped_nul_is_text(dialect: str) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"\\u0000"}]}'
    found = parse(dialect, body)
    assert found.messages[0].blocks == (Text(text="\0"),)
    assert found.render() == body


@BOTH
@pytest.mark.parametrize(
    ("content", "place"), [(3, "content"), ({"a": 1}, "content"), (["a", 3], "content[1]"), ([[]], "content[0]")]
)
def test_content_of_a_wrong_shape_is_refused_when_asked_for(dialect: str, content: Any, place: str) -> None:
    found = parse(dialect, {"model": "m", "messages": [{"role": "user", "content": content}]})
    with pytest.raises(BadRequest, match="send") as caught:
        _ = found.messages[0].blocks
    assert caught.value.param == place


@BOTH
def test_a_part_of_a_wrong_shape_is_refused_with_its_place(dialect: str) -> None:
    message = {"role": "user", "content": ["a", {"type": "text", "text": 3}]}
    with pytest.raises(BadRequest, match=r"content\[1\].*wrong type"):
        _ = parse(dialect, {"model": "m", "messages": [message]}).messages[0].blocks


@BOTH
def test_a_frame_or_body_is_renamed_in_place(dialect: str) -> None:
    codec = DIALECTS[dialect]
    assert codec.rename(b'{"id":"x", "model" : "theirs","a":1}', "mine") == b'{"id":"x", "model" : "mine","a":1}'
    assert codec.rename(b'{"id":"x"}', "mine") == b'{"id":"x"}'
    two = b'{"content":[{"input":{"model":"car"}}],"model":"theirs"}'
    assert codec.rename(two, "mine") == two.replace(b"theirs", b"mine")


@BOTH
def test_who_says_a_large_message_is_read_with_the_first_step(dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any thread may do that one; behind it, nothing on the loop goes through the message again."""
    found, table = DIALECTS[dialect], MessageTable(10 * BIG)
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "x" * (BIG + 1)}]
    raw = json.dumps({"model": "m", "messages": said}).encode()
    cut = found.cut(raw, table.recent, None)
    read: list[int] = []
    role = type(found).role

    def noting(self: Any, raw: bytes, place: str) -> str:
        read.append(len(raw))
        return role(self, raw, place)

    monkeypatch.setattr(type(found), "role", noting)
    assert [message.role for message in found.parse(raw, table, cut).messages] == ["user", "assistant"]
    assert len(read) == 1
    assert read[0] < BIG
    longer = json.dumps({"model": "m", "messages": [*said, said[0]]}).encode()
    assert found.cut(longer, table.recent, found.parting(longer, table.recent)).roles == {}


@BOTH
def test_a_large_message_of_nobody_is_refused_with_its_place(dialect: str) -> None:
    raw = json.dumps({"model": "m", "messages": [{"role": 5, "content": "x" * (BIG + 1)}]}).encode()
    with pytest.raises(BadRequest, match=r"messages\[0\] has a value of the wrong type"):
        DIALECTS[dialect].cut(raw, MessageTable(9).recent, None)
    text = b'{"model":"m","messages":[{"role":"user","content":"\xff' + b"x" * BIG + b'"}]}'
    with pytest.raises(BadRequest, match=r"UTF-8"):
        DIALECTS[dialect].cut(text, MessageTable(9).recent, None)
