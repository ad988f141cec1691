"""What an edit changed, as lines that people read."""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from trimtab.conversation import Block, Document, Image, Message, Opaque, Text, Thinking, ToolResult, ToolUse
from trimtab.errors import BadRequest
from trimtab.exchange import Edit

LONGEST = 160
"""Characters of a line."""
CONTEXT = 1
"""Unchanged lines around a change."""
LARGEST = 4_000_000
"""Pairs of lines that are compared; where there are more, all that differs is one change."""


def lines(edit: Edit) -> list[str]:
    """An edit as lines that begin with "-", "+" or " "; one line where nothing that a model reads changed."""
    if edit.member is not None:
        return [*_member("-", edit.before), *_member("+", edit.after)]
    before, after = (readable(part) if isinstance(part, Message) else [] for part in (edit.before, edit.after))
    return list(_changes(before, after)) or ["  (only cache marks or spelling differ)"]


def _member(sign: str, value: Message | bytes | None) -> list[str]:
    return [f"{sign} {value.decode(errors='replace')}"] if isinstance(value, bytes) else []


def _changes(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    if before == after:
        return
    start, end = _common(before, after)
    one = before[max(0, start - CONTEXT) : len(before) - max(0, end - CONTEXT)]
    other = after[max(0, start - CONTEXT) : len(after) - max(0, end - CONTEXT)]
    if len(one) * len(other) > LARGEST:
        # To compare each with each would take minutes where many lines are alike.
        behind = before[len(before) - end :][:CONTEXT]
        yield from (f"  {line}" for line in before[max(0, start - CONTEXT) : start])
        yield from (f"- {line}" for line in before[start : len(before) - end])
        yield from (f"+ {line}" for line in after[start : len(after) - end])
        yield from (f"  {line}" for line in behind)
        return
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    for group in matcher.get_grouped_opcodes(CONTEXT):
        for tag, a1, a2, b1, b2 in group:
            if tag == "equal":
                yield from (f"  {line}" for line in one[a1:a2])
            else:
                yield from (f"- {line}" for line in one[a1:a2])
                yield from (f"+ {line}" for line in other[b1:b2])


def _common(before: Sequence[str], after: Sequence[str]) -> tuple[int, int]:
    """How many lines both begin with, and how many of the rest they end with."""
    most = min(len(before), len(after))
    start = next((index for index in range(most) if before[index] != after[index]), most)
    rest = range(1, most - start + 1)
    return start, next((index - 1 for index in rest if before[-index] != after[-index]), most - start)


def readable(message: Message) -> list[str]:
    """The lines of a message as a model reads it; pictures and files by their size."""
    try:
        return [line for block in message.blocks for line in _lines(block)]
    except BadRequest:
        return [message.raw.decode(errors="replace")]


def _lines(block: Block) -> Iterator[str]:
    match block:
        case Text() | Thinking():
            yield from block.text.splitlines()
        case ToolUse():
            yield f"[call {block.name}] {block.input.decode(errors='replace')}"
        case ToolResult():
            yield f"[result of {block.id}]"
            for part in block.content:
                yield from _lines(part)
        case Image():
            yield f"[image {block.media_type or block.url[:LONGEST]}, {len(block.data):,} characters of base64]"
        case Document():
            yield f"[document {block.media_type}, {len(block.raw):,} bytes]"
        case Opaque():
            yield f"[{block.kind}, {len(block.raw):,} bytes]"


def shortened(text: str) -> str:
    """A line that fits, without what would drive a terminal."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text.expandtabs(4))
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1]}…"
