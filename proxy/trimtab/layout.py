"""Where the messages of a conversation begin, in bytes, and before which of them it may be cut."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from trimtab.conversation import Conversation, Message, ToolResult
from trimtab.errors import BadRequest
from trimtab.measure import Measure, measure


class Layout(NamedTuple):
    """What a conversation's messages measure, and where it may be cut; the next turn goes on from there."""

    measures: tuple[Measure, ...] = ()
    starts: tuple[int, ...] = (0,)
    """Bytes before each message, and before the end, without pictures."""
    safe: tuple[int, ...] = ()
    """Indexes of messages before which a cut is safe."""
    pictured: bool = False

    def plus(self, messages: Sequence[Message], end: int) -> "Layout":
        """The same of the messages up to `end`."""
        done = len(self.measures)
        new = tuple([measure(message) for message in messages[done:end]])
        starts = tuple(accumulate([found.plain for found in new], initial=self.starts[-1]))[1:]
        safe = tuple([index for index in range(max(1, done), end) if _safe(messages, index)])
        pictured = self.pictured or any(found.pictures for found in new)
        return Layout(self.measures + new, self.starts + starts, self.safe + safe, pictured)


def layout(conversation: Conversation, until: int | None = None) -> Layout:
    """The layout of a conversation's messages, or of at least the first `until`; a turn pays its new messages."""
    at, known = conversation.reached("layout", Layout())
    messages = conversation.messages
    if until is not None:
        if at < until:
            known = known.plus(messages, until)
            conversation.remember("layout", known, back=len(messages) - until)
    elif at < len(messages):
        known = known.plus(messages, len(messages) - 1)
        conversation.remember("layout", known, back=1)
        known = known.plus(messages, len(messages))
        conversation.remember("layout", known)
    return known


def _safe(messages: Sequence[Message], index: int) -> bool:
    """Whether a cut before this message parts no call from its result: before the assistant, or a user's own turn."""
    message, before = messages[index], messages[index - 1]
    if message.role == "assistant":
        # In Responses a thought and each call are items of their own, and come in a row.
        return before.role not in ("assistant", "")
    return message.role == "user" and before.role == "assistant" and not _answers(message)


def _answers(message: Message) -> bool:
    try:
        return message.has(ToolResult)
    except BadRequest:
        return True
