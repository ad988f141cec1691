"""What tools gave, in the form of either dialect and in that of agents that write calls as text (Cline, Roo Code)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from trimtab.api import Block, Image, Message, Text, ToolResult, ToolUse, replace
from trimtab_stages.cache_marks import last_mark, movable, with_mark

ARGUMENT = 80
"""Characters of an argument that are told."""

_HEADER = re.compile(r"\[(\w+)(?: for (.*?))?\] Result:", re.DOTALL)
_HUMAN = re.compile(r"<(?:feedback|answer|user_message|user_input|environment_details|task)\b")
"""In a result written as text: what a person said, or an environment block."""
_ENVIRONMENT = "\n\n<environment_details>"


class Call(NamedTuple):
    """A tool that was called: its name, and its first argument in one line."""

    tool: str = "tool"
    argument: str = ""

    def __str__(self) -> str:
        return f"{self.tool} {self.argument}".rstrip()


class Result(NamedTuple):
    """What a tool gave: a tool result at blocks[start], or the texts blocks[start:end] of a user's message."""

    start: int
    end: int
    call: Call
    text: str
    error: bool = False
    head: str = ""
    """What stands before it in the same text: the name of its call."""
    tail: str = ""
    """What stands behind it in the same text: an environment block."""

    @property
    def lines(self) -> int:
        """How many lines it has."""
        return self.text.count("\n") + 1


def calls_of(message: Message) -> Mapping[str, Call]:
    """The calls in a message of the assistant, by their ids; found once per message."""
    found: Mapping[str, Call] | None = message.notes.get("calls")
    if found is None:
        uses = (block for block in message.blocks if isinstance(block, ToolUse))
        found = message.notes["calls"] = {use.id: Call(use.name or "tool", argument(use.input)) for use in uses}
    return found


def argument(given: bytes) -> str:
    """The first argument of a call in one line, at most ARGUMENT characters; the input itself where it is no object."""
    try:
        value = msgspec.json.decode(given)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = given.decode(errors="replace")
    if isinstance(value, dict):
        value = next((each for each in value.values() if isinstance(each, str)), next(iter(value.values()), ""))
    return shortened(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def shortened(text: str, size: int = ARGUMENT) -> str:
    """A text in one line of at most `size` characters."""
    line = " ".join(text.split())
    return line if len(line) <= size else line[: size - 3] + "..."


def results_of(message: Message, calls: Mapping[str, Call]) -> tuple[Result, ...]:
    """The results in a message that are nothing but text and images; `calls` are those of the turn before.

    A cache mark on one of their parts makes no difference: tomorrow it stands elsewhere (design.md, prefix law). Two of
    them could not both be kept.
    """
    if message.role == "assistant" or not message.blocks:
        return ()
    if any(isinstance(block, ToolResult) for block in message.blocks):
        return tuple(_typed(message.blocks, calls))
    return tuple(_written(message.blocks)) if message.role == "user" else ()


def _typed(blocks: Sequence[Block], calls: Mapping[str, Call]) -> Iterator[Result]:
    for index, block in enumerate(blocks):
        if not isinstance(block, ToolResult) or not block.content:
            continue
        if all(isinstance(part, Text | Image) for part in block.content) and movable(block.content):
            said = "\n".join(part.text for part in block.content if isinstance(part, Text))
            text, mark, rest = said.rpartition(_ENVIRONMENT)
            call, tail = calls.get(block.id, Call()), mark + rest if mark else ""
            yield Result(index, index + 1, call, text if mark else said, block.is_error, tail=tail)


def _written(blocks: Sequence[Block]) -> Iterator[Result]:
    """A header, in a text of its own or before its result, and all texts up to the next header or block."""
    texts = [block.text if isinstance(block, Text) else "" for block in blocks]
    heads = [_HEADER.match(text) for text in texts]
    for index, head in enumerate(heads):
        if head is None:
            continue
        call = Call(head.group(1), shortened((head.group(2) or "").split("'. ", 1)[0].strip("'")))
        rest = texts[index][head.end() :]
        start, end = (index, index + 1) if rest.strip() else (index + 1, _end(texts, heads, index + 1))
        body = [rest.lstrip("\n")] if rest.strip() else texts[start:end]
        if start < end and not any(_HUMAN.search(part) for part in body) and movable(blocks[start:end]):
            yield Result(start, end, call, "\n".join(body), head=head.group() + "\n" if rest.strip() else "")


def _end(texts: Sequence[str], heads: Sequence[Any], start: int) -> int:
    end = start
    while end < len(texts) and texts[end] and heads[end] is None and not _HUMAN.match(texts[end]):
        end += 1
    return end


def told(message: Message, results: Sequence[tuple[Result, str]], *, images: bool = True) -> Message:
    """The message with other texts in place of some results; `images` says whether those inside stay."""
    blocks = list(message.blocks)
    for result, text in sorted(results, key=lambda each: -each[0].start):
        first = blocks[result.start]
        if isinstance(first, ToolResult):
            kept = [part for part in first.content if isinstance(part, Image)] if images else []
            fresh = _reused(first.content, Text(text=text + result.tail))
            gone = [part for part in first.content if part not in kept]
            blocks[result.start] = replace(first, content=(with_mark(fresh, last_mark(gone)), *kept))
        elif isinstance(first, Text):
            gone = blocks[result.start + 1 : result.end]
            blocks[result.start : result.end] = [with_mark(replace(first, text=result.head + text), last_mark(gone))]
    return message.with_blocks(blocks)


def _reused(content: Sequence[Block], fresh: Text) -> Text:
    """The new text in the JSON of the first one, so that what stands beside it stays."""
    first = next((part for part in content if isinstance(part, Text)), None)
    return fresh if first is None else replace(first, text=fresh.text)
