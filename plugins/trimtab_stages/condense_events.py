"""What the environment blocks of a range told once: sections that no later block says anew, kept word for word."""

from collections.abc import Sequence

from trimtab.api import Message
from trimtab_stages.condense_quotes import newest, quoted, quotes
from trimtab_stages.env_blocks import ENVIRONMENT
from trimtab_stages.env_places import find


def events(messages: Sequence[Message], start: int, until: int) -> list[str]:
    """The sections of messages[start:until] that are no states, each once, at the place of its last copy."""
    return _once([text for message in messages[start:until] for text in _told(message)])


def told(sections: Sequence[str], room: int | None = None) -> str:
    """Sections as a part of a text, each once; of those that `room` characters do not hold, the number is said."""
    sections = _once(sections)
    kept = newest(sections, room)
    gone = len(sections) - len(kept)
    if not sections:
        return ""
    note = f" ({gone} older section{'s' * (gone != 1)} left out for their size)" if gone else ""
    return "\n\n".join([f"## The environment told{note}", *quoted(kept, "told")])


def retold(text: str) -> list[str]:
    """The sections that a text of ours quotes."""
    return quotes(text, "told")


def _once(sections: Sequence[str]) -> list[str]:
    return [*dict.fromkeys(reversed(sections))][::-1]


def _told(message: Message) -> tuple[str, ...]:
    """Found once per message."""
    found: tuple[str, ...] | None = message.notes.get("environment told")
    if found is None:
        place = find(message, (ENVIRONMENT,))
        sections = () if place is None else place.sections
        found = tuple(each.value for each in sections if each.rule != "state" and each.value.strip())
        message.notes["environment told"] = found
    return found
