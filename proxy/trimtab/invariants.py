"""What an edit may never break (context.md 5); only what the edit itself broke counts, not what the client sent so."""

from collections import Counter
from collections.abc import Iterator, Sequence

from trimtab.conversation import (
    Block,
    Conversation,
    Document,
    Image,
    Message,
    Opaque,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from trimtab.errors import BadRequest
from trimtab.exchange import Edit

MAX_MARKS = 4
"""Cache breakpoints that an upstream accepts in one request (I3)."""

_KEPT = {
    Thinking: "a thinking block",
    Opaque: "an opaque block",
    Document: "a document",
    ToolUse: "a tool call",
}
"""Blocks that stay as they are, in their order, in a message that stays (I2, I6, I7)."""


def broken(before: Conversation, after: Conversation, edits: Sequence[Edit] = ()) -> str:
    """The first invariant that `after` breaks and `before` keeps, in words; empty when there is none.

    `edits` lead from one to the other; without them the conversations are compared message by message.
    """
    if before.messages == after.messages:
        return ""
    return _changed(before, after, edits) or _faults(before, after)


def _faults(before: Conversation, after: Conversation) -> str:
    found = faults(after)
    if not found:
        return ""
    fresh = Counter(found) - Counter(faults(before))
    return next((fault for fault in found if fault in fresh), "")


def faults(conversation: Conversation) -> list[str]:
    """All faults in the build of a conversation: pairing, order of roles, empty messages, cache marks."""
    messages = conversation.messages
    return [*_pairing(messages), *_roles(conversation), *_empty(messages), *_marks(conversation)]


def _blocks(message: Message) -> tuple[Block, ...]:
    """The blocks of a message; none where it cannot be read, which is then no news of its build."""
    try:
        return message.blocks
    except BadRequest:
        return ()


def _calls(message: Message) -> tuple[frozenset[str], frozenset[str]]:
    """The ids of a message's calls and results, found once per message."""
    blocks = _blocks(message)
    uses = frozenset(block.id for block in blocks if isinstance(block, ToolUse))
    results = frozenset(block.id for block in blocks if isinstance(block, ToolResult))
    message.notes["paired"] = uses, results
    return uses, results


def _pairing(messages: Sequence[Message]) -> list[str]:
    """I1: each call is answered right behind it, each result has its call right before it.

    In Responses each call is an item: those in a row are one turn, which waits for all its outputs.
    """
    found: list[str] = []
    open_calls: frozenset[str] = frozenset()
    calling = False
    for message in messages:
        uses, results = message.notes.get("paired") or _calls(message)
        if results:
            if not results <= open_calls:
                found += [f"tool result '{name}' has no call before it" for name in sorted(results - open_calls)]
            open_calls -= results
        if message.codec.name == "responses" and (calling or message.role != "assistant"):
            open_calls |= uses
            calling = calling and message.role in ("assistant", "")
        elif message.role != "tool" or not results:
            if open_calls:
                found += _unanswered(open_calls)
            open_calls, calling = uses, True
    return found + _unanswered(open_calls)


def _unanswered(calls: frozenset[str]) -> list[str]:
    return [f"tool call '{name}' has no result behind it" for name in sorted(calls)]


def _roles(conversation: Conversation) -> list[str]:
    """I4: a conversation of the messages dialect opens with a user's turn."""
    first = conversation.messages[0].role if conversation.messages else ""
    if not first:
        return ["no message is left"]
    return (
        ["the first message is the assistant's"] if conversation.dialect == "messages" and first == "assistant" else []
    )


def _empty(messages: Sequence[Message]) -> list[str]:
    """I4: no message without content, no empty text block."""
    found = []
    for message in messages:
        empty = message.notes.get("empty")
        if empty is False:
            continue
        if empty is None:
            blocks = _blocks(message)
            empty = message.notes["empty"] = not blocks or _blank(blocks)
        if empty:
            found.append(f"a message of role '{message.role}' is empty or holds an empty text")
    return found


def _blank(blocks: Sequence[Block]) -> bool:
    """Whether a text in them, those in tool results too, says nothing; upstreams refuse white space alone as well."""
    for block in blocks:
        if isinstance(block, Text) and (not block.text or block.text.isspace()):
            return True
        if isinstance(block, ToolResult) and _blank(block.content):
            return True
    return False


def _marks(conversation: Conversation) -> list[str]:
    """I3: at most four cache breakpoints; one fault for each that is too many."""
    marks = _all_marks(conversation)
    marks += sum(block.raw.count(b'"cache_control"') for block in conversation.system)
    marks += sum(tool.raw.count(b'"cache_control"') for tool in conversation.tools)
    return [f"there are more than {MAX_MARKS} cache marks"] * (marks - MAX_MARKS)


def marks_in(message: Message) -> int:
    """How many cache marks a message holds, counted once."""
    count = message.notes.get("marks")
    if count is None:
        count = message.notes["marks"] = message.raw.count(b'"cache_control"')
    return int(count)


def _changed(before: Conversation, after: Conversation, edits: Sequence[Edit]) -> str:
    """I2, I3, I5, I6, I7: what may not change inside a message that stays, compared where one replaced another."""
    for old, new in _pairs(before, after, edits):
        if old is not new and (fault := _compared(old, new)):
            return f"messages[{after.messages.index(new)}]: {fault}"
    if len(before.messages) == len(after.messages) and _all_marks(after) < _all_marks(before):
        return "a cache mark was lost"
    return ""


def _pairs(before: Conversation, after: Conversation, edits: Sequence[Edit]) -> Iterator[tuple[Message, Message]]:
    """Each message beside what stands in its place now."""
    if len(before.messages) == len(after.messages):
        yield from zip(before.messages, after.messages, strict=True)
        return
    places: list[tuple[Message, Message]] = [(message, message) for message in before.messages]
    for edit in edits:
        if edit.index is None:
            continue
        if isinstance(edit.after, Message):
            places[edit.index] = (places[edit.index][0], edit.after)
        else:
            del places[edit.index]
    yield from places


def _all_marks(conversation: Conversation) -> int:
    # The notes themselves: a call for each of many messages costs more than all else here.
    messages = conversation.messages
    return sum([message.notes["marks"] if "marks" in message.notes else marks_in(message) for message in messages])


def _compared(old: Message, new: Message) -> str:
    """The verdict on a pair; a stage that keeps its edited message brings the same pair at every turn."""
    known = new.notes.get("compared")
    if known is None or known[0] is not old.raw or known[1] != old.role:
        # Its bytes in place of the message: that knows the edited one, and a circle would wait for the collector.
        known = new.notes["compared"] = (old.raw, old.role, _within(old, new))
    return str(known[2])


def _within(old: Message, new: Message) -> str:
    if old.role != new.role:
        return f"the role changed from '{old.role}' to '{new.role}'"
    try:
        now = new.blocks
    except BadRequest as error:
        return f"it cannot be read any more: {error.message}"
    return _kept(_blocks(old), now) or _moved_image(old, new) or _ends(old, new)


def _kept(was: Sequence[Block], now: Sequence[Block]) -> str:
    for kind, word in _KEPT.items():
        if [block for block in was if isinstance(block, kind)] != [block for block in now if isinstance(block, kind)]:
            return f"{word} was changed"
    kinds = tuple(_KEPT)
    if [block for block in was if isinstance(block, kinds)] != [block for block in now if isinstance(block, kinds)]:
        return "blocks changed their order"
    return ""


def _moved_image(old: Message, new: Message) -> str:
    """I5: an image stays where it is, in its tool result too, and a tool message of chat carries none."""
    if new.role == "tool" and new.has(Image) and not old.has(Image):
        return "an image was put into a tool message"
    outside = [sum(isinstance(block, Image) for block in _blocks(message)) for message in (old, new)]
    return "an image was put where none was" if outside[1] > outside[0] else ""


def _ends(old: Message, new: Message) -> str:
    """I2, I4: a thought that opens a message stays in front, none ends one, a tool result does not lose all it said."""
    was, now = _blocks(old), new.blocks
    if new.codec.name == "messages" and was and now:
        if isinstance(now[-1], Thinking) and not isinstance(was[-1], Thinking):
            return "it ends in a thinking block"
        if isinstance(was[0], Thinking) and not isinstance(now[0], Thinking):
            return "a thinking block no longer comes first"
    said = {block.id for block in was if isinstance(block, ToolResult) and block.content}
    for block in now:
        if isinstance(block, ToolResult) and block.id in said and not block.content:
            return f"tool result '{block.id}' is empty now"
    return ""
