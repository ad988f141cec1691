"""Rungs 3 and 4 of the ladder: the questions to a model that summarises, and what of its answers is used."""

import hashlib
from collections.abc import Iterator, Sequence

from trimtab.api import Message, Prompt, Text, ToolUse
from trimtab_stages.condense_events import retold, told
from trimtab_stages.condense_points import PER_TOKEN, heard, spoken, todo
from trimtab_stages.condense_quotes import quotes, unquoted
from trimtab_stages.condense_ranges import MARK, said
from trimtab_stages.tool_results import argument, calls_of, results_of

VERSION = 1
"""Of the questions; another one asks anew."""
MOST = 4_000
"""Tokens of an answer."""
LEAST = 200
"""Characters that an answer has at least."""
TEXT, RESULT = 4_000, 800
"""Characters shown of a text and of a tool's result."""
HEADINGS = ("Goal", "Constraints", "Decisions", "Files changed", "Errors", "Open work", "Next step")
NEEDED = 4
"""Headings that an answer has at least."""

_ASKED = (
    "You keep the notes of a coding agent whose earlier messages will be removed. Write the notes anew from the notes "
    "so far and the messages that follow them. Use exactly these headings, each on a line of its own behind '## ': "
    f"{', '.join(HEADINGS)}. Quote file paths, names, commands, error texts and numbers word for word. Keep every "
    "constraint the user set. No introduction, no advice, at most 1,200 words."
)
_FOLDED = (
    "These are two parts of the notes of a coding agent, the older first. Write one from both, shorter than they are "
    f"together, under exactly these headings, each behind '## ': {', '.join(HEADINGS)}. Where they disagree the newer "
    "one is right. Quote paths, error texts and numbers word for word. No introduction."
)


def chunks(messages: Sequence[Message], start: int, until: int, size: int) -> Iterator[range]:
    """The ranges that one question each is about."""
    return (range(first, min(first + size, until)) for first in range(start, until, size))


def keys(messages: Sequence[Message], parts: Sequence[range], model: str) -> list[bytes]:
    """The name of the notes behind each part: they rest on all messages up to there, the model and the question."""
    found: list[bytes] = []
    known = hashlib.sha256(f"{VERSION}\n{model}".encode()).digest()
    for part in parts:
        known = hashlib.sha256(known + b"".join(messages[index].digest for index in part)).digest()
        found.append(known)
    return found


def question(messages: Sequence[Message], part: range, notes: str) -> Prompt:
    """What is asked about a part, with the notes on all before it."""
    shown = "\n\n".join(text for index in part if (text := shown_of(messages, index)))
    asked = f"Notes so far:\n{notes or '(none)'}\n\nMessages:\n\n{shown}"
    return Prompt(system=_ASKED, content=(Text(text=asked),), max_tokens=MOST, temperature=0.0)


def folding(older: str, newer: str) -> Prompt:
    """What is asked to make one text of two."""
    asked = f"Older:\n{older}\n\nNewer:\n{newer}"
    return Prompt(system=_FOLDED, content=(Text(text=asked),), max_tokens=MOST, temperature=0.0)


def fold_key(older: str, newer: str, model: str) -> bytes:
    """The name of the text made of two others, which are named by their own."""
    return hashlib.sha256(f"{VERSION}\n{model}\n{older}\n{newer}".encode()).digest()


def shown_of(messages: Sequence[Message], index: int) -> str:
    """A message as the model reads it: texts, calls with their arguments, results by their beginning and end."""
    message = messages[index]
    if message.role == "assistant":
        parts = [_short(block.text, TEXT) for block in message.blocks if isinstance(block, Text)]
        parts += [
            f"[calls {block.name} {argument(block.input)}]" for block in message.blocks if isinstance(block, ToolUse)
        ]
        return "assistant: " + "\n".join(parts) if parts else ""
    caller = next((each for each in reversed(messages[:index]) if each.role == "assistant"), None)
    results = results_of(message, {} if caller is None else calls_of(caller))
    parts = [f"[{result.call} gave] {_short(result.text, RESULT)}" for result in results]
    parts += [_short(text, TEXT) for text in said(message)]
    return f"{message.role}: " + "\n".join(parts) if parts else ""


def _short(text: str, size: int) -> str:
    text = text.strip()
    return text if len(text) <= size else f"{text[: size * 3 // 4]} [...] {text[-size // 4 :]}"


def checked(answer: str) -> str | None:
    """A model's answer as notes; None where it has too few of the headings, or is no notes by its length."""
    text = unquoted(answer.strip())
    found = sum(f"## {heading}".lower() in text.lower() for heading in HEADINGS)
    if found < NEEDED or not LEAST <= len(text) <= 2 * MOST * PER_TOKEN:
        return None
    return text


def frozen(messages: Sequence[Message], start: int, until: int, notes: str) -> str:
    """The text that stands for messages[start:until]: a model's notes, and what must not depend on a model."""
    head = f"{MARK}: {until - start} messages of this conversation, summarised by a model.]"
    parts = (head, notes, *spoken(messages, start, until), todo(messages, start, until))
    return "\n\n".join(part for part in parts if part)


def joined(notes: str, older: str, newer: str) -> str:
    """The text that stands for two older ones: a model's notes, and what both quote of the user and the environment."""
    said = heard([*quotes(older, "said"), *quotes(newer, "said")])
    environment = told([*retold(older), *retold(newer)])
    parts = (f"{MARK}: two summaries, made one by a model.]", notes, said, environment)
    return "\n\n".join(part for part in parts if part)
