"""Where a conversation may be cut, and what the user said in it (context.md, WHAT TO BUILD, range rules)."""

import re
from collections.abc import Iterator, Sequence

from trimtab.api import Message, Text, ToolResult, ToolUse
from trimtab_stages.reminders import without_reminders
from trimtab_stages.tool_results import results_of

MARK = "[Condensed by trimtab"
"""How every text of ours begins that stands for turns; what begins so is never condensed again."""

_WRITTEN = re.compile(r"\[\w+(?: for .*?)?\] Result:", re.DOTALL)
_OPENS, _CLOSES = "<environment_details>", "</environment_details>"


def opening(messages: Sequence[Message]) -> int:
    """How many messages stand before the assistant's first: system prompt and task, which always stay."""
    for index, message in enumerate(messages):
        if message.role == "assistant":
            return index
    return len(messages)


def task(messages: Sequence[Message]) -> int | None:
    """The index of the last message of the user in the opening: where texts that stand for turns are put."""
    for index in range(opening(messages) - 1, -1, -1):
        if messages[index].role == "user":
            return index
    return None


def condensed(messages: Sequence[Message]) -> bool:
    """Whether a text of ours stands in the opening: the conversation was shortened before it came here."""
    # What followed the turns that are gone may be the user's, and then belongs to the opening too.
    return any(
        isinstance(block, Text) and block.text.startswith(MARK)
        for message in messages[: opening(messages)]
        if message.role == "user"
        for block in message.blocks
    )


def cuts(messages: Sequence[Message], start: int = 0) -> Iterator[int]:
    """Indexes from `start` on before which a conversation may be cut: no call is open there, and none is answered.

    Only before the assistant, so that what follows the opening is its turn, or before what a user said.
    """
    for index in range(max(start, 1), len(messages)):
        message = messages[index]
        own = message.role == "user" and not message.has(ToolResult) and bool(said(message))
        if (message.role == "assistant" or own) and not open_call(messages[index - 1]):
            yield index


def open_call(message: Message) -> bool:
    """Whether a message leaves a call to be answered by the next one."""
    return message.role == "assistant" and message.has(ToolUse)


def last_word(messages: Sequence[Message]) -> int:
    """The index of the last message in which the user said something; 0 where there is none."""
    for index in range(len(messages) - 1, -1, -1):
        if said(messages[index]):
            return index
    return 0


def said(message: Message) -> tuple[str, ...]:
    """What a person said in a message: no results, no environment, no reminders; found once per message."""
    found: tuple[str, ...] | None = message.notes.get("user said")
    if found is None:
        found = message.notes["user said"] = tuple(_said(message)) if message.role == "user" else ()
    return found


def _without_environment(text: str) -> str:
    """A text without the environment at its end."""
    at = text.find(_OPENS)
    return text[:at] if at >= 0 and text.rstrip().endswith(_CLOSES) else text


def _said(message: Message) -> Iterator[str]:
    taken = {index for result in results_of(message, {}) for index in range(result.start, result.end)}
    for index, block in enumerate(message.blocks):
        if index in taken or not isinstance(block, Text):
            continue
        text = _without_environment(without_reminders(block.text)).strip()
        header = _WRITTEN.match(text)
        if text and not text.startswith(MARK) and not (header and not text[header.end() :].strip()):
            yield text
