"""The pretended model: decide what to reply, from the prompt alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from .nouns import Call, Prompt, Reply, Usage
from .prompt import Piece, Request, Tool


def reply(prompt: Prompt, *, thinks: bool, tool_turns: int, count: Callable[[str], int]) -> Reply:
    """Answer a prompt."""
    request, pieces = prompt.request, prompt.pieces
    tool = _tool(request, pieces) if _results(pieces) < tool_turns else None
    call = Call(tool.name, _arguments(tool)) if tool else None
    text = None if call else _text(request, pieces)
    thinking = _thought(request, tool) if thinks else None
    reasoning = count(thinking or "")
    spoken = count(call.name) + count(call.arguments) if call else count(text or "")
    usage = Usage(prompt.tokens, prompt.cached, reasoning + spoken, reasoning)
    return Reply(prompt.key, request.model, thinking, text, call, usage)


def example(schema: dict[str, Any], default: str = "string") -> Any:
    """Make the simplest value that a JSON schema accepts, as far as types, enums and required members go."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf"):
        if schema.get(choice):
            return example(_object(schema[choice][0]), default)
    kind = schema.get("type", default)
    if isinstance(kind, list):
        kind = kind[0] if kind else default
    if kind == "object":
        members = _object(schema.get("properties"))
        return {name: example(_object(members.get(name))) for name in schema.get("required") or ()}
    if kind == "array":
        return [example(_object(schema.get("items")))] * (schema.get("minItems") or 0)
    simple = {"number": 1, "integer": 1, "boolean": True, "null": None}
    return simple.get(kind, "echo")


def _arguments(tool: Tool) -> str:
    return msgspec.json.encode(_object(example(tool.parameters, "object"))).decode()


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _tool(request: Request, pieces: Sequence[Piece]) -> Tool | None:
    """Choose the tool that the request names, or the first one."""
    tools = [piece.tool for piece in pieces if piece.tool]
    match request.tool_choice:
        case "none" | {"type": "none"}:
            return None
        case {"name": str(name)} | {"function": {"name": str(name)}}:
            tools = [tool for tool in tools if tool.name == name]
    return tools[0] if tools else None


def _results(pieces: Sequence[Piece]) -> int:
    """Count the tool results since the user last said something.

    A user message right after tool results belongs to them: that is where agents put reminders and images.
    """
    results, role = 0, ""
    for piece in pieces:
        if piece.results:
            results += piece.results
            role = "tool"
        elif piece.role == "user" and role != "tool":
            results = 0
        elif piece.role != "user":
            role = piece.role
    return results


def _thought(request: Request, tool: Tool | None) -> str:
    plan = f"The tool {tool.name} should help." if tool else "Nothing is left to look up, so I can answer."
    return f"{len(request.messages)} messages have come so far. {plan}"


def _text(request: Request, pieces: Sequence[Piece]) -> str:
    tools, images = len(request.tools or ()), sum(piece.images for piece in pieces)
    said = next((piece.said for piece in reversed(pieces) if piece.said), "")
    return (
        f"The echo received {len(request.messages)} messages, {tools} tools and {images} images. "
        f"Your last words began: {said}"
    )
