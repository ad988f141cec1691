"""Words of others inside a text of ours, word for word, so that a later text can take them over."""

import re
from collections.abc import Sequence

_OURS = re.compile(r"^(?=</?(?:said|told)(?:-\d+)?>$)", re.MULTILINE)


def quoted(texts: Sequence[str], name: str) -> list[str]:
    """Each text between two lines that name who spoke; numbered where the text itself has such a line."""
    return [_between(text, name) for text in texts]


def quotes(text: str, name: str) -> list[str]:
    """What stands between such lines in a text."""
    return [found for _, found in re.findall(rf"^<({name}(?:-\d+)?)>\n(.*?)\n</\1>$", text, re.DOTALL | re.MULTILINE)]


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
