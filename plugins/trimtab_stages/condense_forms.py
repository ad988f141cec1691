"""What a record says, as changes to messages: a function of the messages before its frontier, and of its texts."""

from collections.abc import Sequence

from trimtab.api import Epoch, Message, Text
from trimtab_stages.condense_mask import masks
from trimtab_stages.condense_points import points
from trimtab_stages.condense_ranges import MARK, opening, task

MASK, POINTS, TEXTS, DROP = "smart_truncation", "key_point_extraction", "summary", "truncation"
"""The forms of a record: one line for each old result, or one text for a range of messages."""

NOTICE = (
    f"{MARK}: earlier messages were removed because the conversation no longer fits the model's window. Ask for what "
    "is missing, or read the files again.]"
)

Changes = dict[int, Message | None]


def changes(messages: Sequence[Message], epoch: Epoch, texts: Sequence[str], budget: int) -> Changes:
    """What changes by a record; nothing where it declined."""
    start, until = opening(messages), min(epoch.messages, len(messages))
    if not epoch.form or until <= start:
        return {}
    if epoch.form == MASK:
        return {**masks(messages, start, until)}
    place = task(messages)
    if place is None:
        return {}
    told = texts if epoch.form == TEXTS else (stand_in(messages, epoch.form, start, until, budget),)
    return {place: _appended(messages[place], tuple(told)), **dict.fromkeys(range(start, until))}


def stand_in(messages: Sequence[Message], form: str, start: int, until: int, budget: int) -> str:
    """The text that stands for messages[start:until] without a model; made once."""
    if form == DROP:
        return NOTICE
    last = messages[until - 1]
    known = last.notes.get("points")
    if known is None or known[:3] != (start, budget, messages[:until]):
        known = last.notes["points"] = start, budget, messages[:until], points(messages, start, until, budget)
    return str(known[3])


def _appended(message: Message, texts: tuple[str, ...]) -> Message:
    """The task with texts behind it, one part each, so that the ones before stay as they are."""
    known = message.notes.get("condensed")
    if known is None or known[0] != texts:
        known = message.notes["condensed"] = (
            texts,
            message.with_blocks([*message.blocks, *(Text(text=text) for text in texts)]),
        )
    after: Message = known[1]
    return after
