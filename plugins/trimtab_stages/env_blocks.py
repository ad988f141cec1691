"""Environment blocks in a text: where one stands, and the sections it is made of.

Nothing here is a regular expression over the text: tags and headers are found by searching for them, each once.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

Rule = Literal["state", "history", "kept"]
"""What may happen to a section: `state` goes when a later block says it anew; `history` goes only where it repeats what
was last said (the mode, the list of files: a change is something the model must remember); `kept` never goes."""


class Tags(NamedTuple):
    """What a block opens and closes with."""

    open: str
    close: str
    whole: bool = False
    """Whether what has no header in it is one state; so it is for tags that a user named, since that is why."""


class Section(NamedTuple):
    """A part of a block: all its text, the key under which other blocks say the same, and what may happen to it."""

    text: str
    key: str = ""
    rule: Rule = "kept"

    @property
    def value(self) -> str:
        """What it says; the white space behind it is layout."""
        return self.text.rstrip()


class Block(NamedTuple):
    """A block in a text: text[start:end] == head + the texts of its sections + foot."""

    start: int
    end: int
    head: str
    sections: tuple[Section, ...]
    foot: str


UNCHANGED = "A section that is missing here, or in a later block, is unchanged since it was last shown."
"""What `delta` says, once, in the first block that it shortens."""
FENCED = ("environment", "environment_details")
"""What a code fence says of itself that is an environment block."""
ENVIRONMENT = Tags("<environment_details>", "</environment_details>")

_STATES = (
    "Workspace Roots",
    "Current Time",
    "Git Status",
    "Current Cost",
    "Current Context Size",
    "Context Window Usage",
    "Browser Session Status",
    "Review Exclusions",
)
_HOSTED = (" Visible Files", " Open Tabs")
"""Their headers begin with the name of the editor."""
_MODE = "Current Mode"
_LISTS = ("Current Workspace Directory", "Current Working Directory")
"""The list of files comes once; a client that lists them again and again mostly says the same."""
_TERMINALS = ("Actively Running Terminals", "Inactive Terminals")
_BEHIND_TERMINALS = (
    "Current Time",
    "Current Cost",
    "Current Context Size",
    "Context Window Usage",
    "Review Exclusions",
    _MODE,
)
"""What clients write behind the output of terminals. Any other header there may be a line of that output."""
_TODO = ("\n====\n\nREMINDERS\n", "\nYou have not created a todo list yet.")
"""What opens the list of things to do, which stands at the end and under no header."""
_LINES = (
    "Message time",
    "Current time",
    "Working directory",
    "Workspace root folder",
    "Active file",
    "Visible files",
    "Open tabs",
)
"""Keys of the form that has no headers."""


def find(text: str, tags: Sequence[Tags], *, joined: bool = False) -> Block | None:
    """The environment block that ends a text: behind it stands white space only, before it nothing or a blank line.

    `joined` says that a client may have made the text of several parts with one line break between them (context.md
    2.3): then it is enough that the block begins a line.
    """
    end = len(text.rstrip())
    for pair in tags:
        if text.endswith(pair.close, 0, end):
            start = _opening(text, pair, end)
            opens = start >= 0 and (_opens_paragraph(text, start) or (joined and text[start - 1] == "\n"))
            if opens and not _fenced(text, start):
                return _block(text, start, end, pair)
    start, fence = _environment_fence(text, end)
    if fence is not None and _opens_paragraph(text, start) and not _fenced(text, start):
        return _block(text, start, end, fence)
    return None


def _environment_fence(text: str, end: int) -> tuple[int, Tags | None]:
    """Where the fence opens that ends here, if it says that it holds an environment; nothing in it looks like one."""
    line = text.rfind("\n", 0, end) + 1
    close = text[line:end]
    if close[:3] not in ("```", "~~~") or close != close[0] * len(close):
        return -1, None
    opened = text.rfind(f"\n{close[:3]}", 0, max(0, line - 1)) + 1
    title = text[opened : text.find("\n", opened) + 1]
    mark = title[: len(title) - len(title.lstrip(close[0]))]
    if mark == close and title[len(mark) :].strip() in FENCED and opened < line:
        return opened, Tags(title.rstrip(), close)
    return -1, None


def _opening(text: str, tags: Tags, end: int) -> int:
    """Where the tag stands that the close tag at `end` belongs to, -1 when there is none; one walk backwards."""
    depth = 0
    opened = text.rfind(tags.open, 0, end)
    closed = end - len(tags.close)
    while opened >= 0:
        if closed > opened:
            depth += 1
            closed = text.rfind(tags.close, 0, closed)
        elif depth == 1:
            return opened
        else:
            depth -= 1
            opened = text.rfind(tags.open, 0, opened)
    return -1


def _opens_paragraph(text: str, start: int) -> bool:
    if not text[:start].strip():
        return True
    return text[start - 1] == "\n" and _blank_before(text, start - 1)


def _blank_before(text: str, newline: int) -> bool:
    """Whether the line that ends at this newline is blank."""
    return not text[text.rfind("\n", 0, newline) + 1 : newline].strip()


def _fenced(text: str, start: int) -> bool:
    """Whether a code fence is open at `start`."""
    before = text[:start]
    if "```" not in before and "~~~" not in before:
        return False
    fence = ""
    for line in before.splitlines():
        mark = line.strip()
        run = len(mark) - len(mark.lstrip(mark[0])) if mark[:3] in ("```", "~~~") else 0
        if run and not fence:
            fence = mark[:run]
        elif run and mark == mark[0] * run and mark.startswith(fence):
            fence = ""
    return bool(fence)


def _block(text: str, start: int, end: int, tags: Tags) -> Block:
    inner = text[start + len(tags.open) : end - len(tags.close)]
    lead = len(inner) - len(inner.lstrip())
    if lead < len(inner):
        # The lines of white space before the first section belong to the tag, so that each section is whole lines.
        lead = inner.rfind("\n", 0, lead) + 1
    sections = tuple(_sections(inner, lead, tags)) if lead < len(inner) else ()
    return Block(start, end, tags.open + inner[:lead], sections, tags.close)


def _sections(inner: str, lead: int, tags: Tags) -> Iterator[Section]:
    starts = [at for at in _headers(inner) if at >= lead]
    todo = max(inner.rfind(mark, max(0, (starts or [lead])[-1] - 1)) for mark in _TODO) + 1
    marks = [*starts, todo] if todo else starts
    if not marks and not tags.whole:
        yield from _lines(inner[lead:])
        return
    if not marks or marks[0] > lead:
        yield _unnamed(inner[lead : (marks or [len(inner)])[0]], tags)
    terminal = False
    for at, end in pairwise([*marks, len(inner)]):
        text = inner[at:end]
        if at == todo:
            yield Section(text, "todo", "state")
            continue
        title = text[2 : text.find("\n") if "\n" in text else len(text)].strip()
        yield Section(text, *_class(title, terminal=terminal))
        terminal = terminal or title.startswith(_TERMINALS)


def _headers(inner: str) -> Iterator[int]:
    """Where a line opens with `# `, at the start of the block or behind a blank line."""
    at = inner.find("\n# ")
    while at >= 0:
        if _blank_before(inner, at):
            yield at + 1
        at = inner.find("\n# ", at + 1)


def _unnamed(text: str, tags: Tags) -> Section:
    return Section(text, tags.open, "state") if tags.whole and text.strip() not in ("", UNCHANGED) else Section(text)


def _class(title: str, *, terminal: bool) -> tuple[str, Rule]:
    """The key and the rule of a section by its header; `terminal` says that one with output stands before it."""
    plain = title.partition(" (")[0]
    key = plain if plain in (*_STATES, *_LISTS, _MODE) else ""
    key = key or next((name for name in _HOSTED if f" {title}".endswith(name)), "")
    if not key or (terminal and key not in _BEHIND_TERMINALS):
        return key, "kept"
    return key, "history" if key == _MODE or key in _LISTS else "state"


def _lines(inner: str) -> Iterator[Section]:
    """The sections of the form `Key: value`, with indented lines under a key; one that stays where no key is known."""
    lines = inner.splitlines(keepends=True)
    if not any(_key(line) for line in lines):
        yield Section(inner)
        return
    text = key = ""
    for line in lines:
        if text and not line[:1].isspace():
            yield _line(text, key)
            text = ""
        key = key if text else _key(line)
        text += line
    yield _line(text, key)


def _key(line: str) -> str:
    name, colon, _ = line.partition(":")
    return name if colon and name in _LINES else ""


def _line(text: str, key: str) -> Section:
    return Section(text, key, "state") if key else Section(text)
