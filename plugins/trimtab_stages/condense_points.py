"""Rung 2 of the ladder: what matters of a range of messages, taken out word for word; no model is asked.

All that the user said and the environment told once stays verbatim; the rest is what the assistant said last in
each step, which files were read and changed, which commands ran, and which errors came (context.md, WHAT TO BUILD).
"""

import re
from collections.abc import Iterator, Sequence

from trimtab.api import Message, Text, ToolUse
from trimtab_stages.condense_events import events, told
from trimtab_stages.condense_quotes import newest, quoted
from trimtab_stages.condense_ranges import MARK, said
from trimtab_stages.tool_results import Result, calls_of, results_of, shortened

PER_TOKEN = 4
STEP = 400
"""Characters of what the assistant said in a step."""
ENTRIES = 60
"""Files, commands, errors and steps of each kind that are told, the newest ones."""
TODO = 2_000
"""Characters of the list of things to do."""

_READS = re.compile(r"read|view|cat|open|fetch", re.IGNORECASE)
_CHANGES = re.compile(r"edit|write|patch|replace|insert|diff|create|delete", re.IGNORECASE)
_RUNS = re.compile(r"bash|shell|command|exec|terminal|run", re.IGNORECASE)
_STATUS = re.compile(r"exit(?:ed with)? (?:code|status):? *(-?\d+)", re.IGNORECASE)
_ERROR = re.compile(r"^.*(?:error\b|exception\b|traceback|failed|\bfatal\b).*$", re.IGNORECASE | re.MULTILINE)
_TODOS = re.compile(r"todo", re.IGNORECASE)


def points(messages: Sequence[Message], start: int, until: int, budget: int, *, whole: bool = True) -> str:
    """The text that stands for messages[start:until]: the user's words and what the environment told once, in full or,
    where `whole` is false, in at most `budget` tokens, and as many of the rest.

    A summary that stands in the range already is passed on whole.
    """
    steps, files, changed, commands, errors = _gathered(messages, start, until)
    room = budget * PER_TOKEN // 5
    parts = [
        f"{MARK}: {until - start} messages of this conversation. What follows is taken from them word for word.]",
        *spoken(messages, start, until, None if whole else budget),
        _listed("What the assistant said", steps, room),
        _listed("Files changed", changed, room),
        _listed("Files read", [name for name in files if name not in set(changed)], room),
        _listed("Commands run", commands, room),
        _listed("Errors seen", errors, room),
        todo(messages, start, until),
    ]
    return "\n\n".join(part for part in parts if part)


def spoken(messages: Sequence[Message], start: int, until: int, budget: int | None = None) -> tuple[str, str]:
    """What the user said in messages[start:until], and what the environment told once there, both word for word.

    All of it, or what `budget` tokens hold: the newest words of the user, and in what they leave the newest sections.
    """
    room = None if budget is None else budget * PER_TOKEN
    user = heard(words(messages, start, until), room)
    return user, told(events(messages, start, until), None if room is None else room - len(user))


def left_out(messages: Sequence[Message], start: int, until: int, budget: int) -> tuple[int, int]:
    """How many texts of the user and sections of the environment a budget leaves out of messages[start:until]."""
    room, user = budget * PER_TOKEN, words(messages, start, until)
    sections = events(messages, start, until)
    kept = newest(sections, room - len(heard(user, room)))
    return len(user) - len(newest(user, room)), len(sections) - len(kept)


def words(messages: Sequence[Message], start: int, until: int) -> list[str]:
    """What the user said in messages[start:until]."""
    return [text for message in messages[start:until] for text in said(message)]


def heard(spoken: Sequence[str], room: int | None = None) -> str:
    """Texts of the user as a part of a text; of those that `room` characters do not hold, the number is said."""
    kept = newest(spoken, room)
    if not spoken:
        return ""
    gone = len(spoken) - len(kept)
    note = f" ({gone} older message{'s' * (gone != 1)} left out for their size)" if gone else ""
    return "\n\n".join([f"## The user said{note}", *quoted(kept, "said")])


def todo(messages: Sequence[Message], start: int, until: int) -> str:
    """The last list of things to do that the assistant wrote in messages[start:until]."""
    for message in reversed(messages[start:until]):
        for block in reversed(message.blocks) if message.role == "assistant" else ():
            if isinstance(block, ToolUse) and _TODOS.search(block.name):
                return f"## Things to do, as last written\n{block.input.decode(errors='replace')[:TODO]}"
    return ""


Gathered = tuple[list[str], list[str], list[str], list[str], list[str]]


def _gathered(messages: Sequence[Message], start: int, until: int) -> Gathered:
    found: Gathered = ([], [], [], [], [])
    steps, files, changed, commands, errors = found
    caller: Message | None = None
    for message in messages[start:until]:
        if message.role == "assistant":
            caller = message
            steps += [shortened(text, STEP) for text in _texts(message)][-1:]
            continue
        for result in results_of(message, {} if caller is None else calls_of(caller)):
            tool, given = result.call
            if _CHANGES.search(tool):
                changed.append(given)
            elif _READS.search(tool):
                files.append(given)
            elif _RUNS.search(tool):
                commands.append(f"{given}{_status(result)}")
            errors += [shortened(line, STEP) for line in _errors(result)]
    return found


def _texts(message: Message) -> Iterator[str]:
    return (block.text for block in message.blocks if isinstance(block, Text) and block.text.strip())


def _status(result: Result) -> str:
    status = _STATUS.search(result.text)
    return f" (exit {status.group(1)})" if status else " (failed)" if result.error else ""


def _errors(result: Result) -> list[str]:
    """The first and the last line that speaks of an error; what a file says of errors is none."""
    if _READS.search(result.call.tool) and not result.error:
        return []
    lines = [line.strip() for line in _ERROR.findall(result.text)]
    return lines if len(lines) < 3 else [lines[0], lines[-1]]


def _listed(title: str, entries: Sequence[str], room: int) -> str:
    """The newest entries, each once, at the place of its last copy, as many as have `room` characters."""
    last = [*dict.fromkeys(entry for entry in reversed(entries) if entry)][:ENTRIES]
    while sum(map(len, last)) > room:
        last.pop()
    return "\n".join([f"## {title}", *(f"- {entry}" for entry in reversed(last))]) if last else ""
