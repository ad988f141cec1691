"""Words of others inside a text of ours, word for word, so that a later text can take them over."""

import re
from collections import deque
from collections.abc import Sequence

_OURS = re.compile(r"^(?=</?(?:said|told)(?:-\d+)?>$)", re.MULTILINE)


def quoted(texts: Sequence[str], name: str) -> list[str]:
    """Each text between two lines that name who spoke; numbered where the text itself has such a line."""
    return [_between(text, name) for text in texts]


def quotes(text: str, name: str) -> list[str]:
    """What stands between such lines in a text."""
    lines = text.split("\n")
    closed: dict[str, deque[int]] = {}
    for at, line in enumerate(lines):
        if line.startswith("</"):
            closed.setdefault(line, deque()).append(at)
    found, behind = [], 0
    for at, line in enumerate(lines):
        if at < behind or not _opens(line, name):
            continue
        ends = closed.get(f"</{line[1:]}", deque())
        # Those before this line close nothing that stands behind it: each is passed over once.
        while ends and ends[0] < at + 2:
            ends.popleft()
        if ends:
            found.append("\n".join(lines[at + 1 : ends[0]]))
            behind = ends[0] + 1
    return found


def _opens(line: str, name: str) -> bool:
    """Whether a line is the tag of a name, with a number or without."""
    if not (line.startswith(f"<{name}") and line.endswith(">")):
        return False
    number = line[len(name) + 1 : -1]
    return not number or (number[0] == "-" and number[1:].isdecimal())


def unquoted(text: str) -> str:
    """A model's words without lines that would be read as ours."""
    return _OURS.sub(" ", text)


def newest(texts: Sequence[str], room: int | None) -> Sequence[str]:
    """The newest of some texts that `room` characters hold; all of them where there is no limit."""
    if room is None:
        return texts
    first = len(texts)
    while first and len(texts[first - 1]) <= room:
        first -= 1
        room -= len(texts[first])
    return texts[first:]


def _between(text: str, name: str) -> str:
    lines, tag, number = set(text.split("\n")), name, 1
    while f"</{tag}>" in lines:
        number += 1
        tag = f"{name}-{number}"
    return f"<{tag}>\n{text}\n</{tag}>"
