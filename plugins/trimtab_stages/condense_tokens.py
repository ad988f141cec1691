"""Tokens of a conversation as a record would leave it."""

import asyncio
from collections.abc import Sequence
from functools import partial

from trimtab.api import Message, Picture, Target, TokenCount, replace, tokenizer, tokens_of
from trimtab_stages.condense_forms import Changes
from trimtab_stages.token_parts import Pages, of_message

UNKNOWN = 85
"""Tokens of an image of which nothing is known, as in token-count."""
IN_PLACE = 8_000
"""Characters that are counted on the event loop; more go to a thread."""


async def recounted(count: TokenCount, changes: Changes, target: Target) -> TokenCount:
    """The count of a conversation with changes, each new message counted once."""
    fresh = [message for message in changes.values() if message is not None and _note(count) not in message.notes]
    if sum(len(message.raw) for message in fresh) > IN_PLACE:
        await asyncio.to_thread(_count, fresh, count, beside=True)
    else:
        _count(fresh, count, beside=False)
    sizes: list[int | None] = list(count.messages)
    for index, message in changes.items():
        sizes[index] = None if message is None else _size(message, count, target)
    kept = tuple(size for size in sizes if size is not None)
    return replace(count, total=sum(kept) + count.overhead, messages=kept)


def _note(count: TokenCount) -> str:
    return f"condensed:{count.encoding}"


def _count(messages: Sequence[Message], count: TokenCount, *, beside: bool) -> None:
    tokens = partial(tokenizer(count.encoding).count, beside=beside)
    for message in messages:
        plain, pictures = 0, []
        for part in of_message(message):
            match part:
                case str():
                    plain += tokens(part)
                case int():
                    plain += part
                case Pages():
                    plain += part.tokens()
                case Picture():
                    pictures.append(part)
        message.notes[_note(count)] = plain, tuple(pictures)


def _size(message: Message, count: TokenCount, target: Target) -> int:
    plain, pictures = message.notes[_note(count)]
    return int(plain) + sum(tokens_of(picture, target, UNKNOWN) for picture in pictures)
