"""What a record says, as changes to messages: a function of the messages before its frontier, and of its texts."""

from collections.abc import Sequence

from trimtab.api import Boundary, Epoch, Message, Text
from trimtab_stages.cache_marks import mark_in, with_mark
from trimtab_stages.condense_mask import masks
from trimtab_stages.condense_points import left_out, points
from trimtab_stages.condense_ranges import MARK, opening, task

MASK, POINTS, TEXTS = "smart_truncation", "key_point_extraction", "summary"
"""The forms of a record that lose nothing the user said: one line for each old result, or texts for a range."""
BRIEF, DROP = "shortened_key_points", "truncation"
"""Those that do, for what fits by no other means: the newest of it within a budget, or a notice."""

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
    mark = next(filter(None, map(mark_in, reversed(messages[start:until]))), None)
    return {place: _appended(messages[place], tuple(told), mark), **dict.fromkeys(range(start, until))}


def record(form: str, place: Boundary, *, messages: int | None = None, texts: tuple[str, ...] = ()) -> Epoch:
    """The record of a form at a boundary; its range ends there unless `messages` says where."""
    return Epoch(form=form, messages=place.messages if messages is None else messages, size=place.size, texts=texts)


def stand_in(messages: Sequence[Message], form: str, start: int, until: int, budget: int) -> str:
    """The text that stands for messages[start:until] without a model; made once."""
    if form == DROP:
        return NOTICE
    last, asked = messages[until - 1], (form, start, budget, messages[:until])
    known = last.notes.get("points")
    if known is None or known[0] != asked:
        text = points(messages, start, until, budget, whole=form != BRIEF)
        known = last.notes["points"] = asked, text, left_out(messages, start, until, budget)
    return str(known[1])


def lost(messages: Sequence[Message], epoch: Epoch, budget: int) -> str:
    """What a record leaves out that nothing stands for, in words; empty where that is nothing."""
    start, until = opening(messages), min(epoch.messages, len(messages))
    if epoch.form == DROP:
        return f"{epoch.messages} messages"
    if epoch.form != BRIEF or until <= start:
        return ""
    stand_in(messages, BRIEF, start, until, budget)
    words, sections = messages[until - 1].notes["points"][2]
    return f"{words} messages of the user, {sections} sections" if words or sections else ""


def _appended(message: Message, texts: tuple[str, ...], mark: bytes | None) -> Message:
    """The task with texts behind it, one part each, so that the ones before stay as they are.

    The last of them takes the last cache mark of the range that goes (context.md 5, I3).
    """
    known = message.notes.get("condensed")
    if known is None or known[0] != (texts, mark):
        fresh = [Text(text=text) for text in texts]
        fresh[-1:] = [with_mark(text, mark) for text in fresh[-1:]]
        known = message.notes["condensed"] = (texts, mark), message.with_blocks([*message.blocks, *fresh])
    after: Message = known[1]
    return after
