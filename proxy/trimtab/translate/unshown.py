"""What of a reply no other dialect has a place for, by name, so that it is not left out in silence."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from trimtab.conversation import DialectName
from trimtab.dialects.sse import parse

_SHOWN = frozenset(("text", "thinking", "tool_use"))
_MARKS = {
    "chat": re.compile(rb'"(?:annotations|audio)"'),
    "messages": re.compile(rb'"(?:content|content_block|citations|citation)"'),
}
"""Without these a body or a frame holds nothing of the kind, and is not read."""


def unshown(upstream: DialectName, raw: bytes) -> tuple[str, ...]:
    """Names of what a reply, or one frame of it, holds and other dialects cannot show: `reply.` and its own name."""
    mark = _MARKS.get(upstream)
    if mark is None or not mark.search(raw):
        return ()
    data = raw if raw[:1] == b"{" else parse(raw).data
    try:
        found = msgspec.json.decode(data or b"null")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    if not isinstance(found, dict):
        return ()
    names = _of_chat(found) if upstream == "chat" else _of_messages(found)
    return tuple(dict.fromkeys(f"reply.{name}" for name in names))


def _of_chat(found: dict[str, Any]) -> Iterator[str]:
    for choice in _dicts(found.get("choices")):
        for holder in _dicts([choice.get("message"), choice.get("delta")]):
            yield from (name for name in ("annotations", "audio") if holder.get(name))


def _of_messages(found: dict[str, Any]) -> Iterator[str]:
    for block in (*_dicts([found.get("content_block")]), *_dicts(found.get("content"))):
        kind = block.get("type")
        if isinstance(kind, str) and kind not in _SHOWN:
            yield kind
        elif block.get("citations"):
            yield "citations"
    for delta in _dicts([found.get("delta")]):
        if delta.get("type") == "citations_delta":
            yield "citations"


def _dicts(items: Any) -> Iterator[dict[str, Any]]:
    return (item for item in items if isinstance(item, dict)) if isinstance(items, list) else iter(())
