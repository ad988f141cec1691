"""A message's size and digest, the same however its client spells it in a later request.

Clients move their cache marks from turn to turn, and write a text as a string here and as a list of one block there.
Neither is a change of the conversation (design.md, promise 2), so neither may move a frontier or lose a record.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from trimtab.conversation import Block, Image, Message, ToolResult
from trimtab.errors import BadRequest
from trimtab.image_size import Picture, picture_of
from trimtab.image_tokens import tokens_of
from trimtab.models import Target

PER_TOKEN = 4
"""Bytes that stand for a token of an image."""
UNKNOWN = 85
"""Tokens of an image of which neither the size nor a rule of the model is known (`token-count.image-base`)."""

_MARK = "cache_control"
_NOTE = "measure"


class Measure(NamedTuple):
    """What is known of one message; found again with it."""

    digest: bytes
    """32 bytes of SHA-256 of its role and content."""
    plain: int
    """Bytes of its JSON in the shortest spelling, without cache marks and the data of images."""
    pictures: tuple[Picture, ...]

    def size(self, target: Target) -> int:
        """Bytes of the message, each image counted as the tokens that `target` takes it for, times four."""
        return self.plain + sum(PER_TOKEN * tokens_of(picture, target, UNKNOWN) for picture in self.pictures)


def measure(message: Message) -> Measure:
    """The measure of a message, worked out once."""
    found: Measure | None = message.notes.get(_NOTE)
    if found is None:
        found = message.notes[_NOTE] = _measured(message)
    return found


def _measured(message: Message) -> Measure:
    try:
        images = tuple(_images(message.blocks))
    except BadRequest:
        images = ()
    raw = _canonical(message.raw)
    plain = len(raw) - sum(len(image.data) for image in images)
    return Measure(hashlib.sha256(raw).digest(), max(plain, 0), tuple(map(picture_of, images)))


def _images(blocks: Sequence[Block]) -> Iterator[Image]:
    for block in blocks:
        if isinstance(block, Image):
            yield block
        elif isinstance(block, ToolResult):
            yield from _images(block.content)


def _canonical(raw: bytes) -> bytes:
    """One spelling of a message: members sorted, no spaces, no cache marks, a list of one text as a string."""
    try:
        value = msgspec.json.decode(raw)
        return msgspec.json.encode(_message(value) if isinstance(value, dict) else value, order="sorted")
    except (ValueError, RecursionError):
        # What cannot be read stands for itself.
        return raw


def _message(value: dict[str, Any]) -> dict[str, Any]:
    kept = {name: member for name, member in value.items() if name != _MARK}
    if "content" in kept:
        kept["content"] = _content(kept["content"])
    return kept


def _content(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    parts = [_message(part) if isinstance(part, dict) else part for part in value]
    only = parts[0] if len(parts) == 1 else None
    if isinstance(only, dict) and only.keys() == {"type", "text"} and only["type"] == "text":
        return only["text"]
    return parts
