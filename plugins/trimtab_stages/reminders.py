"""The reminders that agents put into texts, found in one pass: an expression would begin anew at each opening tag."""

from collections.abc import Iterator

_OPENS, _CLOSES = "<system-reminder>", "</system-reminder>"


def reminders(text: str) -> list[str]:
    """Each reminder with its tags."""
    return [text[start:end] for start, end in _spans(text)]


def without_reminders(text: str) -> str:
    """What is left of a text."""
    kept, behind = [], 0
    for start, end in _spans(text):
        kept.append(text[behind:start])
        behind = end
    return "".join([*kept, text[behind:]])


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Where reminders stand, each up to the first closing tag; one that has none is text."""
    end = 0
    while (start := text.find(_OPENS, end)) >= 0 and (close := text.find(_CLOSES, start)) >= 0:
        end = close + len(_CLOSES)
        yield start, end
