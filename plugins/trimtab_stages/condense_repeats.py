"""A new result that says word for word what an earlier one said becomes a reference to it.

Only the new copy changes, when it comes, so that the prefix stays (economy.md 9). A result that has itself become
shorter is no original: behind the frontier of an epoch the first copy is whole, unless the opening, which always stays,
holds one.
"""

from collections.abc import Sequence

from trimtab.api import Message
from trimtab_stages.condense_ranges import opening
from trimtab_stages.tool_results import Call, Result, calls_of, results_of, told

LEAST = 400
"""Characters from which a copy is worth a reference."""
OPENS = "[Same result as "


def repeats(messages: Sequence[Message], start: int) -> dict[int, Message]:
    """The messages from `start` on that change, by index."""
    found: dict[int, Message] = {}
    known: dict[str, Call] = {}
    caller: Message | None = None
    first = opening(messages)
    for index, message in enumerate(messages):
        if message.role == "assistant":
            caller = message
            continue
        if first <= index < start:
            continue
        going: list[tuple[Result, str]] = []
        for result in _results(message, caller):
            original = known.setdefault(result.text, result.call)
            if original is not result.call and index >= start:
                going.append((result, line(original, result)))
        if going:
            found[index] = _known(message, going)
    return found


def line(original: Call, result: Result) -> str:
    """What stands in place of the copy."""
    return f"{OPENS}of the earlier call {original}, {result.lines} lines: unchanged since.]"


def _results(message: Message, caller: Message | None) -> tuple[Result, ...]:
    """The results that are worth a reference; found once per message."""
    known = message.notes.get("repeatable")
    if known is None or known[0] is not caller:
        results = results_of(message, {} if caller is None else calls_of(caller))
        worth = tuple(result for result in results if len(result.text) >= LEAST)
        known = message.notes["repeatable"] = caller, worth
    found: tuple[Result, ...] = known[1]
    return found


def _known(message: Message, going: list[tuple[Result, str]]) -> Message:
    known = message.notes.get("repeated")
    if known is None or known[0] != going:
        known = message.notes["repeated"] = going, told(message, going)
    after: Message = known[1]
    return after
