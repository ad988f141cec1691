"""Cuts in JSON that keep the bytes of what stays."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab_stages.env_json import kept, mark_of, marked, members, replaced, unmarked, value_of

ODD = b'{ "type" :"text",\n"text": "a\\u00e9" , "n":1.50, "list":[1, {"type":2}] }'


def test_members_stand_where_they_stand() -> None:
    assert {name: ODD[start:end] for name, (start, end) in members(ODD).items()} == {
        "type": b'"text"',
        "text": b'"a\\u00e9"',
        "n": b"1.50",
        "list": b'[1, {"type":2}]',
    }


def test_one_member_is_replaced() -> None:
    assert replaced(ODD, "text", b'"b"') == ODD.replace(b'"a\\u00e9"', b'"b"')
    assert value_of(ODD, "n") == b"1.50"
    assert value_of(ODD, "none") == b""


def test_a_member_that_comes_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        members(b'{"a":1,"b":2,"a":3}')


texts = st.text(st.characters(codec="utf-8"), max_size=30)


@given(texts, st.lists(st.integers(0, 30), min_size=4, max_size=4), st.booleans(), st.sampled_from(["", 'f"é']))
def test_pieces_of_a_string(text: str, cuts: list[int], escaped: bool, filler: str) -> None:
    a, b, c, d = sorted(min(cut, len(text)) for cut in cuts)
    literal = json.dumps(text, ensure_ascii=escaped).replace("/", "\\/").encode()
    made = kept(literal, text, [(a, b), (c, d)], filler)
    assert json.loads(made) == text[a:b] + filler + text[c:d]
    assert literal.startswith(kept(literal, text, [(0, a)])[:-1])


def test_pieces_keep_their_spelling() -> None:
    literal = b'"\\u00e9\\/x\\ud83d\\ude00\\n' + "\u00e9".encode() + b'end"'
    text = json.loads(literal)
    assert kept(literal, text, [(0, 2), (3, 5)]) == b'"\\u00e9\\/\\ud83d\\ude00\\n"'
    assert kept(literal, text, [(5, len(text))]) == '"éend"'.encode()
    assert kept(literal, text, [], "new") == b'"new"'


@pytest.mark.parametrize(
    ("raw", "without"),
    [
        (b'{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}', b'{"type":"text","text":"a"}'),
        (b'{ "cache_control" : {"type":"e"} , "type":"text"}', b'{ "type":"text"}'),
        (b'{"type":"text", "cache_control":{}, "text":"a"}', b'{"type":"text", "text":"a"}'),
        (b'{"cache_control":{}}', b"{}"),
    ],
)
def test_a_mark_is_taken_off(raw: bytes, without: bytes) -> None:
    assert unmarked(raw) == without
    assert mark_of(raw) is not None
    assert mark_of(without) is None


def test_a_mark_is_put_on() -> None:
    assert marked(b'{"type":"text" }', b'{"type":"e"}') == b'{"type":"text","cache_control":{"type":"e"}}'


@pytest.mark.parametrize("raw", [b"", b'{"type":"text","text":"\\"cache_control\\": 1"}', b'{"text":"cache_control"}'])
def test_what_is_no_mark(raw: bytes) -> None:
    assert mark_of(raw) is None


def test_a_mark_deeper_inside_is_another_s() -> None:
    assert mark_of(b'{"content":[{"cache_control":{}}]}') is None
