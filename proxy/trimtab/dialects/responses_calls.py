"""Items of calls and of their outputs in the input of a Responses request: what was called, with what, and what came.

What a client runs under a type of its own (a shell, a patch, a freeform tool) is a call of the function that
`responses_tools` offers in its place.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from trimtab.dialects.responses_tools import flat_name

_Called = tuple[str, bytes]
"""Name of the function and the JSON text of its input."""


def _function(item: Mapping[str, Any]) -> _Called:
    given = item.get("arguments")
    text = given if isinstance(given, str) else msgspec.json.encode(given or {}).decode()
    return _flat(item), text.encode()


def _custom(item: Mapping[str, Any]) -> _Called:
    return _flat(item), msgspec.json.encode({"input": str(item.get("input") or "")})


def _flat(item: Mapping[str, Any]) -> str:
    return flat_name(str(item.get("name") or ""), str(item.get("namespace") or ""))


def _action(name: str) -> Callable[[Mapping[str, Any]], _Called]:
    def read(item: Mapping[str, Any]) -> _Called:
        action = item.get("action")
        action = action if isinstance(action, dict) else {}
        given = {key: value for key, value in action.items() if key != "type" and value not in (None, {})}
        return name, msgspec.json.encode(given)

    return read


def _patch(item: Mapping[str, Any]) -> _Called:
    operation = item.get("operation")
    return "apply_patch", msgspec.json.encode(operation if isinstance(operation, dict) else {})


def _search(item: Mapping[str, Any]) -> _Called:
    given = item.get("arguments")
    return "tool_search", given.encode() if isinstance(given, str) else msgspec.json.encode(given or {})


CALLS: Mapping[str, Callable[[Mapping[str, Any]], _Called]] = {
    "function_call": _function,
    "custom_tool_call": _custom,
    "local_shell_call": _action("local_shell"),
    "shell_call": _action("shell"),
    "apply_patch_call": _patch,
    "tool_search_call": _search,
}
"""How each kind of call is read."""

OUTPUTS = frozenset(
    {
        "function_call_output",
        "custom_tool_call_output",
        "local_shell_call_output",
        "shell_call_output",
        "apply_patch_call_output",
        "tool_search_output",
    }
)
"""The kinds of outputs."""


def outcome(kind: str, item: Mapping[str, Any]) -> str:
    """An output that is no text of its own, in words."""
    match kind:
        case "shell_call_output":
            parts = item.get("output")
            return (
                "\n".join(_shell(part) for part in parts if isinstance(part, dict)) if isinstance(parts, list) else ""
            )
        case "tool_search_output":
            found = item.get("tools")
            names = (
                [str(tool.get("name")) for tool in found if isinstance(tool, dict)] if isinstance(found, list) else []
            )
            return f"Tools found: {', '.join(names)}" if names else "No tools found."
        case "apply_patch_call_output":
            return str(item.get("status") or "")
    return ""


def _shell(part: Mapping[str, Any]) -> str:
    found = part.get("outcome")
    ended = found if isinstance(found, dict) else {}
    told = "timed out" if ended.get("type") == "timeout" else f"exit code {ended.get('exit_code', 0)}"
    return "\n".join(
        text for text in (part.get("stdout"), part.get("stderr"), f"[{told}]") if isinstance(text, str) and text
    )
