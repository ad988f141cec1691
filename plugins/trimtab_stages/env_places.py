"""Where the environment block of a message stands, and the message without parts of it."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from trimtab.api import Block, Image, Message, Text, ToolResult, ToolUse, replace
from trimtab_stages import env_blocks
from trimtab_stages.env_blocks import Section, Tags
from trimtab_stages.env_json import kept, mark_of, marked, replaced, unmarked, value_of

SUPERSEDED = "[environment details superseded]"
"""Stands in place of a block where the message would be empty, or end in something that looks like one."""
_CARRIERS = (Text, Image, ToolUse, ToolResult)
"""Blocks that may carry a cache mark. Not a document, which no edit may change (context.md 5, I6)."""
_MARK = b'"cache_control"'


class Place(NamedTuple):
    """The environment block of a message: in blocks[outer], or in content[inner] of the tool result there."""

    outer: int
    inner: int | None
    found: env_blocks.Block

    @property
    def sections(self) -> tuple[Section, ...]:
        """The sections of the block."""
        return self.found.sections


def find(message: Message, tags: Sequence[Tags]) -> Place | None:
    """The block at the end of the last text of a user's message; where it has no text, of its last tool result."""
    if message.role not in ("user", "tool"):
        return None
    blocks = message.blocks
    texts = [index for index, block in enumerate(blocks) if isinstance(block, Text)]
    if texts:
        # A text that is all of the content, in a list or not, may be several that a client joined.
        return _in_text(blocks, texts[-1], tags, joined=message.role == "user" and len(blocks) == 1)
    results = [index for index, block in enumerate(blocks) if isinstance(block, ToolResult)]
    return _in_result(blocks, results[-1], tags) if results else None


def _in_text(blocks: Sequence[Block], index: int, tags: Sequence[Tags], *, joined: bool = False) -> Place | None:
    block = blocks[index]
    found = env_blocks.find(block.text, tags, joined=joined) if isinstance(block, Text) else None
    return None if found is None else Place(index, None, found)


def _in_result(blocks: Sequence[Block], index: int, tags: Sequence[Tags]) -> Place | None:
    result = blocks[index]
    if not isinstance(result, ToolResult) or not result.content:
        return None
    place = _in_text(result.content, len(result.content) - 1, tags)
    return None if place is None else Place(index, place.outer, place.found)


def is_marked(message: Message) -> bool:
    """Whether a cache mark stands in a message."""
    return _MARK in message.raw


def marked_outside(message: Message) -> bool:
    """Whether a mark stands on the message itself: there it covers all of it, and cannot be moved."""
    return message.raw.count(_MARK) > value_of(message.raw, "content").count(_MARK)


def has_carrier(message: Message, place: Place) -> bool:
    """Whether a block before the environment block could take a cache mark."""
    return any(map(_carries, message.blocks[: place.outer]))


def marks_behind(message: Message, place: Place) -> int:
    """How many cache marks stand on the environment block and behind it."""
    return message.raw.count(_MARK) - sum(block.raw.count(_MARK) for block in message.blocks[: place.outer])


def can_move(message: Message, place: Place) -> bool:
    """Whether the marks on the environment block and behind it all find a block before it."""
    movable = sum(mark_of(block.raw) is not None for block in message.blocks[place.outer :])
    return movable == marks_behind(message, place) and movable <= len(_free(message.blocks, place))


def _carries(block: Block) -> bool:
    return isinstance(block, _CARRIERS) and block.raw[:1] == b"{"


def _free(blocks: Sequence[Block], place: Place) -> list[int]:
    """Blocks before the environment block that can take a mark, the nearest first."""
    before = range(place.outer - 1, -1, -1)
    return [index for index in before if _carries(blocks[index]) and mark_of(blocks[index].raw) is None]


def edited(message: Message, place: Place, gone: Collection[int], tags: Sequence[Tags], said: str = "") -> Message:
    """The message without some sections of its block, and with the marks on and behind the block before it.

    A block of which nothing is left goes, with the part of the message that it is all of, unless a text is to be said
    in place of its sections.
    """
    if marks_behind(message, place):
        message = message.with_blocks(_moved(message.blocks, place))
    if not gone:
        return message
    if said:
        return shortened(message, place, gone, said)
    text, holder = _text(message, place).text, _holder(message, place)
    outside = [(0, place.found.start), (place.found.end, len(text))]
    if any(section.value for index, section in enumerate(place.sections) if index not in gone):
        return _cut(message, place, _left(place, gone, len(text)))
    if "".join(text[start:end] for start, end in outside).strip():
        new = _cut(message, place, outside)
    elif len(holder) > 1:
        new = _with_holder(message, place, [*holder[: _at(place)], *holder[_at(place) + 1 :]])
    else:
        return _cut(message, place, [], SUPERSEDED) if len(text) > len(SUPERSEDED) else message
    # What comes to light must not be taken for a block the next time.
    return new if find(new, tags) is None else _cut(message, place, outside, SUPERSEDED)


def shortened(message: Message, place: Place, gone: Collection[int], said: str) -> Message:
    """The message without some sections of its block, and with a text in their place; the block itself stays."""
    text, found = _text(message, place).text, place.found
    filler = said and ("" if found.head.endswith("\n") else "\n") + said + "\n\n"
    return _cut(message, place, _left(place, gone, len(text)), filler)


def _moved(blocks: Sequence[Block], place: Place) -> list[Block]:
    new, marks = list(blocks), []
    for index in range(place.outer, len(blocks)):
        mark = mark_of(blocks[index].raw)
        if mark is not None:
            marks.append(mark)
            new[index] = replace(blocks[index], raw=unmarked(blocks[index].raw))
    for mark, index in zip(reversed(marks), _free(blocks, place), strict=False):
        new[index] = replace(blocks[index], raw=marked(blocks[index].raw, mark))
    return new


def _left(place: Place, gone: Collection[int], length: int) -> list[tuple[int, int]]:
    """The pieces of the text that stay, where a part of the block does."""
    found = place.found
    at = found.start + len(found.head)
    pieces = [(0, at)]
    for index, section in enumerate(found.sections):
        if index not in gone:
            pieces.append((at, at + len(section.text)))
        at += len(section.text)
    return [*pieces, (at, length)]


def _at(place: Place) -> int:
    return place.outer if place.inner is None else place.inner


def _holder(message: Message, place: Place) -> tuple[Block, ...]:
    """The blocks among which the text stands."""
    block = message.blocks[place.outer]
    return block.content if place.inner is not None and isinstance(block, ToolResult) else message.blocks


def _with_holder(message: Message, place: Place, blocks: Sequence[Block]) -> Message:
    result = message.blocks[place.outer]
    if place.inner is None or not isinstance(result, ToolResult):
        return message.with_blocks(blocks)
    return _with_block(message, place.outer, replace(result, content=tuple(blocks)))


def _with_block(message: Message, index: int, block: Block) -> Message:
    return message.with_blocks([*message.blocks[:index], block, *message.blocks[index + 1 :]])


def _text(message: Message, place: Place) -> Text:
    block = _holder(message, place)[_at(place)]
    if not isinstance(block, Text):
        raise TypeError("an environment block stands in a text")
    return block


def _cut(message: Message, place: Place, pieces: Sequence[tuple[int, int]], filler: str = "") -> Message:
    """The message with some pieces of the text, and `filler` behind the first; what stays keeps its bytes."""
    old = _text(message, place)
    outer = message.blocks[place.outer].raw or message.raw
    raw, name = (old.raw, "text" if old.raw[:1] == b"{" else "") if old.raw else (outer, "content")
    literal = kept(value_of(raw, name) if name else raw, old.text, pieces, filler)
    changed = replaced(raw, name, literal) if name else literal
    if raw is message.raw:
        return Message(message.codec, message.role, changed)
    texts = [old.text[start:end] for start, end in pieces]
    new = Text(text="".join([*texts[:1], filler, *texts[1:]]), raw=changed if old.raw else b"")
    if old.raw:
        holder = _holder(message, place)
        return _with_holder(message, place, [*holder[: _at(place)], new, *holder[_at(place) + 1 :]])
    return _with_block(message, place.outer, replace(message.blocks[place.outer], raw=changed, content=(new,)))
