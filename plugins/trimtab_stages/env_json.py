"""Cuts in the JSON of messages and parts: all that stays keeps its bytes."""

import re
from collections.abc import Sequence

import msgspec

_KEY = re.compile(rb'[\s,]*"((?:[^"\\]|\\.)*)"\s*:\s*')
_CHARACTERS = re.compile(rb"(\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u....|\\.)|[^\\]+", re.DOTALL)

MARK = "cache_control"


def members(raw: bytes) -> dict[str, tuple[int, int]]:
    """Where the value of each member of an object stands. Raises ValueError where one comes twice."""
    spans = {}
    at = raw.index(b"{") + 1
    for name, value in msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).items():
        key = _KEY.match(raw, at)
        at = key.end() + len(bytes(value)) if key else 0
        if key is None or raw[key.end() : at] != bytes(value):
            raise ValueError("a member of a part comes twice")
        spans[name] = key.end(), at
    return spans


def replaced(raw: bytes, name: str, value: bytes) -> bytes:
    """An object with the value of one member replaced."""
    start, end = members(raw)[name]
    return raw[:start] + value + raw[end:]


def value_of(raw: bytes, name: str) -> bytes:
    """The bytes of a member's value; none where it is not there."""
    start, end = members(raw).get(name, (0, 0))
    return raw[start:end]


def kept(literal: bytes, text: str, pieces: Sequence[tuple[int, int]], filler: str = "") -> bytes:
    """The JSON string of some pieces of a text, `filler` behind the first, out of `literal`, that of the whole text."""
    if msgspec.json.encode(text) == literal:
        parts = [msgspec.json.encode(text[start:end])[1:-1] for start, end in pieces]
    else:
        offsets = _offsets(literal, sorted({offset for piece in pieces for offset in piece}))
        parts = [literal[offsets[start] : offsets[end]] for start, end in pieces]
    return b'"' + b"".join([*parts[:1], msgspec.json.encode(filler)[1:-1], *parts[1:]]) + b'"'


def _offsets(literal: bytes, wanted: list[int]) -> dict[int, int]:
    """For each offset in a text, the offset in its JSON string, however that is escaped."""
    found: dict[int, int] = {}
    passed, end = 0, len(literal) - 1
    for token in _CHARACTERS.finditer(literal, 1, end):
        plain = "" if token.group(1) else token.group().decode()
        length = len(plain) or 1
        while len(found) < len(wanted) and wanted[len(found)] < passed + length:
            at = wanted[len(found)]
            found[at] = token.start() + len(plain[: at - passed].encode())
        passed += length
    return found | dict.fromkeys(wanted[len(found) :], end)


def mark_of(raw: bytes) -> bytes | None:
    """The cache mark of a part: the bytes of its value."""
    return value_of(raw, MARK) or None if b'"cache_control"' in raw else None


def marked(raw: bytes, mark: bytes) -> bytes:
    """A part with a cache mark as its last member."""
    end = raw.rindex(b"}")
    return raw[:end].rstrip() + b',"' + MARK.encode() + b'":' + mark + raw[end:]


def unmarked(raw: bytes) -> bytes:
    """A part without its cache mark."""
    spans = members(raw)
    end = spans[MARK][1]
    names = list(spans)
    index = names.index(MARK)
    if index:
        return raw[: spans[names[index - 1]][1]] + raw[end:]
    opened = raw.index(b"{") + 1
    following = raw.find(b",", end)
    return raw[:opened] + raw[following + 1 :] if len(names) > 1 else raw[:opened] + raw[end:]
