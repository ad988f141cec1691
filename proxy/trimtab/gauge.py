"""How long a reply was whose frames passed undecoded; asked only where its upstream tells no usage at its end."""

import re

import msgspec

_SAMPLE = 64 * 1024
"""Bytes of frames that are kept to be read at the end; longer replies are taken to go on like these."""

# What a frame says in either dialect: a string behind one of these names.
_SAID = re.compile(
    rb'"(?:text|thinking|partial_json|content|reasoning_content|reasoning|arguments)"\s*:\s*("(?:[^"\\]|\\.)*")'
)


class Gauge:
    """Adds up the bytes of frames, and tells the characters of text in them from those of the first ones."""

    __slots__ = ("_room", "_sample", "_total")

    def __init__(self) -> None:
        self._total = 0
        self._room = _SAMPLE
        self._sample: list[bytes] = []

    def add(self, frame: bytes) -> None:
        """Count a frame that nobody decoded."""
        self._total += len(frame)
        if self._room > 0:
            self._room -= len(frame)
            self._sample.append(frame)

    def characters(self) -> int:
        """Characters of text in all frames, at the rate of the sample; 0 where none says anything."""
        read = sum(len(frame) for frame in self._sample)
        said = sum(_length(found) for frame in self._sample for found in _SAID.findall(frame))
        return 0 if not said else max(1, round(said * self._total / read))


def _length(literal: bytes) -> int:
    try:
        return len(msgspec.json.decode(literal, type=str))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return len(literal) - 2
