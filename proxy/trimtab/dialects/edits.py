"""Changes to single members deep inside a JSON text, in a plain body or in the data of a frame."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from trimtab.errors import BadRequest
from trimtab.events import Event
from trimtab.splice import scan, splice

Path = tuple[str | int, ...]
"""Names of members and numbers of items, from the outside in."""

_DATA = re.compile(rb"(?:^|[\r\n])data:[ ]?([^\r\n]*)")


class Misfit(Exception):
    """The text has no place for the change."""


def edit(raw: bytes, changes: Mapping[Path, bytes]) -> bytes:
    """JSON with the values at some paths replaced; a member that is missing or null on the way is added.

    Raises Misfit when a path leads through something else.
    """
    if () in changes:
        return changes[()]
    inner: dict[str | int, dict[Path, bytes]] = {}
    for path, value in changes.items():
        inner.setdefault(path[0], {})[path[1:]] = value
    return _edit_items(raw, inner) if raw[:1] == b"[" else _edit_members(raw, inner)


def _edit_members(raw: bytes, inner: Mapping[str | int, Mapping[Path, bytes]]) -> bytes:
    if raw == b"null":
        raw = b"{}"
    if raw[:1] != b"{":
        raise Misfit
    scanned = scan(raw, ())
    members = {}
    for name, changes in inner.items():
        if not isinstance(name, str) or name in scanned.repeated:
            raise Misfit
        members[name] = edit(scanned.value(name) or b"{}", changes)
    return splice(scanned, members, {})


def _edit_items(raw: bytes, inner: Mapping[str | int, Mapping[Path, bytes]]) -> bytes:
    # An array has spans only as somebody's member.
    lead = b'{"a":'
    scanned = scan(lead + raw + b"}", ("a",))
    items = list(scanned.items["a"].raws)
    for index, changes in inner.items():
        if not isinstance(index, int) or index >= len(items):
            raise Misfit
        items[index] = edit(items[index], changes)
    return splice(scanned, {}, {"a": items})[len(lead) : -1]


def data_span(raw: bytes) -> tuple[int, int]:
    """Where the JSON stands in a frame with one data line, or in a plain body."""
    if raw.lstrip()[:1] == b"{":
        return 0, len(raw)
    found = list(_DATA.finditer(raw))
    if len(found) != 1:
        raise Misfit
    return found[0].span(1)


def edit_frame(raw: bytes, changes: Mapping[Path, bytes]) -> bytes:
    """A frame or body with the values at some paths of its JSON replaced, all else as it was."""
    if not changes:
        return raw
    start, end = data_span(raw)
    value = raw[start:end].strip()
    start = raw.index(value, start)
    return raw[:start] + edit(value, changes) + raw[start + len(value) :]


def at(value: Any, path: Path) -> Any:
    """The value at a path of decoded JSON, None where there is none."""
    for step in path:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def decoded(raw: bytes) -> dict[str, Any]:
    """The JSON object of a frame or body. Raises Misfit when there is none."""
    start, end = data_span(raw)
    try:
        return msgspec.json.decode(raw[start:end], type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Misfit from None


Places = Callable[[Event, Event, Any], dict[Path, bytes]]
"""Where an event's fields stand in the decoded JSON of its frame or body, for those in which two events differ."""


def patch(raw: bytes, before: Sequence[Event], after: Sequence[Event], places: Places) -> bytes | None:
    """A frame or body with changed events written into it; None where their number or order changed, or none fits."""
    if [type(event) for event in before] != [type(event) for event in after]:
        return None
    pairs = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    if not pairs:
        return raw
    try:
        value = decoded(raw)
        changes: dict[Path, bytes] = {}
        for old, new in pairs:
            changes |= places(old, new, value)
        return edit_frame(raw, changes)
    except (Misfit, BadRequest):
        return None


def changed_text(value: Any, path: Path, old: str, new: str) -> dict[Path, bytes]:
    """The change of a string that must be what the event says it is."""
    if old == new:
        return {}
    if (at(value, path) or "") != old or not isinstance(at(value, path[:-1]), dict):
        raise Misfit
    return {path: msgspec.json.encode(new)}


def under(root: Path, changes: Mapping[Path, bytes]) -> dict[Path, bytes]:
    """Changes of a member that stands at `root`."""
    return {root + path: value for path, value in changes.items()}


def changed_numbers(before: Mapping[Path, int], after: Mapping[Path, int]) -> dict[Path, bytes]:
    """The counters that differ, as JSON by path."""
    return {path: str(number).encode() for path, number in after.items() if before.get(path) != number}


_NAMED = re.compile(rb'"model"[ \t]*:[ \t]*("(?:[^"\\]|\\.)*")')


def rename(raw: bytes, model: str, path: Path) -> bytes:
    """A frame or body that names `model` where it named one at `path`."""
    found = raw.find(b'"model"')
    if found < 0:
        return raw
    name = msgspec.json.encode(model)
    if raw.find(b'"model"', found + 1) < 0 and (only := _NAMED.match(raw, found)) is not None:
        start, end = only.span(1)
        return raw[:start] + name + raw[end:]
    try:
        return edit_frame(raw, {path: name}) if isinstance(at(decoded(raw), path), str) else raw
    except Misfit:
        return raw
