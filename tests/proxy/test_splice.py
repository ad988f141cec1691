"""Spans of a body, and the body with some of them replaced."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import BadRequest
from trimtab.splice import array, decode, mend, scan, skip_value, splice

SPACED = b'\n{ "a" : 1 ,\t"b":[ 1 , {"c":"]"} ,"}" ] , "d" : { "e":[{}] } }\r\n'


def members(body: bytes, **changes: bytes | None) -> bytes:
    return splice(scan(body, ()), changes, {})


def items(body: bytes, *new: bytes) -> bytes:
    return splice(scan(body, ("b",)), {}, {"b": new})


def test_the_spans_of_a_body() -> None:
    found = scan(SPACED, ("b",))
    assert [found.value(name) for name in ("a", "b", "d", "x")] == [
        b"1",
        b'[ 1 , {"c":"]"} ,"}" ]',
        b'{ "e":[{}] }',
        None,
    ]
    assert found.items["b"].raws == (b"1", b'{"c":"]"}', b'"}"')
    assert [SPACED[start:end] for start, end in found.items["b"].spans] == list(found.items["b"].raws)


def test_nothing_changed_is_the_same_bytes() -> None:
    assert members(SPACED) is SPACED
    assert items(SPACED, b"1", b'{"c":"]"}', b'"}"') == SPACED


def test_a_member_is_replaced_where_it_stands() -> None:
    assert members(SPACED, a=b"22") == SPACED.replace(b"1 ,\t", b"22 ,\t")


def test_a_member_is_added_behind_the_others() -> None:
    assert members(SPACED, x=b"7") == SPACED.replace(b"[{}] } }", b'[{}] },"x":7 }')
    assert members(b"{}", x=b"7") == b'{"x":7}'
    assert members(b"{ }", x=b"7", y=b"8") == b'{"x":7,"y":8 }'
    assert members(b"{}", x=None) == b"{}"


def test_a_member_is_removed_with_its_comma() -> None:
    assert members(b'{"a":1, "b":2, "c":3}', a=None) == b'{"b":2, "c":3}'
    assert members(b'{"a":1, "b":2, "c":3}', b=None) == b'{"a":1, "c":3}'
    assert members(b'{"a":1, "b":2, "c":3}', c=None) == b'{"a":1, "b":2}'
    assert members(b'{"a":1, "b":2, "c":3}', b=None, c=None) == b'{"a":1}'
    assert members(b'{ "a":1 }', a=None) == b"{  }"


def test_items_are_replaced_where_they_stand() -> None:
    assert items(SPACED, b"1", b"2", b'"}"') == SPACED.replace(b'{"c":"]"}', b"2")


def test_more_or_fewer_items_keep_the_separators() -> None:
    assert items(b'{"b":[ 1 , 2 ]}', b"1", b"2", b"3") == b'{"b":[ 1 , 2,3 ]}'
    assert items(b'{"b":[ 1 , 2 ]}', b"2") == b'{"b":[ 2 ]}'
    assert items(b'{"b":[ 1 , 2 ]}') == b'{"b":[]}'
    assert items(b'{"b":[ ]}', b"1", b"2") == b'{"b":[1,2]}'
    assert array(scan(b'{"b":[1, 2]}', ("b",)), "b", [b"0", b"1"]) == b"[0, 1]"


def test_a_string_or_array() -> None:
    assert scan(b'{"s":"text"}', ("s?",)).items == {}
    assert scan(b'{"s":[1]}', ("s?",)).items["s"].raws == (b"1",)
    assert scan(b'{"s":null}', ("s",)).items == {}


@pytest.mark.parametrize("body", [b'{"b":[1],"b":[1]}', b'{"b":[1],"b":[2]}', b'{"b":[],"b":null}', b'{"b":1,"b":[1]}'])
def test_a_repeated_array_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match=r"occurs twice|wrong type"):
        scan(body, ("b",))


def test_other_repeats_are_told() -> None:
    assert scan(b'{"a":1,"a":2,"\\u0061":3}', ()).repeated == {"a"}


@pytest.mark.parametrize("body", [b"", b"[]", b"3", b'{"a":}', b'{"a":1}{', b'{"a":"\xff"}', b'{"b":{}}'])
def test_what_is_no_such_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        scan(body, ("a", "b"))


@pytest.mark.parametrize("broken", [b'"open', b"[1", b"{", b","])
def test_a_value_without_end_is_refused(broken: bytes) -> None:
    with pytest.raises(BadRequest, match="not valid JSON"):
        skip_value(broken, 0)


def test_decode_names_the_place() -> None:
    with pytest.raises(BadRequest, match="'x' has a value of the wrong type"):
        decode(b"3", str, "'x'")


@pytest.mark.parametrize(
    ("text", "fixed", "count"),
    [
        (b'"\\ud83d"', b'"\\ufffd"', 1),
        (b'"\\uDE80\\ud83d"', b'"\\ufffd\\ufffd"', 2),
        (b'"\\ud83d\\ude80"', b'"\\ud83d\\ude80"', 0),
        (b'"\\\\ud83d"', b'"\\\\ud83d"', 0),
        (b'"\\\\\\ud83d"', b'"\\\\\\ufffd"', 1),
        (b'"plain"', b'"plain"', 0),
    ],
)
def test_lone_surrogates_are_mended_in_place(text: bytes, fixed: bytes, count: int) -> None:
    assert mend(text) == (fixed, count)
    json.loads(fixed).encode()


NAMES = st.one_of(
    st.sampled_from(["a", "b", 'q"', "\\", "é"]), st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)
GAPS = st.text(" \t\r\n", max_size=2)


@st.composite
def objects(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """A JSON object with any space between its tokens, and its value."""
    value = draw(st.dictionaries(NAMES, VALUES, max_size=5))

    def spaced(item: Any) -> str:
        if isinstance(item, dict):
            inner = ",".join(f"{gap()}{json.dumps(k)}{gap()}:{gap()}{spaced(v)}{gap()}" for k, v in item.items())
            return "{" + (inner or gap()) + "}"
        if isinstance(item, list):
            return "[" + (",".join(f"{gap()}{spaced(v)}{gap()}" for v in item) or gap()) + "]"
        return json.dumps(item, ensure_ascii=draw(st.booleans()))

    def gap() -> str:
        return draw(GAPS)

    return (gap() + spaced(value) + gap()).encode(), value


@given(made=objects(), changes=st.dictionaries(NAMES, st.one_of(st.none(), st.just(1), st.just("new")), max_size=4))
def test_splicing_members_is_changing_the_value(made: tuple[bytes, dict[str, Any]], changes: dict[str, Any]) -> None:
    body, value = made
    told = {name: None if new is None else json.dumps(new).encode() for name, new in changes.items()}
    after = splice(scan(body, ()), told, {})
    wanted = {name: new for name, new in {**value, **changes}.items() if name not in changes or new is not None}
    assert json.loads(after) == wanted


@given(made=objects(), new=st.lists(st.integers(), max_size=4))
def test_splicing_items_is_changing_the_list(made: tuple[bytes, dict[str, Any]], new: list[int]) -> None:
    body, value = made
    lists = [name for name, item in value.items() if isinstance(item, list) and name.isidentifier()]
    for name in lists:
        scanned = scan(body, (f"{name}?",))
        assert [json.loads(raw) for raw in scanned.items[name].raws] == value[name]
        after = splice(scanned, {}, {name: [str(number).encode() for number in new]})
        assert json.loads(after) == {**value, name: new}


@pytest.mark.parametrize(
    ("body", "drop", "left"),
    [
        (b'{"foo":1,"x":1,"y":2,"x":3,"z":4}', ["foo"], b'{"x":1,"y":2,"x":3,"z":4}'),
        (b'{"foo":1,"x":1,"foo":2}', ["foo"], b'{"x":1}'),
        (b'{"x":1,"foo":1, "foo":2 }', ["foo"], b'{"x":1 }'),
        (b'{"x":1,"y":2,"x":3}', ["x"], b'{"y":2}'),
        (b'{"foo":1,"foo":2}', ["foo"], b"{}"),
    ],
)
def test_a_member_is_removed_wherever_it_occurs_and_nothing_else(body: bytes, drop: list[str], left: bytes) -> None:
    assert splice(scan(body, ()), dict.fromkeys(drop), {}) == left
