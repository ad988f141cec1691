"""Requests with cache marks as Cline and Roo Code set them, to see what edits cost where a provider wants marks."""

from functools import lru_cache
from typing import Any

import msgspec

from trimtab.conversation import Conversation, Message

MARK = {"cache_control": {"type": "ephemeral"}}
_MARK = b'"cache_control"'
_USER = ("user", "tool")
MARKED = 2
"""Messages of the user that carry a mark: the last ones."""


def has_marks(conversation: Conversation) -> bool:
    """Whether a client sets marks of its own."""
    return any(_MARK in message.raw for message in conversation.messages)


def with_marks(conversation: Conversation) -> Conversation:
    """The request with a mark on the last block of the last two messages of the user, texts as lists of blocks."""
    ours = [index for index, message in enumerate(conversation.messages) if message.role in _USER]
    last = set(ours[-MARKED:])
    messages = tuple(
        message if message.role not in _USER else _changed(message, marked=index in last)
        for index, message in enumerate(conversation.messages)
    )
    return msgspec.structs.replace(conversation, messages=messages, edited=True)


def _changed(message: Message, *, marked: bool) -> Message:
    raw = _written(message.raw, marked=marked)
    return message if raw is message.raw else Message(message.codec, message.role, raw)


@lru_cache(maxsize=4096)
def _written(raw: bytes, *, marked: bool) -> bytes:
    try:
        value: dict[str, Any] = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw
    content = value.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not parts or not isinstance(parts[-1], dict):
        return raw
    if marked:
        parts = [*parts[:-1], {**parts[-1], **MARK}]
    elif parts is content:
        return raw
    return msgspec.json.encode({**value, "content": parts})
