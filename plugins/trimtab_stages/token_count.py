"""Counts the tokens of the prompt, each message once, tells the other stages, and learns from the upstream's usage."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Literal, cast

from loguru import logger

from trimtab.api import (
    Conversation,
    Counting,
    DialectName,
    Exchange,
    Fact,
    Message,
    Picture,
    ProxyError,
    Reply,
    Services,
    Sizer,
    Stage,
    StageOptions,
    Target,
    TokenCount,
    framing,
    hookimpl,
    read_request,
    tokenizer,
    tokens_of,
)
from trimtab_stages.calibration import LEAST, Calibration, Tolerance, judge
from trimtab_stages.token_later import FROM, Later, bound, estimate
from trimtab_stages.token_worker import Measured, Pictured, Sizes, TokenWorker, around, piece_of


class TokenCountOptions(StageOptions, frozen=True, kw_only=True):
    """The table `[stage.token-count]`."""

    exact: bool = True
    """False takes a quarter of the characters."""
    encoding: Literal["cl100k_base", "o200k_base"] = "cl100k_base"
    forward: bool = True
    """Whether a `count` request may be answered by the upstream's own count."""
    image_size: bool = True
    """Whether an image is counted by its size, as its model does; false takes `image-base` for each."""
    image_base: int = 85
    """Tokens of an image of which neither the size nor a rule of the model is known."""
    description_factor: float = 0.25
    """Tokens per character of an image's description that is not yet written."""
    log: bool = False
    """Whether each count has a line in the log."""
    validate: bool = True
    """Whether counts are compared with what the upstream reports."""
    warn_accuracy: float = 90
    """Percent of agreement below which a line warns."""
    error_accuracy: float = 80
    """Percent of agreement below which it is an error."""
    tolerance_percent: float = 10.0
    """Difference in percent that is no reason to warn."""
    tolerance_tokens: int = 25
    """Difference in tokens that is no reason to warn."""

    def __post_init__(self) -> None:
        if not 0 <= self.error_accuracy <= self.warn_accuracy <= 100:
            raise ValueError("error-accuracy and warn-accuracy are percent, the first not above the second")
        if min(self.image_base, self.description_factor, self.tolerance_percent, self.tolerance_tokens) < 0:
            raise ValueError("image-base, description-factor and the tolerances must be 0 or more")


SHARE = 2
"""Only below this part of the window a request may be counted beside it: no stage acts below 60 %."""
LEARN_EVERY = 16
"""Of so many translated requests one is counted again as it left."""


class Counted(Fact, frozen=True):
    """What this stage's own TokenCount is about, for the comparison at the end."""

    count: TokenCount
    messages: tuple[Message, ...]
    guessed: bool
    """Whether an image was counted without knowing how its model counts it."""


class TokenCounter(Stage[TokenCountOptions]):
    """Puts the fact TokenCount; what was counted once is found again by its bytes."""

    name = "token-count"
    Options = TokenCountOptions
    provides = frozenset({TokenCount})
    optional = True

    @hookimpl
    async def start(self, services: Services) -> None:
        """Get ready; the table of tokens loads at the first count."""
        options = self.options
        self._spawn = services.spawn if options.exact else None
        kind = f"{options.encoding}:{options.exact}"
        salt = hashlib.sha256(kind.encode()).digest()[:4]
        self._note = f"tokens:{kind}"
        self._worker = TokenWorker(tokenizer(options.encoding) if options.exact else None, services.counts, salt)
        self._calibration = Calibration(services.store)
        self._counters = services.counters
        self._turn = 0
        self._tolerance = Tolerance(
            options.warn_accuracy, options.error_accuracy, options.tolerance_percent, options.tolerance_tokens
        )

    @hookimpl
    async def stop(self) -> None:
        """Let the thread go."""
        self._worker.close()

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        """Count what is new, and add up; beside the request where that takes time and nobody can need it."""
        if self._spawn is not None and (most := self._roomy(exchange)):
            key = self._key(exchange.target, exchange.dialect)
            rough = estimate(exchange.conversation, most, self.options.encoding, self._calibration.ratio(key))
            conversation = exchange.conversation
            later = Later(exchange, rough, partial(self._measure, conversation), partial(self._put, conversation))
            exchange.put(rough)
            exchange.put(later.begin(self._spawn, cold=self._worker.cold))
            return None
        measured = await self._measure(exchange.conversation)
        self._put(exchange.conversation, exchange, measured)
        if exchange.operation == "count":
            exchange.put(Sizer(of=self._size))
        return None

    def _roomy(self, exchange: Exchange) -> int:
        """The most tokens a request can have, where it is to be counted beside it; else 0."""
        conversation, large = exchange.conversation, len(exchange.received.head.scanned.raw) > FROM
        if exchange.operation != "generate" or not (self._worker.cold or (large and self._new(conversation) > FROM)):
            return 0
        most, window = bound(conversation), exchange.target.model.window
        return most if most is not None and (window is None or most <= window // SHARE) else 0

    def _new(self, conversation: Conversation) -> int:
        """Bytes of messages that nobody has counted."""
        at, _ = conversation.reached(self._note, None)
        return sum([len(message.raw) for message in conversation.messages[at:] if self._note not in message.notes])

    async def _measure(self, conversation: Conversation) -> Measured:
        note = self._note
        at, known = conversation.reached(note, Sizes())
        messages = conversation.messages[at:]
        unknown = [*dict.fromkeys([message for message in messages if note not in message.notes])]
        of_head = conversation.head.notes
        overhead: int | None = of_head.get(note)
        beside = around(conversation) if overhead is None else []
        sizes = await self._worker.sizes([*beside, *map(piece_of, unknown)])
        for message, size in zip(unknown, sizes[len(beside) :], strict=True):
            message.notes[note] = size
        if overhead is None:
            opening = framing(conversation.dialect).opening
            overhead = opening + sum(size for size in sizes[: len(beside)] if isinstance(size, int))
            of_head[note] = overhead
        if messages:
            fresh = [message.notes[note] for message in messages]
            known = known.plus(tuple(fresh[:-1]))
            conversation.remember(note, known, back=1)
            known = known.plus(tuple(fresh[-1:]))
            conversation.remember(note, known)
        return Measured(known, overhead, len(unknown))

    async def _size(self, leaving: Conversation, target: Target) -> int:
        tokens, _ = await self._whole(leaving, target)
        return round(tokens * self._calibration.ratio(self._key(target, leaving.dialect)))

    async def _whole(self, leaving: Conversation, target: Target) -> tuple[int, bool]:
        """Tokens of a conversation as it leaves, and whether an image was guessed."""
        measured = await self._measure(leaving)
        _, tokens, guessed = self._seen(measured.sizes, target)
        return tokens + measured.overhead, guessed

    def _put(self, conversation: Conversation, exchange: Exchange, measured: Measured) -> None:
        target, overhead = exchange.target, measured.overhead
        counts, tokens, guessed = self._seen(measured.sizes, target)
        count = TokenCount(
            total=tokens + overhead,
            messages=counts,
            overhead=overhead,
            encoding=self.options.encoding,
            forward=self.options.forward,
            ratio=self._calibration.ratio(self._key(target, exchange.dialect)),
        )
        exchange.put(Counted(count=count, messages=conversation.messages, guessed=guessed))
        exchange.put(count)
        if self.options.log:
            self._tell(exchange, measured.new)

    def _seen(self, known: Sizes, target: Target) -> tuple[tuple[int, ...], int, bool]:
        """Tokens of each message as the target sees its images, their sum, and whether any was guessed."""
        if known.plain:
            return cast(tuple[int, ...], known.sizes), known.tokens, False
        counts: list[int] = []
        pictures: list[Picture] = []
        for size in known.sizes:
            if isinstance(size, Pictured):
                pictures += size.pictures
                counts.append(size.tokens + sum(self._image(picture, target) for picture in size.pictures))
            else:
                counts.append(size)
        ruled = self.options.image_size and target.model.image_tokens is not None
        return tuple(counts), sum(counts), not (ruled and all(picture.width for picture in pictures))

    def _image(self, picture: Picture, target: Target) -> int:
        base = self.options.image_base
        return tokens_of(picture, target, base) if self.options.image_size else base

    def _key(self, target: Target, dialect: DialectName) -> str:
        """What is learned of a target holds for one form of the conversation: another counts differently."""
        form = () if dialect == target.dialect else (dialect,)
        return "\n".join((target.upstream.name, target.model.name, self._note, *form))

    def _tell(self, exchange: Exchange, new: int) -> None:
        count = exchange.need(TokenCount)
        logger.info(
            "{}: {} tokens in {} messages, of them {} new, and {} around them; calibrated {}",
            exchange.id,
            count.total - count.overhead,
            len(count.messages),
            new,
            count.overhead,
            count.calibrated,
        )

    @hookimpl
    def done(self, exchange: Exchange) -> None:
        """Compare with what the upstream reports, and leave the learning for later."""
        usage, count, counting = exchange.outcome.usage, exchange.get(TokenCount), exchange.get(Counting)
        if exchange.operation != "generate" or exchange.outcome.error is not None or count is None:
            return
        if usage is None or usage.estimated or not usage.prompt:
            return
        if count.most is not None and counting is not None:
            exchange.later(partial(self._compare_later, exchange, counting, usage.prompt))
        else:
            for work in self._compare(exchange, count, usage.prompt):
                exchange.later(work)

    async def _compare_later(self, exchange: Exchange, counting: Counting, reported: int) -> None:
        await counting.settle()
        for work in self._compare(exchange, exchange.need(TokenCount), reported):
            await work()

    def _compare(
        self, exchange: Exchange, count: TokenCount, reported: int
    ) -> Iterator[Callable[[], Coroutine[Any, Any, None]]]:
        """Compare, and say what is to be learned."""
        counted = exchange.get(Counted)
        if counted is None:
            return
        if count is counted.count and exchange.conversation.messages is not counted.messages:
            # A stage behind this one edited and did not count anew.
            return
        try:
            target = exchange.target
            key = self._key(target, exchange.dialect)
        except ProxyError:
            return
        if self.options.validate and reported >= LEAST:
            self._validate(exchange, count, reported)
        if not counted.guessed and not self._calibration.take(key, count.total, reported):
            yield partial(self._calibration.learn, key, count.total, reported)
            if target.dialect != exchange.dialect and exchange.sent is not None and self._turn % LEARN_EVERY == 0:
                yield partial(self._learn_sent, exchange.sent, target, reported)
            self._turn += target.dialect != exchange.dialect

    async def _learn_sent(self, body: bytes, target: Target, reported: int) -> None:
        """Learn what the target counts for a translated body, for the answers to `count` requests."""
        # Nobody waits for it, and it may be large.
        leaving = await asyncio.to_thread(read_request, body, target.dialect)
        tokens, guessed = await self._whole(leaving, target)
        if not guessed:
            await self._calibration.learn(self._key(target, target.dialect), tokens, reported)

    def _validate(self, exchange: Exchange, count: TokenCount, reported: int) -> None:
        verdict = judge(count.calibrated, reported, self._tolerance)
        self._counters.add(f"token_count.{verdict.level}")
        if verdict.level == "ok" and not self.options.log:
            return
        target = exchange.target
        logger.log(
            "INFO" if verdict.level == "ok" else verdict.level.upper(),
            "{}: counted {} tokens for {}/{}, the upstream {}: {:.1f} % right, {:+} tokens",
            exchange.id,
            count.calibrated,
            target.upstream.name,
            target.model.name,
            reported,
            verdict.accuracy,
            verdict.difference,
        )
