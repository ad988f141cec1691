"""The width and height of an image, read from its first bytes; nothing is decoded but the header."""

import binascii
import re
from collections.abc import Callable
from struct import unpack
from typing import NamedTuple

from trimtab.conversation import Image

LOOK = 65_536
"""Characters of base64 that are looked at; a JPEG may carry a preview and a colour profile before its size."""
FIRST = 1_024
"""Characters that do for nearly all pictures."""

_LOW = re.compile(rb'"detail"\s*:\s*"low"')
_BESIDE = 200
"""Bytes before and behind the picture itself in which its detail may stand."""

Size = tuple[int, int]


class Picture(NamedTuple):
    """What the tokens of an image depend on; a width of 0 is not known."""

    width: int = 0
    height: int = 0
    low: bool = False
    """Whether the client asks for low detail."""


def picture_of(image: Image) -> Picture:
    """What is known of an image; nothing of its size where it only has an address."""
    width, height = size_of(image.data) or (0, 0)
    low = bool(_LOW.search(image.raw[:_BESIDE]) or _LOW.search(image.raw[-_BESIDE:]))
    return Picture(width, height, low)


def size_of(data: str) -> Size | None:
    """Width and height of a base64 picture (PNG, JPEG, GIF, WebP), None where they cannot be read."""
    for length in (FIRST, LOOK):
        found = size_in(_decoded(data[:length]))
        if found is not None or len(data) <= length:
            return found
    return None


def size_in(head: bytes) -> Size | None:
    """Width and height from the first bytes of a picture."""
    reader = next((read for magic, read in _READERS.items() if head.startswith(magic)), None)
    found = None if reader is None else reader(head)
    return found if found and all(found) else None


def _decoded(text: str) -> bytes:
    text = "".join(text.split())
    try:
        return binascii.a2b_base64(text[: len(text) // 4 * 4])
    except ValueError:
        return b""


def _png(head: bytes) -> Size | None:
    if head[12:16] != b"IHDR" or len(head) < 24:
        return None
    width, height = unpack(">II", head[16:24])
    return width, height


def _gif(head: bytes) -> Size | None:
    if len(head) < 10:
        return None
    width, height = unpack("<HH", head[6:10])
    return width, height


def _webp(head: bytes) -> Size | None:
    if head[8:12] != b"WEBP" or len(head) < 30:
        return None
    match head[12:16]:
        case b"VP8X":
            return _little(head[24:27]) + 1, _little(head[27:30]) + 1
        case b"VP8L" if head[20] == 0x2F:
            bits = _little(head[21:25])
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 " if head[23:26] == b"\x9d\x01\x2a":
            return _little(head[26:28]) & 0x3FFF, _little(head[28:30]) & 0x3FFF
    return None


def _little(raw: bytes) -> int:
    return int.from_bytes(raw, "little")


_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG behind which its size stands; the three left out define tables."""
_BARE = frozenset((0x01, *range(0xD0, 0xD8)))
"""Markers without a length."""
_DATA = frozenset((0xD9, 0xDA))
"""Markers behind which no header follows."""


def _jpeg(head: bytes) -> Size | None:
    """Jumps from segment to segment until one tells the size."""
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker in _FRAMES:
            height, width = unpack(">HH", head[at + 5 : at + 9])
            return width, height
        if marker in _DATA:
            return None
        if marker == 0xFF:
            at += 1
        else:
            at += 2 if marker in _BARE else 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None


_READERS: dict[bytes, Callable[[bytes], Size | None]] = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"\xff\xd8": _jpeg,
    b"GIF87a": _gif,
    b"GIF89a": _gif,
    b"RIFF": _webp,
}
