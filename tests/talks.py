"""Conversations for the tests of stages: messages and pictures with few words, in either dialect."""

import base64
import json
from collections.abc import Sequence
from struct import pack
from typing import Any


def png(width: int = 640, height: int = 480, seed: str = "") -> str:
    """The first bytes of a PNG in base64; `seed` makes another picture of the same size."""
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + pack(">II", width, height) + b"\x08\x02\x00\x00\x00"
    return base64.b64encode(head + seed.encode()).decode()


def picture(dialect: str = "chat", data: str = "", **more: Any) -> dict[str, Any]:
    """A part that shows a picture."""
    data = data or png()
    if dialect == "chat":
        return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}, **more}
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}, **more}


def text(words: str) -> dict[str, Any]:
    """A part of text."""
    return {"type": "text", "text": words}


def user(*parts: Any) -> dict[str, Any]:
    """A message of the user: one text, or parts."""
    return {"role": "user", "content": parts[0] if len(parts) == 1 and isinstance(parts[0], str) else list(parts)}


def said(words: str) -> dict[str, Any]:
    """A message of the assistant."""
    return {"role": "assistant", "content": words}


def call(dialect: str, name: str, tool: str, words: str = "", **given: Any) -> dict[str, Any]:
    """A message of the assistant with one call."""
    if dialect == "messages":
        use = {"type": "tool_use", "id": name, "name": tool, "input": given}
        return {"role": "assistant", "content": [*([text(words)] if words else []), use]}
    function = {"name": tool, "arguments": json.dumps(given)}
    return {"role": "assistant", "content": words or None,
            "tool_calls": [{"id": name, "type": "function", "function": function}]}  # fmt: skip


def result(dialect: str, name: str, content: Any, **more: Any) -> dict[str, Any]:
    """The message with its result."""
    if dialect == "messages":
        return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": name, "content": content, **more}]}
    return {"role": "tool", "tool_call_id": name, "content": content}


def steps(dialect: str, count: int, size: int = 2_000, first: int = 0, tool: str = "read") -> list[dict[str, Any]]:
    """`count` calls, each with a result of about `size` characters."""
    found = []
    for number in range(first, first + count):
        line = f"{number}: some words of the file, as it was read\n"
        found.append(call(dialect, f"c{number}", tool, f"step {number}", path=f"src/file{number}.py"))
        found.append(result(dialect, f"c{number}", line * (size // len(line) + 1)))
    return found


def body(messages: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A request."""
    return {"model": "small", "max_tokens": 100, "messages": list(messages), **more}
