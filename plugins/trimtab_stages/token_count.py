"""Counts the tokens of the prompt, each message once, and tells the other stages."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from trimtab.api import (
    Block,
    Document,
    Exchange,
    FactTable,
    Image,
    Message,
    Opaque,
    Reply,
    Services,
    Stage,
    StageOptions,
    Text,
    Thinking,
    TokenCount,
    ToolResult,
    ToolUse,
    hookimpl,
    tokenizer,
)

FRAMING = 4
"""Tokens that a chat template puts around each message; the exact number differs by model (3 to 5)."""
OPENING = 3
"""Tokens that open the reply."""
IN_PLACE = 20_000
"""Characters that are counted on the event loop (about 2 ms); more goes to a thread, and tiktoken frees the lock."""


class TokenCountOptions(StageOptions, frozen=True, kw_only=True):
    """The table `[stage.token-count]`."""

    exact: bool = True
    """False takes a quarter of the characters."""
    encoding: Literal["cl100k_base", "o200k_base"] = "cl100k_base"
    forward: bool = True
    """Whether a `count` request may be answered by the upstream's own count."""
    image_base: int = 85
    """Tokens of an image."""


class Piece(NamedTuple):
    """Something to count: where its count is kept, and its texts and pictures."""

    digest: bytes
    blocks: Callable[[], Sequence[Block]]
    framing: int = 0


class TokenCounter(Stage[TokenCountOptions]):
    """Puts the fact TokenCount; what was counted once is found again by its bytes."""

    name = "token-count"
    Options = TokenCountOptions
    provides = frozenset({TokenCount})

    @hookimpl
    async def start(self, services: Services) -> None:
        """Get ready; the table of tokens loads at the first count."""
        options = self.options
        self._counts: FactTable[int] = services.counts
        self._tokenizer = tokenizer(options.encoding)
        self._salt = hashlib.sha256(repr(options).encode()).digest()[:4]
        self._note = f"tokens:{self._salt.hex()}"
        self._cold = options.exact

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        """Count what is new, and add up."""
        conversation = exchange.conversation
        around = [Piece(_digest(block), _just(block)) for block in conversation.system]
        around += [Piece(_hash(tool.raw), _just(Opaque(raw=tool.raw))) for tool in conversation.tools]
        unknown = self._unknown(conversation.messages)
        pieces = [Piece(_digest_of(message), _blocks(message), FRAMING) for message in unknown]
        counts = await self._count([*around, *pieces])
        overhead = OPENING + sum(counts[: len(around)])
        for message, count in zip(unknown, counts[len(around) :], strict=True):
            message.notes[self._note] = count
        messages = tuple(message.notes[self._note] for message in conversation.messages)
        exchange.put(
            TokenCount(
                total=sum(messages) + overhead,
                messages=messages,
                overhead=overhead,
                encoding=self.options.encoding,
                forward=self.options.forward,
            )
        )
        return None

    def _unknown(self, messages: Sequence[Message]) -> list[Message]:
        """Those not counted yet, each once."""
        return [message for message in dict.fromkeys(messages) if self._note not in message.notes]

    async def _count(self, pieces: Sequence[Piece]) -> list[int]:
        """The tokens of each piece; what the table does not know is counted, much of it in a thread."""
        known = [self._counts.get(piece.digest + self._salt) for piece in pieces]
        work = [(piece, [*_texts(piece.blocks())]) for piece, count in zip(pieces, known, strict=True) if count is None]
        size = sum(len(text) for _, texts in work for text in texts if isinstance(text, str))
        if size > IN_PLACE or (self._cold and work):
            fresh = await asyncio.to_thread(self._sizes, work)
            self._cold = False
        else:
            fresh = self._sizes(work)
        for (piece, _), count in zip(work, fresh, strict=True):
            self._counts.put(piece.digest + self._salt, count)
        found = iter(fresh)
        return [next(found) if count is None else count for count in known]

    def _sizes(self, work: Sequence[tuple[Piece, Sequence[str | Image]]]) -> list[int]:
        return [piece.framing + sum(self._size(part) for part in parts) for piece, parts in work]

    def _size(self, part: str | Image) -> int:
        if isinstance(part, Image):
            return self.options.image_base
        return self._tokenizer.count(part) if self.options.exact else -(-len(part) // 4)


def _just(block: Block) -> Callable[[], Sequence[Block]]:
    return lambda: (block,)


def _blocks(message: Message) -> Callable[[], Sequence[Block]]:
    return lambda: message.blocks


def _digest_of(message: Message) -> bytes:
    """The same bytes say different things in different dialects."""
    return message.digest + message.codec.name[:1].encode()


def _digest(block: Block) -> bytes:
    return _hash(block.raw or msgspec.json.encode(block))


def _hash(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()[:16]


def _texts(blocks: Iterable[Block]) -> Iterator[str | Image]:
    """What of some blocks a model reads as tokens: texts, and pictures as themselves."""
    for block in blocks:
        if isinstance(block, Text | Thinking):
            yield block.text
        elif isinstance(block, ToolUse):
            yield block.name
            yield block.input.decode(errors="replace")
        elif isinstance(block, ToolResult):
            yield from _texts(block.content)
        elif isinstance(block, Image):
            yield block
        elif isinstance(block, Opaque) or (isinstance(block, Document) and block.media_type.startswith("text/")):
            yield block.raw.decode(errors="replace")
