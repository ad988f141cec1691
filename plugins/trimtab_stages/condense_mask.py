"""Rung 1 of the ladder: old results of tools become one line that names the call; no model is asked.

What stays in full: results of tools that plan (skills, lists of things to do), short errors, short results of edits,
whatever the line would not make shorter, and what is no plain text. Inputs of calls are never touched (I7).
"""

import re
from collections.abc import Mapping, Sequence

from trimtab.api import Image, Message, picture_of
from trimtab_stages.image_places import without
from trimtab_stages.reminders import reminders
from trimtab_stages.tool_results import Call, Result, calls_of, results_of, told

OPENS = "[Old tool result cleared: "
LEAST = 200
"""Characters that the line must save."""
ERROR = 400
"""Characters up to which an error stays."""
EDITED = 2_000
"""Characters up to which the result of an edit stays."""

_PLANS = re.compile(r"skill|todo|task_?(?:create|update|list)|plan|ask_?followup|attempt_completion", re.IGNORECASE)
_EDITS = re.compile(r"edit|write|patch|replace|insert|diff", re.IGNORECASE)
_FAILED = re.compile(r"\s*(?:<tool_use_error>|<error>|error\b|exit code:? [1-9]|traceback)", re.IGNORECASE)


def masks(messages: Sequence[Message], start: int, until: int) -> dict[int, Message]:
    """The messages of messages[start:until] that change, by index; the newest image up to `until` stays."""
    found: dict[int, Message] = {}
    last = next((i for i in range(until - 1, -1, -1) if messages[i].has(Image)), -1)
    caller: Message | None = None
    for index, message in enumerate(messages[:until]):
        if message.role == "assistant":
            caller = message
        elif index >= start:
            after = _known(message, caller, images=index != last)
            if after is not message:
                found[index] = after
    return found


def _known(message: Message, caller: Message | None, *, images: bool) -> Message:
    """The masked message; made once, since a session asks for it with every turn."""
    known = message.notes.get("masked")
    if known is None or known[0] is not caller or known[1] is not images:
        calls = {} if caller is None else calls_of(caller)
        known = message.notes["masked"] = caller, images, masked(message, calls, images=images)
    after: Message = known[2]
    return after


def masked(message: Message, calls: Mapping[str, Call], *, images: bool = True) -> Message:
    """The message without its old results, and without the images in them where `images` says so."""
    going = [(result, line(result)) for result in results_of(message, calls) if goes(result)]
    after = told(message, going) if going else message
    return without(after, _cleared) if images and after.has(Image) else after


def _cleared(image: Image) -> str:
    picture = picture_of(image)
    size = f" {picture.width}x{picture.height}" if picture.width else ""
    return f"[Old image{size} cleared]"


def line(result: Result) -> str:
    """What stands in a result's place; the agent's own reminders in it stay."""
    lines = f"{result.lines} line{'s' * (result.lines != 1)}"
    kept = "".join(f"\n{text}" for text in dict.fromkeys(reminders(result.text)))
    return f"{OPENS}{result.call}, {lines}. Run it again if needed.]{kept}"


def goes(result: Result) -> bool:
    """Whether a result may be cleared and gets shorter by it."""
    size = len(result.text)
    if result.text.startswith(OPENS) or _PLANS.search(result.call.tool):
        return False
    if size <= ERROR and (result.error or _FAILED.match(result.text)):
        return False
    if size <= EDITED and _EDITS.search(result.call.tool):
        return False
    return size >= len(line(result)) + LEAST
