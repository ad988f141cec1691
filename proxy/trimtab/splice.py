"""Spans of a JSON body, and the body with some spans replaced: the rest leaves byte for byte as it came.

msgspec checks the grammar and cuts the long arrays into items (0.6 ms for 1 MB); a walk over keys and lengths turns the
items into spans. Nothing here interprets a value.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from trimtab.errors import BadRequest

_MEMBER = re.compile(
    rb'[ \t\r\n]*("[^"\\]*(?:\\.[^"\\]*)*")[ \t\r\n]*:[ \t\r\n]*'
    rb'(?:("[^"\\]*(?:\\.[^"\\]*)*"|[^,\[\]{}" \t\r\n]+)[ \t\r\n]*([,}])[ \t\r\n]*)?',
    re.DOTALL,
)
"""A key, and behind it what is no array and no object: the value, and what stands behind that."""
_NEXT = re.compile(rb"[ \t\r\n]*([,\]}])[ \t\r\n]*")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SCALAR = re.compile(rb"[^,\]} \t\r\n]+")
_MARK = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)
# An escaped backslash, a surrogate pair, or (group 1) a surrogate without its other half.
_SURROGATE = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


Span = tuple[int, int]
"""Half-open range of byte offsets: start, end."""


class Items(NamedTuple):
    """The items of one array: their bytes and where they stand."""

    raws: tuple[bytes, ...]
    spans: tuple[Span, ...]


class Scanned(NamedTuple):
    """A JSON object cut along its top-level members.

    `raw` is the body, mended where `mended` (a count) is not 0, always of the same length. `members` maps each name to
    the span of its value, `keys` to the offset of its key (the last one where a name repeats), `items` each array asked
    for to its items; `repeated` holds the names that occur more than once.
    """

    raw: bytes
    members: dict[str, Span]
    keys: dict[str, int]
    items: dict[str, Items]
    repeated: frozenset[str]
    mended: int
    order: tuple[tuple[str, int, int], ...] = ()
    """Every member as it stands in the body: name, start of its key, end of its value."""

    def value(self, name: str) -> bytes | None:
        """The bytes of a member, None where the object has none of that name."""
        span = self.members.get(name)
        return None if span is None else self.raw[span[0] : span[1]]


def scan(body: bytes, arrays: tuple[str, ...], most: int = sys.maxsize) -> Scanned:
    """Cut a JSON object along its members, and those named by `arrays` along their items ("?" marks a string or array).

    Raises BadRequest when the body is not one JSON object, is nested too deeply, has more than `most` members or
    repeats one of `arrays`.
    """
    shape, names = _shape(arrays)
    raw, mended, cut = _cut(body, shape)
    members: dict[str, Span] = {}
    keys: dict[str, int] = {}
    items: dict[str, Items] = {}
    repeated: set[str] = set()
    order: list[tuple[str, int, int]] = []
    at = raw.index(b"{") + 1
    while member := _MEMBER.match(raw, at):
        quoted, key = member[1], member.start(1)
        name = _name(quoted) if len(quoted) <= _LONGEST else _text(quoted)
        if name in members:
            repeated.add(name)
            if name in names:
                raise _twice(name)
        if (separator := member[3]) is not None:
            (start, end), at = member.span(2), member.end()
        else:
            start = member.end()
            if name in names and raw[start] == 0x5B:
                items[name], end = _walk(raw, start, getattr(cut, name), name)
            else:
                end = skip_value(raw, start)
            separator, at = _separator(raw, end)
        members[name], keys[name] = (start, end), key
        order.append((name, key, end))
        if len(order) > most:
            raise BadRequest(f"the body has more than {most} members: send those of the API only")
        if separator != b",":
            break
    return Scanned(raw, members, keys, items, frozenset(repeated), mended, tuple(order))


def _separator(raw: bytes, end: int) -> tuple[bytes, int]:
    """What stands behind a value that ends at `end`, and where the next key may begin."""
    after = _NEXT.match(raw, end)
    return (b"", end) if after is None else (after[1], after.end())


_LONGEST = 64
"""Bytes of a member's name that is worth keeping."""


@lru_cache(maxsize=1024)
def _name(quoted: bytes) -> str:
    """A member's name; there are few of them."""
    return _text(quoted)


def _text(key: bytes) -> str:
    return str(decode(key, str, "a member's name"))


def _twice(name: str) -> BadRequest:
    return BadRequest(f"the member '{name}' occurs twice: send it once", param=name)


def skip_value(body: bytes, at: int) -> int:
    """The offset behind the value that starts at `at`, in JSON already known to be valid."""
    first = body[at]
    if first == 0x22:
        match = _STRING.match(body, at)
    elif first not in b"[{":
        match = _SCALAR.match(body, at)
    else:
        return _skip_nested(body, at)
    if match is None:
        raise BadRequest("the body is not valid JSON")
    return match.end()


def _skip_nested(body: bytes, at: int) -> int:
    depth = 0
    for mark in _MARK.finditer(body, at):
        sign = mark.group()
        if sign in (b"[", b"{"):
            depth += 1
        elif sign in (b"]", b"}"):
            depth -= 1
            if not depth:
                return mark.end()
    raise BadRequest("the body is not valid JSON: a bracket is not closed")


def _walk(body: bytes, at: int, cut: Sequence[msgspec.Raw] | msgspec.Raw, name: str) -> tuple[Items, int]:
    """Turn the cut items of the array at `at` into spans; the offset behind the array comes with them."""
    parts = decode(cut, list[msgspec.Raw], f"'{name}'") if isinstance(cut, msgspec.Raw) else cut
    raws, spans = [], []
    at = _blank(body, at + 1)
    for part in parts or ():
        item = bytes(part)
        end = at + len(item)
        # msgspec keeps the last of two members of one name; then the lengths do not fit the first.
        if not body.startswith(item, at):
            raise _twice(name)
        raws.append(item)
        spans.append((at, end))
        at = _behind(body, end)
    if body[at] != 0x5D:
        raise _twice(name)
    return Items(tuple(raws), tuple(spans)), at + 1


def _blank(body: bytes, at: int) -> int:
    """The offset of the first byte from `at` on that is not white space."""
    while body[at] in b" \t\r\n":
        at += 1
    return at


def _behind(body: bytes, at: int) -> int:
    """The offset of the next item, or of the bracket that closes the array, for an item that ends at `at`."""
    if body[at] != 0x2C:
        at = _blank(body, at)
        if body[at] != 0x2C:
            return at
    at += 1
    return at if body[at] == 0x7B else _blank(body, at)


@cache
def _shape(arrays: tuple[str, ...]) -> tuple[Any, frozenset[str]]:
    """A struct type that cuts the named members out of an object and skips the others, and their plain names."""
    fields: list[tuple[str, Any, Any]] = []
    for name in arrays:
        if name.endswith("?"):
            fields.append((name[:-1], msgspec.Raw, msgspec.Raw()))
        else:
            fields.append((name, list[msgspec.Raw] | None, None))
    return msgspec.defstruct("Body", fields), frozenset(field[0] for field in fields)


def _cut(body: bytes, shape: Any) -> tuple[bytes, int, Any]:
    """Decode, mending lone surrogates if that is all that stands in the way."""
    try:
        return body, 0, decode(body, shape)
    except BadRequest:
        mended, count = mend(body)
        if not count:
            raise
        return mended, count, decode(mended, shape)


def decode(body: bytes | msgspec.Raw, shape: Any, place: str = "the body") -> Any:
    """Decode JSON as `shape`; every refusal is a BadRequest that names `place`."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{place} has a value of the wrong type: {error}") from None
    except msgspec.DecodeError as error:
        raise BadRequest(f"{place} is not valid JSON: {error}") from None
    except RecursionError:
        raise BadRequest(f"{place} is nested too deeply: keep it below 1,000 levels") from None
    except UnicodeDecodeError:
        raise BadRequest(f"{place} is not valid UTF-8") from None


def mend(body: bytes) -> tuple[bytes, int]:
    """Replace each lone surrogate escape by the replacement character's, six bytes for six, and count them.

    Agents cut tool output inside an emoji; without this the session is refused for ever.
    """
    count = 0

    def fix(match: re.Match[bytes]) -> bytes:
        nonlocal count
        if match.group(1) is None:
            return match.group()
        count += 1
        return b"\\ufffd"

    return _SURROGATE.sub(fix, body), count


def splice(scanned: Scanned, members: Mapping[str, bytes | None], items: Mapping[str, Sequence[bytes]]) -> bytes:
    """The body with some members replaced, added (behind the others) or removed (None), and some arrays' items changed.

    `items` gives all new items of an array that the body has; separators stay as they were.
    """
    changes = [change for name, new in items.items() for change in _replacements(scanned, name, new)]
    added: list[bytes] = []
    removed: list[str] = []
    for name, value in members.items():
        span = scanned.members.get(name)
        if span is None:
            if value is not None:
                added.append(msgspec.json.encode(name) + b":" + value)
        elif value is None:
            removed.append(name)
        else:
            changes.append((span, value))
    return _apply(scanned.raw, changes + _removals(scanned, removed) + _additions(scanned, removed, added))


def _replacements(scanned: Scanned, name: str, new: Sequence[bytes]) -> list[tuple[Span, bytes]]:
    old = scanned.items[name]
    if len(new) != len(old.raws):
        return [(scanned.members[name], array(scanned, name, new))]
    return [(span, b) for a, b, span in zip(old.raws, new, old.spans, strict=True) if a is not b and a != b]


def array(scanned: Scanned, name: str, new: Sequence[bytes]) -> bytes:
    """The bytes of an array with new items and the old separators; a comma where there are more items than before."""
    (start, end), (_, spans) = scanned.members[name], scanned.items[name]
    if not spans or not new:
        return b"[" + b",".join(new) + b"]"
    view = memoryview(scanned.raw)
    gaps = [view[a[1] : b[0]] for a, b in pairwise(spans)]
    gaps += [memoryview(b",")] * (len(new) - 1 - len(gaps))
    chunks: list[bytes | memoryview] = [view[start : spans[0][0]], new[0]]
    for gap, item in zip(gaps, new[1:], strict=False):
        chunks += (gap, item)
    chunks.append(view[spans[-1][1] : end])
    return b"".join(chunks)


def _removals(scanned: Scanned, names: Sequence[str]) -> list[tuple[Span, bytes]]:
    """Cut members out, wherever they occur: each with the comma behind it, those at the end with the comma in front."""
    if not names:
        return []
    order = scanned.order
    last_kept = max((index for index, member in enumerate(order) if member[0] not in names), default=-1)
    changes: list[tuple[Span, bytes]] = []
    for index, (name, start, _) in enumerate(order[: last_kept + 1]):
        if name in names:
            changes.append(((start, order[index + 1][1]), b""))
    if last_kept + 1 < len(order):
        begin = order[last_kept][2] if last_kept >= 0 else order[0][1]
        changes.append(((begin, order[-1][2]), b""))
    return changes


def _additions(scanned: Scanned, removed: Sequence[str], added: Sequence[bytes]) -> list[tuple[Span, bytes]]:
    """Put new members behind the last one."""
    if not added:
        return []
    end = max((span[1] for span in scanned.members.values()), default=scanned.raw.index(b"{") + 1)
    first = set(removed) == set(scanned.members)
    return [((end, end), (b"" if first else b",") + b",".join(added))]


def _apply(raw: bytes, changes: list[tuple[Span, bytes]]) -> bytes:
    if not changes:
        return raw
    view, at = memoryview(raw), 0
    chunks: list[bytes | memoryview] = []
    for (start, end), value in sorted(changes, key=lambda change: change[0]):
        chunks += (view[at:start], value)
        at = end
    chunks.append(view[at:])
    return b"".join(chunks)
