"""Sessions of agents that send environment blocks, in every dialect.

Hypothesis chooses a seed and dice do the rest: its own draws, some hundred a session, cost more than the laws.
"""

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

MARK = {"cache_control": {"type": "ephemeral"}}

_VALUES: dict[str, Sequence[str]] = {
    "# VSCode Visible Files": ["a.py", "b.py", "c/d.py"],
    "# VSCode Open Tabs": ["a.py", "a.py,b.py", "a.py,b.py,ü.py", "x.py" * 40],
    "# Recently Modified Files": ["a.py", "b.py"],
    "# Actively Running Terminals": [
        "## Terminal 1 (Active)\n### New Output\nok",
        "### New Output\n\n# Current Cost\n$9\n\n# Git Status\nmine",
    ],
    "# Current Time": [f"2026-01-01T00:00:0{n}Z" for n in range(4)],
    "# Git Status": ["clean", "M a.py"],
    "# Current Cost": [f"${n}.00" for n in range(3)],
    "# Current Mode": ["<slug>code</slug>", "<slug>ask</slug>"],
    "# Current Workspace Directory (/w) Files": ["a.py\nb.py", "a.py"],
    "# Something New": ["one", "two"],
}
_TODO = (
    "You have not created a todo list yet. Create one with `update_todo_list`.\n",
    "====\n\nREMINDERS\n\n| 1 | build | Pending |\n\nIMPORTANT: keep it.\n\n",
    "====\n\nREMINDERS\n\n| 1 | build | Completed |\n\nIMPORTANT: keep it.\n\n",
)
_LINES = (
    ("Current time: 1", "Current time: 2"),
    ("Working directory: /w", "Working directory: /v"),
    ("Open tabs:\n  a.py\n  b.py", "Odd: 1"),
)


def _headed(dice: random.Random) -> str:
    """The sections of a block, in the clients' order, each there or not."""
    names = [name for name in _VALUES if dice.randrange(4)]
    body = "\n\n".join(f"{name}\n{dice.choice(_VALUES[name])}" for name in names)
    todo = dice.choice(_TODO) if dice.randrange(2) else ""
    return f"{body}\n{todo}" if todo and body else body or todo


def block(dice: random.Random) -> str:
    """An environment block, in the format of one of several clients."""
    kind = dice.randrange(6)
    text = _headed(dice) if kind < 3 else ("\n".join(map(dice.choice, _LINES)), "odd", "")[kind - 3]
    return f"<environment_details>\n{text}\n</environment_details>"


class Said(NamedTuple):
    """A turn of the user: what of it is there, and what the assistant says to it."""

    texts: Sequence[str]
    results: Sequence[str]
    where: str
    """Where the block stands: as a part of its own, behind a text, behind the last result, in two messages, nowhere."""
    block: str
    other: str
    reply: str


_TEXTS = (
    "do it",
    "see ```\ncode",
    "quoted\n\n<environment_details>\n# Current Time\n1\n</environment_details>",
    "é\U0001f600 \\ /",
)
_RESULTS = ("read ok", "1 | x")
_WHERE = ("part", "part", "part", "behind", "result", "twice", "nowhere")


def _turn(dice: random.Random) -> Said:
    return Said(
        texts=[dice.choice(_TEXTS) for _ in range(dice.randrange(3))],
        results=[dice.choice((*_RESULTS, block(dice), block(dice))) for _ in range(dice.randrange(3))],
        where=dice.choice(_WHERE),
        block=block(dice),
        other=block(dice),
        reply=dice.choice(("I see", block(dice))),
    )


class Session(NamedTuple):
    """A dialect and its messages; `requests` gives the bodies of the turns."""

    dialect: str
    messages: list[dict[str, Any]]
    marked: bool
    ascii: bool

    def requests(self) -> Iterator[bytes]:
        """The body of each turn, as the client encodes it."""
        for index, message in enumerate(self.messages):
            last = index + 1 == len(self.messages) or answers(self.messages[index + 1])
            if not answers(message) and last:
                messages = self.messages[: index + 1]
                sent = _marked(messages) if self.marked else messages
                more = {"input": sent} if self.dialect == "responses" else {"max_tokens": 9, "messages": sent}
                yield json.dumps({"model": "small", **more}, ensure_ascii=self.ascii).encode()


def answers(message: dict[str, Any]) -> bool:
    """Whether the assistant says a message; an item of Responses may have no role."""
    return message.get("role") == "assistant" or message.get("type") in ("function_call", "reasoning")


_DIALECTS = ("messages", "chat", "responses")


def sessions(dialect: str = "") -> st.SearchStrategy[Session]:
    """Sessions of one to six turns."""
    return st.integers(0, 2**48).map(lambda seed: session(random.Random(seed), dialect))


def session(dice: random.Random, dialect: str = "") -> Session:
    """One of them; in any dialect where none is named."""
    dialect = dialect or dice.choice(_DIALECTS)
    turns = [_turn(dice) for _ in range(dice.randint(1, 6))]
    messages: list[dict[str, Any]] = []
    for number, turn in enumerate(turns):
        results = turn.results if number else ()
        messages += _MAKERS[dialect](turn, results, number)
        calls = len(turns[number + 1].results) if number + 1 < len(turns) else 0
        messages += _reply(dialect, turn.reply, calls, number + 1)
    # Responses knows no cache marks.
    marked = dialect != "responses" and dice.random() < 0.5
    return Session(dialect, messages, marked, dice.random() < 0.5)


def _reply(dialect: str, text: str, calls: int, number: int) -> list[dict[str, Any]]:
    if dialect == "responses":
        thought = {"type": "reasoning", "id": f"rs_{number}", "summary": [], "encrypted_content": "Z0FB"}
        said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
        named = {"type": "function_call", "name": "read", "arguments": "{}"}
        return [*[thought] * (number % 2), said, *({**named, "call_id": f"c{number}_{n}"} for n in range(calls))]
    if dialect == "messages":
        uses = [{"type": "tool_use", "id": f"c{number}_{n}", "name": "read", "input": {}} for n in range(calls)]
        return [{"role": "assistant", "content": [{"type": "text", "text": text}, *uses]}]
    function = {"name": "read", "arguments": "{}"}
    called = [{"id": f"c{number}_{n}", "type": "function", "function": function} for n in range(calls)]
    return [{"role": "assistant", "content": text, **({"tool_calls": called} if called else {})}]


def _texts(turn: Said) -> list[str]:
    """The texts of the user's message, the block among them."""
    texts = list(turn.texts)
    if turn.where == "behind" and texts:
        texts[-1] += f"\n\n{turn.block}"
    elif turn.where in ("part", "twice") or (turn.where in ("behind", "result") and not texts and not turn.results):
        texts.append(turn.block)
    return texts


def _results(turn: Said, results: Sequence[str]) -> list[str]:
    given = list(results)
    if given and turn.where == "result":
        given[-1] += f"\n\n{turn.block}"
    return given


def _of_messages(turn: Said, results: Sequence[str], number: int) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [
        {"type": "tool_result", "tool_use_id": f"c{number}_{n}", "content": text}
        for n, text in enumerate(_results(turn, results))
    ]
    parts += [{"type": "text", "text": text} for text in _texts(turn)]
    messages = [{"role": "user", "content": parts or "go on"}]
    return [*messages, {"role": "user", "content": turn.other}] if turn.where == "twice" else messages


def _of_chat(turn: Said, results: Sequence[str], number: int) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [
        {"role": "tool", "tool_call_id": f"c{number}_{n}", "content": text}
        for n, text in enumerate(_results(turn, results))
    ]
    texts = _texts(turn)
    if len(texts) == 1:
        messages.append({"role": "user", "content": texts[0]})
    elif texts:
        messages.append({"role": "user", "content": [{"type": "text", "text": text} for text in texts]})
    if turn.where == "twice" or not messages:
        messages.append({"role": "user", "content": turn.other if turn.where == "twice" else "go on"})
    return messages


def _of_responses(turn: Said, results: Sequence[str], number: int) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = [
        {"type": "function_call_output", "call_id": f"c{number}_{n}", "output": text}
        for n, text in enumerate(_results(turn, results))
    ]
    texts = _texts(turn)
    if texts:
        parts = [{"type": "input_text", "text": text} for text in texts]
        items.append({"type": "message", "role": "user", "content": parts})
    if turn.where == "twice" or not items:
        # The short form, which clients use too: no type, and a string.
        items.append({"role": "user", "content": turn.other if turn.where == "twice" else "go on"})
    return items


_MAKERS = {"messages": _of_messages, "chat": _of_chat, "responses": _of_responses}


def _marked(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with marks on the last block of the last two messages of the user, as agents set them."""
    marked = list(messages)
    for index in [index for index, message in enumerate(messages) if message["role"] == "user"][-2:]:
        content = messages[index]["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        marked[index] = {**messages[index], "content": [*parts[:-1], {**parts[-1], **MARK}]}
    return marked
