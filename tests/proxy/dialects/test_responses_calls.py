"""Items of calls and outputs: what was called, with what, and what came."""

import json
from typing import Any

import pytest

from trimtab.dialects.responses_calls import CALLS, OUTPUTS, outcome


@pytest.mark.parametrize(
    ("kind", "item", "name", "given"),
    [
        ("function_call", {"name": "read", "arguments": '{"p":1}'}, "read", {"p": 1}),
        ("function_call", {"name": "a", "namespace": "ns", "arguments": {}}, "ns__a", {}),
        ("custom_tool_call", {"name": "patch", "input": "*** x"}, "patch", {"input": "*** x"}),
        (
            "local_shell_call",
            {"action": {"type": "exec", "command": ["ls"], "env": {}, "timeout_ms": None, "working_directory": "/"}},
            "local_shell",
            {"command": ["ls"], "working_directory": "/"},
        ),
        ("shell_call", {"action": {"commands": ["ls", "pwd"]}}, "shell", {"commands": ["ls", "pwd"]}),
        (
            "apply_patch_call",
            {"operation": {"type": "delete_file", "path": "a"}},
            "apply_patch",
            {"type": "delete_file", "path": "a"},
        ),
        ("tool_search_call", {"arguments": {"query": "x"}}, "tool_search", {"query": "x"}),
        ("apply_patch_call", {"operation": 7}, "apply_patch", {}),
    ],
)
def test_a_call_is_that_of_the_function_in_its_place(kind: str, item: dict[str, Any], name: str, given: Any) -> None:
    called, text = CALLS[kind](item)
    assert (called, json.loads(text)) == (name, given)


def test_each_call_has_an_output() -> None:
    assert {f"{kind}_output" for kind in CALLS if kind != "tool_search_call"} | {"tool_search_output"} == OUTPUTS


def test_outputs_that_are_no_text_are_told_in_words() -> None:
    shell = [
        {"stdout": "a\n", "stderr": "", "outcome": {"type": "exit", "exit_code": 2}},
        {"stdout": "", "stderr": "late", "outcome": {"type": "timeout"}},
    ]
    assert outcome("shell_call_output", {"output": shell}) == "a\n\n[exit code 2]\nlate\n[timed out]"
    assert outcome("tool_search_output", {"tools": [{"name": "a"}, {"name": "b"}]}) == "Tools found: a, b"
    assert outcome("tool_search_output", {"tools": []}) == "No tools found."
    assert outcome("apply_patch_call_output", {"status": "completed"}) == "completed"
    assert outcome("function_call_output", {}) == ""
