"""Where images stand in messages, when they are old, and the messages without them."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from trimtab.api import Block, Image, Message, Target, Text, ToolResult, picture_of, replace, tokens_of
from trimtab_stages.env_json import mark_of, marked

BATCH = 10
"""Old images that go together while newer ones keep coming: about 20,000 tokens, so that the edit pays."""
APART = 10
"""Requests between two moments: each is an epoch for the model that sees the images."""
UNKNOWN = 1_500
"""Tokens of an image whose size is not known."""
INSTEAD = 100
"""Tokens of the text that takes an image's place, about."""

_SHOWN = r"screen[- ]?shot|picture|photo|mock-?up|wireframe"
_ABROAD = "截图|截屏|图片|图像|照片|スクリーンショット|スクショ|画像|写真|스크린샷|이미지"
_REFERS = re.compile(rf"\b(?:image|pic|diagram|{_SHOWN})s?\b|\bBild(?:er|schirmfotos?)?\b|{_ABROAD}", re.IGNORECASE)
_MEANS = re.compile(
    rf"\b(?:{_SHOWN})s?\b|{_ABROAD}"
    r"|\b(?:image|pic|diagram)s?\s+(?:#?\d|above|again|earlier|from before|I\s+(?:sent|shar|show|attach|past|upload))"
    r"|\b(?:attached|above|earlier|previous|first|second|third|last|same|original)\s+(?:image|pic|diagram)s?\b",
    re.IGNORECASE,
)
"""Words of those that hardly mean anything else: an image may be one of a container, or a disk."""


def images_of(message: Message) -> tuple[Image, ...]:
    """The images of a message in order, those in tool results too; found once per message."""
    found: tuple[Image, ...] | None = message.notes.get("images")
    if found is None:
        found = message.notes["images"] = tuple(_images(message.blocks)) if message.has(Image) else ()
    return found


def _images(blocks: Sequence[Block]) -> Iterator[Image]:
    for block in blocks:
        if isinstance(block, Image):
            yield block
        elif isinstance(block, ToolResult):
            yield from _images(block.content)


class Moment(NamedTuple):
    """When images became old: the index of the message that made them so, and the index behind the last of them."""

    at: int
    until: int


def moments(
    messages: Sequence[Message], threshold: int, *, apart: int = 0, told: Callable[[Message], int] | None = None
) -> list[Moment]:
    """The moments at which images became old, oldest first.

    Images are old when `threshold` messages have passed since the newest one: then all of them go. While new ones keep
    coming, those that are old go in batches. `apart` is how many requests lie between two moments at least. A function
    of the messages before each moment: a longer conversation has the same ones, and perhaps more. `told` counts the
    texts that stand for images already: with them a second pass finds the moments of the first.
    """
    found: list[Moment] = []
    waiting: list[tuple[int, int]] = []
    newest, last, requests = 0, -APART, 0
    for index, passed, images in _passed(messages, told):
        requests += index > 0 and _answers(messages, index - 1)
        if images:
            newest = passed
            waiting += [(index, passed)] * images
        if not waiting:
            continue
        old = [place for place, at in waiting if passed - at >= threshold]
        all_old = passed - newest >= threshold
        if (all_old and requests - last >= apart) or (len(old) >= BATCH and requests - last >= APART):
            found.append(Moment(index, old[-1] + 1))
            waiting = waiting[len(old) :]
            last = requests
    return found


def requests_in(messages: Sequence[Message], start: int, until: int) -> int:
    """How many requests messages[start:until] were the answers to."""
    return sum(_answers(messages, index) for index in range(start, until))


def _answers(messages: Sequence[Message], index: int) -> bool:
    """Whether an answer begins there: several calls at once bring more messages, and in Responses more items."""
    return messages[index].role == "assistant" and (index == 0 or messages[index - 1].role != "assistant")


def rests(messages: Sequence[Message], threshold: int) -> list[Moment]:
    """The moments at which no image was young any more, one for each time that this came, oldest first."""
    found: list[Moment] = []
    newest: tuple[int, int] | None = None
    for index, passed, images in _passed(messages):
        if images:
            newest = index, passed
        elif newest is not None and passed - newest[1] >= threshold:
            found.append(Moment(index, newest[0] + 1))
            newest = None
    return found


def _passed(
    messages: Sequence[Message], told: Callable[[Message], int] | None = None
) -> Iterator[tuple[int, int, int]]:
    """The index of each message, how many have passed, and its images.

    The extra message in which agents pass images of tools, where tool messages cannot hold them, is no turn.
    """
    passed = 0
    for index, message in enumerate(messages):
        images = len(images_of(message)) + (0 if told is None else told(message))
        passed += not (images and message.role == "user" and index > 0 and messages[index - 1].role == "tool")
        yield index, passed, images


def refers(text: str) -> bool:
    """Whether a user speaks of an image."""
    return bool(_REFERS.search(text))


def means(text: str) -> bool:
    """Whether a user speaks of an image that was shown, and hardly of anything else."""
    return bool(_MEANS.search(text))


def without(message: Message, text: Callable[[Image], str]) -> Message:
    """The message with a text in place of each image, cache marks kept."""
    return message.with_blocks(_without(message.blocks, text))


def _without(blocks: Sequence[Block], text: Callable[[Image], str]) -> list[Block]:
    found: list[Block] = []
    for block in blocks:
        if isinstance(block, Image):
            found.append(_instead(block, text(block)))
        elif isinstance(block, ToolResult) and any(isinstance(part, Image) for part in block.content):
            found.append(replace(block, content=tuple(_without(block.content, text))))
        else:
            found.append(block)
    return found


def _instead(image: Image, text: str) -> Text:
    mark = mark_of(image.raw) if image.raw[:1] == b"{" else None
    if mark is None:
        return Text(text=text)
    return Text(text=text, raw=marked(msgspec.json.encode({"type": "text", "text": text}), mark))


class Weighed(NamedTuple):
    """What goes with some images, in tokens, and what stays behind the first of them."""

    removed: int
    behind: int


def weighed(messages: Sequence[Message], start: int, until: int, target: Target) -> Weighed:
    """The images of messages[start:until] on the scales; texts are taken at four bytes a token."""
    removed = behind = 0
    for index, message in enumerate(messages[start:], start):
        images = images_of(message)
        size = sum(tokens_of(picture_of(image), target, UNKNOWN) for image in images)
        if index < until:
            removed += max(0, size - INSTEAD * len(images))
        if removed:
            rest = sum(len(block.raw) for block in message.blocks if isinstance(block, Text)) if images else 0
            behind += rest // 4 + size if images else len(message.raw) // 4
    return Weighed(removed, max(0, behind - removed))
