"""Replies of a translated request: the client's own names of calls and tools come back."""

import re
from collections.abc import Sequence

from trimtab.conversation import DialectName
from trimtab.dialects.ids import Token, token
from trimtab.events import Event, ToolStart, replace
from trimtab.translate.names import Spelling, squeezed

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


def respelled(events: Sequence[Event], spelling: Spelling) -> Sequence[Event]:
    """Events in the client's spelling; the very same sequence where nothing is spelled in another way."""
    if not any(isinstance(event, ToolStart) and _other(event, spelling) for event in events):
        return events
    return [_respelled(event, spelling) if isinstance(event, ToolStart) else event for event in events]


def _other(event: ToolStart, spelling: Spelling) -> bool:
    return event.id in spelling.ids or event.name in spelling.tools


def _respelled(event: ToolStart, spelling: Spelling) -> ToolStart:
    return replace(event, id=spelling.ids.get(event.id, event.id), name=spelling.tools.get(event.name, event.name))


class OwnIds:
    """Gives each call of one reply an id of its own, where the upstream tells none or one of them twice.

    Clients answer a call by its id: of two calls with one id they would answer one. A client of messages gets the plain
    letters that its dialect prescribes, since it may go on with an upstream that insists on them.
    """

    def __init__(self, client: DialectName, make: Token = token) -> None:
        self._client = client
        self._make = make
        self._given: set[str] = set()

    def own(self, events: Sequence[Event]) -> Sequence[Event]:
        """The events with those ids; the very same sequence where all are fine."""
        starts = [event for event in events if isinstance(event, ToolStart)]
        if not starts:
            return events
        ids = {start: self._fresh(start.id) for start in starts}
        if all(start.id == given for start, given in ids.items()):
            return events
        return [replace(event, id=ids[event]) if isinstance(event, ToolStart) else event for event in events]

    def _fresh(self, given: str) -> str:
        if not given or given in self._given:
            given = f"call_{self._make()}"
        elif self._client == "messages" and not _PLAIN.fullmatch(given):
            given = squeezed(given)
        self._given.add(given)
        return given
