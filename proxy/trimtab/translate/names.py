"""Ids of calls and names of tools that a stricter dialect accepts: stateless, and no two become one."""

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from trimtab.conversation import DialectName
from trimtab.translate.piece import Call

_STRICT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CLEAN = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST = {"chat": 64, "messages": 128, "responses": 64}


def squeezed(name: str) -> str:
    """A name in the letters that every dialect accepts, told apart from all others by a hash."""
    return f"{_CLEAN.sub('', name)[:40]}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def call_id(given: str, dialect: DialectName) -> str:
    """The id of a call as a dialect accepts it: chat takes any short text, messages only plain letters."""
    fits = 0 < len(given) <= 64 if dialect == "chat" else _STRICT.fullmatch(given)
    return given if fits else squeezed(given)


def tool_name(given: str, dialect: DialectName) -> str:
    """The name of a tool as a dialect accepts it."""
    plain = given and not _CLEAN.search(given)
    return given if plain and len(given) <= _LONGEST[dialect] else squeezed(given)


class Spelling(NamedTuple):
    """What the client calls the calls and tools that the upstream knows by another name."""

    ids: dict[str, str]
    tools: dict[str, str]


class Ids:
    """Gives each call of a conversation an id of its own: some models count their calls anew in every turn.

    A call's id depends on the calls before it only.
    """

    def __init__(self, used: Iterable[str] = ()) -> None:
        self._used = set(used)
        self._seen: dict[str, int] = {}
        """The number that an id got last: no smaller one is free, and none need be tried again."""

    @property
    def used(self) -> frozenset[str]:
        """The ids given so far."""
        return frozenset(self._used)

    def own(self, calls: tuple[Call, ...]) -> tuple[Call, ...]:
        """The same calls, each with an id that no earlier one has."""
        if len(calls) == 1 and calls[0].id not in self._used:
            self._used.add(calls[0].id)
            return calls
        if all(call.id not in self._used for call in calls) and len({call.id for call in calls}) == len(calls):
            self._used.update(call.id for call in calls)
            return calls
        return tuple(Call(call.said, self._fresh(call.id)) for call in calls)

    def _fresh(self, given: str) -> str:
        if given in self._used:
            at = self._seen.get(given, 1) + 1
            while (new := squeezed(f"{given}#{at}")) in self._used:
                at += 1
            self._seen[given] = at
            given = new
        self._used.add(given)
        return given
