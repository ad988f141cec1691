"""Replies of a translated request: the client's own names of calls and tools come back."""

from collections.abc import Sequence

from trimtab.events import Event, ToolStart, replace
from trimtab.translate.names import Spelling


def respelled(events: Sequence[Event], spelling: Spelling) -> Sequence[Event]:
    """Events in the client's spelling; the very same sequence where nothing is spelled in another way."""
    if not any(isinstance(event, ToolStart) and _other(event, spelling) for event in events):
        return events
    return [_respelled(event, spelling) if isinstance(event, ToolStart) else event for event in events]


def _other(event: ToolStart, spelling: Spelling) -> bool:
    return event.id in spelling.ids or event.name in spelling.tools


def _respelled(event: ToolStart, spelling: Spelling) -> ToolStart:
    return replace(event, id=spelling.ids.get(event.id, event.id), name=spelling.tools.get(event.name, event.name))
