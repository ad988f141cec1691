"""Tools of a Responses request as functions."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.dialects.responses_tools import FREEFORM, TYPED, Offers, flat_name, offered
from trimtab.errors import BadRequest


def offer(*tools: Any) -> Offers:
    return offered(tuple(json.dumps(tool).encode() for tool in tools))


def function(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": {"type": "object"}, **more}


def test_functions_keep_their_name_schema_and_strictness() -> None:
    [found] = offer(function("read", description="d", strict=True)).tools.values()
    assert found == ("read", "function", "read", "", "d", {"type": "object"}, True)


def test_a_namespace_is_part_of_the_name_and_its_description_is_told_once() -> None:
    space = {"type": "namespace", "name": "mcp__x", "description": "about x", "tools": [function("a"), function("b")]}
    found = offer(function("a"), space).tools
    assert [(name, tool.name, tool.namespace) for name, tool in found.items()] == [
        ("a", "a", ""),
        ("mcp__x__a", "a", "mcp__x"),
        ("mcp__x__b", "b", "mcp__x"),
    ]
    assert [tool.description for tool in found.values()] == ["", "(mcp__x: about x)", ""]


def test_of_two_tools_of_one_name_the_first_wins_and_the_other_is_told() -> None:
    space = {"type": "namespace", "name": "ns", "tools": [function("a")]}
    found = offer(function("ns__a", description="top"), space)
    assert (found.tools["ns__a"].description, found.lost) == ("top", ("ns__a",))


def test_a_freeform_tool_takes_one_text_and_tells_its_grammar() -> None:
    form = {"type": "grammar", "syntax": "lark", "definition": "start: x"}
    [found] = offer({"type": "custom", "name": "apply_patch", "description": "Edits.", "format": form}).tools.values()
    assert found.parameters == FREEFORM
    assert found.description == "Edits.\n\n`input` must follow this lark grammar:\nstart: x"
    [bare] = offer({"type": "custom", "name": "p", "format": {"type": "text"}}).tools.values()
    assert bare.description == ""


@pytest.mark.parametrize("kind", sorted(TYPED))
def test_tools_known_by_their_type_get_their_published_input(kind: str) -> None:
    [found] = offer({"type": kind, "execution": "client"}).tools.values()
    assert (found.flat, found.kind, found.parameters) == (kind, kind, TYPED[kind][1])


def test_what_only_its_vendor_runs_and_what_is_none_is_told() -> None:
    found = offer({"type": "web_search"}, {"type": "tool_search"}, "x", {"type": "mcp", "server_label": "s"})
    assert (dict(found.tools), found.lost) == ({}, ("web_search", "tool_search", "tools", "mcp"))
    assert offered((b"{",)).lost == ("tools",)


names = st.text("ab_.é", min_size=1, max_size=6) | st.text("a", min_size=60, max_size=70)


@given(st.lists(st.tuples(st.just("") | names, names), unique=True, max_size=8))
def test_names_fit_every_dialect_and_no_two_in_namespaces_become_one(pairs: list[tuple[str, str]]) -> None:
    inside = [(space, name) for space, name in pairs if space]
    made = [flat_name(name, space) for space, name in inside]
    assert len(set(made)) == len(made)
    outside = [flat_name(name) for space, name in pairs if not space]
    assert len(set(outside)) == len(outside)
    for name in (*made, *outside):
        assert 0 < len(name) <= 64
        assert name.replace("_", "").replace("-", "").isalnum() or set(name) <= {"_", "-"}


def test_a_namespace_without_a_list_is_refused() -> None:
    with pytest.raises(BadRequest, match="the namespace 'a' is no list of tools") as caught:
        offered((b'{"type":"namespace","name":"a","tools":5}',))
    assert caught.value.param == "tools"
    assert offered((b'{"type":"namespace","name":"a","tools":null}',)).tools == {}
