"""Results that are too large for the window by themselves are cut, head and tail; decided when they come.

The results of one turn may take half of the window together. A function of the turn and the window alone, so that it
is the same in every later request, and needs no record.
"""

import re
from collections.abc import Sequence

from trimtab.api import Conversation, Message, TokenCount
from trimtab_stages.condense_mask import OPENS
from trimtab_stages.condense_ranges import MARK
from trimtab_stages.tool_results import Result, calls_of, results_of, told

SHARE = 2
"""The results of a turn take this part of the window at most."""
CUT = " lines cut here: too long for the window]\n"
"""Ends the line between head and tail."""
_DONE = re.compile(rf"^\[\d+ characters, \d+{re.escape(CUT[:-1])}$", re.MULTILINE)
"""The line. A turn that has one, or a result that was cleared, is not cut again: what is left is near the limit, on
either side, and a second pass must change nothing."""
_OPENS = MARK.encode()
_MARKS = (OPENS.encode(), CUT[:-1].encode())
HEAD = 0.6
"""How much of what is left is the beginning."""


def cuts(conversation: Conversation, count: TokenCount, window: int) -> dict[int, Message]:
    """The messages that change, by index; `count` is that of the messages."""
    limit = window // SHARE
    found: dict[int, Message] = {}
    messages = conversation.messages
    if count.total <= limit or _longest(conversation) * max(count.messages, default=0) <= limit:
        return found
    first = 0
    while first < len(messages):
        end = first + 1
        while end < len(messages) and messages[end].role != "assistant":
            end += 1
        if sum(count.messages[first:end]) > limit:
            found |= _turn(messages, count, range(first, end), limit)
        first = end
    return found


def _longest(conversation: Conversation) -> int:
    """Messages of the longest turn; with the largest message it bounds every turn, at the cost of the new messages."""
    longest, open_ = conversation.fold("longest turn", start=(0, 0), step=_turned)
    return max(longest, open_)


def _turned(known: tuple[int, int], message: Message) -> tuple[int, int]:
    longest, open_ = known
    return (max(longest, open_), 1) if message.role == "assistant" else (longest, open_ + 1)


def _turn(messages: Sequence[Message], count: TokenCount, turn: range, limit: int) -> dict[int, Message]:
    caller = messages[turn.start]
    calls = calls_of(caller) if caller.role == "assistant" else {}
    results = [(index, result) for index in turn for result in results_of(messages[index], calls)]
    sizes = [len(result.text) for _, result in results]
    tokens = sum(count.messages[index] for index in {index for index, _ in results})
    if not results or tokens <= limit or any(_done(result.text) for _, result in results):
        return {}
    if any(_OPENS in messages[index].raw for index, _ in results):
        # A text of ours stands beside them, and came when their size had been looked at.
        return {}
    most = _most(sizes, sum(sizes) * limit // tokens)
    going: dict[int, list[tuple[Result, str]]] = {}
    for index, result in results:
        if len(result.text) <= most:
            continue
        shorter = cut(result.text, most)
        if len(shorter) < len(result.text):
            going.setdefault(index, []).append((result, shorter))
    return {index: _known(messages[index], cut_) for index, cut_ in going.items()}


def shortened(messages: Sequence[Message]) -> bool:
    """Whether a result in a conversation was cut or cleared before it came here."""
    return any(
        any(mark in message.raw for mark in _MARKS) and any(_done(result.text) for result in results_of(message, {}))
        for message in messages
    )


def _done(text: str) -> bool:
    """Whether a text is one that this stage has made."""
    return text.startswith(OPENS) or (CUT in text and _DONE.search(text) is not None)


def _most(sizes: Sequence[int], room: int) -> int:
    """The size to which the largest are cut so that all of them fit into `room`."""
    left = room
    for place, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - place)
        if size > share:
            return share
        left -= size
    return max(sizes, default=0)


def cut(text: str, size: int) -> str:
    """A text's head and tail, 60 to 40, and between them how much is missing."""
    head, tail = text[: int(size * HEAD)], text[len(text) - int(size * (1 - HEAD)) :]
    gone = text[len(head) : len(text) - len(tail)]
    return f"{head}\n[{len(gone)} characters, {gone.count(chr(10))}{CUT}{tail}"


def _known(message: Message, going: list[tuple[Result, str]]) -> Message:
    known = message.notes.get("cut")
    if known is None or known[0] != going:
        known = message.notes["cut"] = going, told(message, going)
    after: Message = known[1]
    return after
