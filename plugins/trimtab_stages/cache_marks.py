"""Cache marks of parts that go: where they stood, and what takes them (context.md 5, I3)."""

from collections.abc import Sequence

from trimtab.api import Block, Message, Text, ToolResult, replace
from trimtab_stages.env_json import mark_of, marked

_MARK = b'"cache_control"'
_PLAIN = b'{"type":"text","text":""}'


def mark_in(message: Message) -> bytes | None:
    """The last cache mark of a message, as the bytes of its value; that of the message itself comes last."""
    if _MARK not in message.raw:
        return None
    return _mark(message.raw) or last_mark(message.blocks)


def last_mark(parts: Sequence[Block]) -> bytes | None:
    """The last cache mark on some parts, or inside the results among them."""
    for part in reversed(parts):
        found = _mark(part.raw) or (last_mark(part.content) if isinstance(part, ToolResult) else None)
        if found is not None:
            return found
    return None


def movable(parts: Sequence[Block]) -> bool:
    """Whether one text can stand for these parts with all their cache marks: with one at the most."""
    marks = [part for part in parts if _MARK in part.raw]
    return not marks or (len(marks) == 1 and _mark(marks[0].raw) is not None)


def with_mark(text: Text, mark: bytes | None) -> Text:
    """A text with a cache mark, unless it has one."""
    if mark is None or _MARK in text.raw:
        return text
    return replace(text, raw=marked(text.raw if text.raw[:1] == b"{" else _PLAIN, mark))


def _mark(raw: bytes) -> bytes | None:
    try:
        return mark_of(raw) if raw[:1] == b"{" else None
    except ValueError:
        # A member that comes twice: nobody knows which one counts.
        return None
