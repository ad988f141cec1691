"""Limits on what a request says: how many messages, how deep its JSON, how many images and how large.

What was found of a message is kept with it, so that a turn costs its new messages only (promise 4).
"""

from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from trimtab.conversation import ARRAYS, Conversation, Image, Message, ToolResult
from trimtab.errors import BadRequest, Cause
from trimtab.image_size import size_of
from trimtab.splice import Scanned

if TYPE_CHECKING:
    from trimtab.config import ServeOptions

_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
"""One level down is the byte of 1, one up that of -1."""
_OTHERS = bytes(byte for byte in range(256) if byte not in b'[]{}"')
_BLOCK = 64


class Shape(NamedTuple):
    """What of a message is limited."""

    limit: int
    """The depth it was compared with."""
    deep: bool
    """Whether it is nested deeper."""
    images: int
    pixels: int
    """Of its largest image, as its header says."""


class Shapes:
    """Checks conversations against the limits; made anew with every configuration."""

    def __init__(self, serve: "ServeOptions") -> None:
        self._serve = serve
        self._limit = serve.max_nesting

    def check(self, conversation: Conversation) -> None:
        """Raise BadRequest, naming the option, for a conversation beyond a limit."""
        serve, messages, within = self._serve, conversation.messages, ARRAYS[conversation.dialect]
        self.few(within, len(messages))
        self.few("tools", len(conversation.tools))
        key = ("shape", self._limit, serve.max_image_mp)
        at, images = conversation.reached(key, 0)
        for index in range(at, len(messages)):
            message = messages[index]
            if index == len(messages) - 1:
                conversation.remember(key, images, back=1)
            shape = message.notes.get("shape")
            if shape is None or shape.limit != self._limit:
                shape = self.look(message)
            if shape.deep:
                raise self._nested(f"{within}[{index}]", within)
            if shape.images:
                images += shape.images
                self._seen(f"{within}[{index}]", shape.pixels)
        conversation.remember(key, images)
        if images > serve.max_images:
            raise BadRequest(f"{images} images, more than {serve.max_images}: send less, or raise serve.max-images")
        if self._deep_head(conversation):
            raise self._nested("the body")

    def early(self, scanned: Scanned) -> None:
        """The same, for the number of messages and tools, before anything is made of them."""
        for name, items in scanned.items.items():
            self.few(name, len(items.raws))

    def few(self, name: str, count: int) -> None:
        """Raise BadRequest for a member with more items than it may have."""
        what = "tools" if name == "tools" else "messages"
        most = self._serve.max_tools if what == "tools" else self._serve.max_messages
        if count > most:
            told = f"{count} {what}, more than {most}: send less, or raise serve.max-{what}"
            raise BadRequest(told, cause=Cause.TOO_LARGE, param=name)

    def look(self, message: Message) -> Shape:
        """What is limited of a message, noted in it."""
        images, pixels = 0, 0
        if b"image" in message.raw:
            found = [size_of(image.data) or (0, 0) for image in _images(message)]
            images, pixels = len(found), max((width * height for width, height in found), default=0)
        shape = message.notes["shape"] = Shape(self._limit, deeper(message.raw, self._limit), images, pixels)
        return shape

    def _seen(self, place: str, pixels: int) -> None:
        limit = self._serve.max_image_mp
        if pixels > limit * 1_000_000:
            told = f"{place} holds an image of {pixels / 1e6:.0f} megapixels, more than {limit}: send it smaller"
            raise BadRequest(f"{told}, or raise serve.max-image-mp", cause=Cause.TOO_LARGE, param=place)

    def _nested(self, place: str, param: str | None = None) -> BadRequest:
        told = f"{place} is nested more than {self._limit} deep: send it flatter, or raise serve.max-nesting"
        return BadRequest(told, param=param)

    def _deep_head(self, conversation: Conversation) -> bool:
        """The same of what stands around the messages, looked at once for all turns that bring the same."""
        notes, key = conversation.head.notes, ("deep", self._limit)
        known: bool | None = notes.get(key)
        if known is None:
            scanned = conversation.head.scanned
            start, end = scanned.members.get(ARRAYS[conversation.dialect], (len(scanned.raw), len(scanned.raw)))
            known = notes[key] = deeper(scanned.raw[:start] + scanned.raw[end:], self._limit)
        return known


def deeper(raw: bytes, limit: int) -> bool:
    """Whether JSON text is nested more than `limit` deep: a fixed number of passes, whatever the text."""
    if _brackets(raw) <= limit:
        return False
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two quotes side by side bound nothing that counts, in a string or between two: without them the rest is the same.
    steps = raw.translate(_STEPS, _OTHERS).replace(b'""', b"")
    steps = b"".join(steps.split(b'"')[::2]) if b'"' in steps else steps
    for _ in range(3):
        # A valley of one level leaves no trace in the maximum.
        steps = steps.replace(b"\xff\x01", b"")
    return _climbs(steps, limit)


def _climbs(steps: bytes, limit: int) -> bool:
    """Whether steps of one level lead above `limit`; step by step only where a block has enough of them upwards."""
    depth = 0
    for start in range(0, len(steps), _BLOCK):
        block = steps[start : start + _BLOCK]
        ups = block.count(b"\x01")
        if depth + ups > limit:
            # Four steps in one direction are one: the maximum stays.
            strides = block.replace(b"\x01" * 4, b"\x04").replace(b"\xff" * 4, b"\xfc")
            if depth + max(accumulate(memoryview(strides).cast("b"))) > limit:
                return True
        depth += 2 * ups - len(block)
    return False


def _brackets(raw: bytes) -> int:
    return raw.count(b"[") + raw.count(b"{")


def _images(message: Message) -> list[Image]:
    """The images of a message, those in tool results too; none where it cannot be read, which others report."""
    try:
        blocks = message.blocks
    except BadRequest:
        return []
    inner = [part for block in blocks if isinstance(block, ToolResult) for part in block.content]
    return [block for block in (*blocks, *inner) if isinstance(block, Image)]
