"""Output items while they grow and when they are done."""

import json
from typing import Any

import pytest

from trimtab.dialects.responses_blob import Sealed, unseal
from trimtab.dialects.responses_items import CustomItem, Item, MessageItem, ReasoningItem, TypedItem, call_item
from trimtab.dialects.responses_tools import Offer


def steps(item: Item, *texts: str) -> list[tuple[str, Any]]:
    """All that an item shows, each with what it says."""
    found = [*item.begin(), *(step for text in texts for step in item.grow(text)), *item.end()]
    words = ("delta", "text", "arguments", "input")
    return [(kind, next((members[word] for word in words if word in members), None)) for kind, members in found]


def test_a_message_is_one_part_of_text() -> None:
    item = MessageItem()
    assert item.value("in_progress")["content"] == []
    assert steps(item, "a", "b") == [
        ("content_part.added", None),
        ("output_text.delta", "a"),
        ("output_text.delta", "b"),
        ("output_text.done", "ab"),
        ("content_part.done", None),
    ]
    [part] = item.value("completed")["content"]
    assert part == {"type": "output_text", "text": "ab", "annotations": [], "logprobs": []}


@pytest.mark.parametrize("sealed", [True, False])
def test_a_thought_is_a_summary_and_a_copy_where_it_was_asked_for(*, sealed: bool) -> None:
    item = ReasoningItem(sealed=sealed)
    item.signature = "sig"
    assert [kind for kind, _ in steps(item, "hm")] == [
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
    ]
    assert "encrypted_content" not in item.value("in_progress")
    done = item.value("completed")
    assert done["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert unseal("reasoning", done.get("encrypted_content")) == (Sealed("hm", "sig") if sealed else None)


@pytest.mark.parametrize("given", [(), ("",), (" ",)])
def test_a_call_without_arguments_gets_an_empty_object(given: tuple[str, ...]) -> None:
    """P37."""
    item = call_item("c", "read", {})
    assert json.loads("".join(said for kind, said in steps(item, *given) if kind.endswith("delta"))) == {}
    assert json.loads(item.value("completed")["arguments"]) == {}
    assert not item.half()


def test_a_call_comes_back_under_the_clients_name_and_namespace() -> None:
    offers = {"ns__a": Offer("ns__a", "function", "a", "ns")}
    item = call_item("c", "ns__a", offers)
    item.grow('{"x":')
    assert item.half()
    assert {name: item.value("completed")[name] for name in ("name", "namespace", "call_id")} == {
        "name": "a",
        "namespace": "ns",
        "call_id": "c",
    }
    assert "namespace" not in call_item("c", "nobody", offers).value("completed")


def test_a_freeform_call_shows_its_text_only() -> None:
    item = call_item("c", "patch", {"patch": Offer("patch", "custom", "patch")})
    assert isinstance(item, CustomItem)
    assert steps(item, '{"inp', 'ut":"a\\n', 'b"}') == [
        ("custom_tool_call_input.delta", "a\n"),
        ("custom_tool_call_input.delta", "b"),
        ("custom_tool_call_input.done", "a\nb"),
    ]
    assert item.value("completed")["input"] == "a\nb"


@pytest.mark.parametrize(
    ("kind", "given", "made"),
    [
        (
            "local_shell",
            {"command": ["ls", "-l"], "workdir": "/x"},
            {"command": ["ls", "-l"], "working_directory": "/x"},
        ),
        ("local_shell", {"command": "ls | wc"}, {"command": ["bash", "-lc", "ls | wc"], "env": {}}),
        ("shell", {"commands": ["ls"], "timeout_ms": 5}, {"commands": ["ls"], "timeout_ms": 5}),
        ("shell", {"commands": "ls"}, {"commands": ["ls"]}),
        ("apply_patch", {"type": "delete_file", "path": "a"}, {"type": "delete_file", "path": "a"}),
        (
            "apply_patch",
            {"type": "create_file", "path": "a", "diff": "+x"},
            {"type": "create_file", "path": "a", "diff": "+x"},
        ),
        ("tool_search", {"query": "mail"}, {"query": "mail"}),
    ],
)
def test_typed_tools_come_back_as_items_of_their_type(kind: str, given: Any, made: Any) -> None:
    item = call_item("c", kind, {kind: Offer(kind, kind, kind)})
    assert isinstance(item, TypedItem)
    assert steps(item, json.dumps(given)) == []
    done = item.value("completed")
    assert done["type"] == f"{kind}_call"
    inner: Any = done.get("action", done.get("operation", done.get("arguments")))
    assert {name: inner[name] for name in made} == made


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("local_shell", "{}"),
        ("shell", '{"commands":[]}'),
        ("apply_patch", '{"type":"update_file","path":"a"}'),
        ("apply_patch", '{"type":"odd"}'),
        ("shell", "no JSON"),
        ("shell", "[]"),
    ],
)
def test_what_does_not_fit_its_type_is_a_call_that_the_client_can_refuse(kind: str, given: str) -> None:
    item = call_item("c", kind, {kind: Offer(kind, kind, kind)})
    item.grow(given)
    assert {**item.value("completed"), "id": ""} == {
        "type": "function_call",
        "id": "",
        "call_id": "c",
        "name": kind,
        "arguments": given,
        "status": "completed",
    }
