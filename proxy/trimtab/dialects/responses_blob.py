"""What the proxy itself seals for a client to keep and send back: summaries of conversations, and thoughts.

A blob is base64 of a version, a kind, a checksum and JSON. It holds no secret and proves nothing: the checksum tells
damaged and foreign blobs apart from our own, so that any worker and any later start can read what another wrote.
"""

import base64
import binascii
import hashlib
from typing import Literal

import msgspec

Kind = Literal["compaction", "reasoning"]

_MARKS: dict[Kind, bytes] = {"compaction": b"trimtab\x01c", "reasoning": b"trimtab\x01r"}
"""What a blob begins with: name, version and kind."""
_BEGINS = base64.b64encode(b"trimta").decode()
"""The same in base64, as far as whole groups of it tell the name."""
_SUM = 8
"""Bytes of SHA-256 behind it."""


class Sealed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is in a blob: a text, and the signature of the upstream that thought it."""

    text: str
    signature: str = ""


def seal(kind: Kind, sealed: Sealed) -> str:
    """A blob for the client to keep."""
    mark, body = _MARKS[kind], msgspec.json.encode(sealed)
    return base64.b64encode(mark + _sum(mark, body) + body).decode()


def unseal(kind: Kind, blob: object) -> Sealed | None:
    """What one of our own blobs holds; None for a foreign, damaged or later one."""
    if not isinstance(blob, str):
        return None
    try:
        raw = base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        return None
    mark = _MARKS[kind]
    told, body = raw[len(mark) : len(mark) + _SUM], raw[len(mark) + _SUM :]
    if not raw.startswith(mark) or told != _sum(mark, body):
        return None
    try:
        return msgspec.json.decode(body, type=Sealed)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def ours(blob: object) -> bool:
    """Whether a blob begins as our own do, be it damaged or of another version."""
    return isinstance(blob, str) and blob.startswith(_BEGINS)


def _sum(mark: bytes, body: bytes) -> bytes:
    return hashlib.sha256(mark + body).digest()[:_SUM]
