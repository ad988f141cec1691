"""A translated head on its way: what it has so far, what was dropped, and what must be told in words instead."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from trimtab.conversation import Conversation
from trimtab.errors import BadRequest
from trimtab.models import Target
from trimtab.translate.piece import word

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""How hard a model may be asked to think, of both dialects, the least first."""

MOST_WORDS, LONGEST_WORD = 64, 1000
"""Stop words that are looked for in a reply, and their characters; OpenAI takes 4 words in all."""

_BUDGETS = {"low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_768, "max": 32_768}


class Draft:
    """Collects the members of a body for a target; names in `dropped` are the client's."""

    def __init__(self, conversation: Conversation, target: Target) -> None:
        self.conversation = conversation
        self.target = target
        self.out: dict[str, Any] = {}
        self.dropped: dict[str, None] = {}
        self.tools: dict[str, None] = {}
        """Tools among what was dropped, by their kind."""
        self.lines: list[str] = []
        """What the system prompt has to say besides, where the target has no member for it."""
        self.told_schema: Any = None
        """The schema for the reply's JSON that is told in words only."""
        self.stop_words: tuple[str, ...] = ()
        """Stop words of the client that the target is not told; the proxy ends the reply at them itself."""
        self.marks = 0
        """Cache marks on the tools."""

    def watch(self, words: Sequence[str], said: str) -> None:
        """Have the proxy itself end the reply at these words, which the target is not told.

        Raises BadRequest where there are more than can be looked for in every piece of a reply.
        """
        if len(words) > MOST_WORDS or any(len(word) > LONGEST_WORD for word in words):
            told = f"the upstream takes few stop words, and the proxy looks for {MOST_WORDS} more at most, of up to"
            raise BadRequest(f"{told} {LONGEST_WORD} characters: send fewer or shorter ones", param=said)
        self.stop_words = tuple(words)

    def tell_schema(self, schema: Any) -> None:
        """Ask for JSON by a schema in words, where the target has no member for it."""
        self.lines.append(schema_line(schema))
        self.told_schema = schema

    def drop(self, name: str) -> None:
        """Report a member that the target does not get."""
        self.dropped[word(name)] = None

    def drop_tool(self, kind: str) -> None:
        """Report a tool that the target is not offered."""
        self.drop(kind)
        self.tools[word(kind)] = None

    def takes(self, member: str) -> bool:
        """Whether the upstream accepts a member."""
        accepts = self.target.upstream.accepts
        refused = member in self.target.upstream.drop or member in self.target.model.drop
        return (not accepts or member in accepts) and not refused

    def set(self, member: str, value: Any, said: str) -> None:
        """Set a member that the client calls `said`, if the upstream accepts it."""
        if self.takes(member):
            self.out[member] = value
        else:
            self.drop(said)

    def clip(self, member: str, value: Any, limits: tuple[float, float] | None) -> None:
        """Set a number within limits; a clipped one is reported."""
        if not _number(value):
            self.drop(member)
            return
        low, high = limits or (value, value)
        if not low <= value <= high:
            self.drop(member)
        self.set(member, min(max(value, low), high), member)

    def limit(self, member: str, value: Any) -> int | None:
        """A limit of output that the model accepts, None for what is none; that and a clipped one are reported."""
        if not _number(value) or value < 1:
            if value is not None:
                self.drop(member)
            return None
        most = self.target.model.max_output
        if most and value > most:
            self.drop(member)
        return min(int(value), most) if most else int(value)

    def copy(self, rules: "Rules") -> None:
        """Apply a rule to each member that the client sent; what has none is dropped, unless it says nothing."""
        head = self.conversation.head
        for name in dict.fromkeys((*head.scanned.members, *head.changes)):
            rule = rules.get(name)
            if rule is nothing:
                # Not even read: the messages are among these.
                continue
            if rule is not None:
                value = head.get(name)
                if value is not None:
                    rule(self, value)
            elif head.raw(name) not in (None, b"null", b"[]", b"{}", b'""', b"false"):
                self.drop(name)


Rules = Mapping[str, Callable[[Draft, Any], None]]
"""What becomes of each member of a head, in the target's terms."""


def nothing(_draft: Draft, _value: Any) -> None:
    """The rule for a member that is handled elsewhere."""


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def effort_of(budget: int) -> str:
    """The effort that a budget of thought stands for."""
    return "low" if budget <= _BUDGETS["low"] else "medium" if budget <= _BUDGETS["medium"] else "high"


def budget_of(effort: str) -> int:
    """The budget of thought for an effort."""
    return _BUDGETS.get(effort, _BUDGETS["medium"])


def nearest(effort: str, known: tuple[str, ...]) -> str:
    """The effort among those known that is the next higher one, or the highest."""
    rank = EFFORTS.index(effort) if effort in EFFORTS else EFFORTS.index("medium")
    able = sorted(EFFORTS.index(name) for name in known if name in EFFORTS)
    return EFFORTS[next((at for at in able if at >= rank), able[-1])]


def pseudonym(user: str, least: int, most: int) -> str:
    """A user's name of a length that the upstream accepts: a long or short one becomes its hash, always the same."""
    return user if least <= len(user) <= most else hashlib.sha256(user.encode()).hexdigest()[:32]


def schema_line(schema: Any) -> str:
    """The wish for JSON by a schema, in words."""
    told = msgspec.json.encode(schema).decode()
    return f"Answer with one JSON value that matches this JSON Schema, and with nothing else:\n{told}"


JSON_LINE = "Answer with one JSON object and with nothing else."
"""The wish for any JSON, in words."""
