"""Puts a text where an image was, once the conversation has gone on: a description by the vision model.

When images become old, and which, is the business of `image_places`, what is said of them of `image_texts`. Here the
stage asks for its record and obeys it: an epoch's texts are chosen once, at its first request. Descriptions are made
after a reply has gone, long before they are needed; an image without one is told by its size until the next epoch.
"""

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from loguru import logger

from trimtab.api import (
    Boundary,
    Epoch,
    Exchange,
    Fact,
    Image,
    Message,
    Owner,
    ProxyError,
    Reply,
    Services,
    Stage,
    StageOptions,
    fingerprint,
    hookimpl,
    replace,
)
from trimtab_stages import image_texts
from trimtab_stages.condense_ranges import last_word, said
from trimtab_stages.frozen_texts import FrozenTexts
from trimtab_stages.image_places import (
    APART,
    Moment,
    images_of,
    means,
    moments,
    refers,
    requests_in,
    rests,
    weighed,
    without,
)

KIND = "image-description"
AT_ONCE = 4
"""Descriptions made after one reply at most; the newest images first."""
SECONDS = 30.0
"""How long the vision model has for one."""
REST = 60.0
"""Seconds without a question after one that failed."""


class ImageAgingOptions(StageOptions, frozen=True, kw_only=True):
    """The table `[stage.image-aging]`."""

    threshold: int = 8
    """Messages since the newest image after which images are old."""
    context_messages: int = 2
    """Messages before an image that its description rests on."""
    cache_entries: int = 1000
    """Descriptions kept in memory; the store keeps them all."""
    text: str = image_texts.DEFAULT
    """What stands where an image was."""
    model: str = ""
    """Who describes images; empty is the model that the request with images goes to."""

    def __post_init__(self) -> None:
        if self.threshold < 1 or self.context_messages < 0 or self.cache_entries < 1:
            raise ValueError("threshold and cache-entries must be 1 or more, context-messages 0 or more")
        image_texts.check(self.text)


class Shown(NamedTuple):
    """An image: the key of its description, the index of its message, the image."""

    key: bytes
    at: int
    image: Image


class ImageAged(Fact, frozen=True):
    """What the stage did to a request."""

    images: int
    """Images that became texts."""
    described: int
    """Those of them of which a description tells."""


class ImageAging(Stage[ImageAgingOptions]):
    """Replaces old images, all of a message in place."""

    name = "image-aging"
    Options = ImageAgingOptions
    provides = frozenset({ImageAged})
    optional = True
    shapes = True

    @hookimpl
    async def start(self, services: Services) -> None:
        """Keep what the process has."""
        self._epochs, self._clock, self._counters = services.epochs, services.clock, services.counters
        self._economics = services.economics
        self._texts = FrozenTexts(services.store, KIND, self.options.cache_entries)
        self._owner = Owner(self.name, fingerprint(self.options.text, self.options.threshold))
        self._told = image_texts.Told(self.options.text)
        self._asking: set[bytes] = set()
        self._resting = 0.0

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        """Do what the newest record says, and leave the description of images without one for later."""
        if exchange.compaction or not exchange.conversation.has(Image):
            return None
        if len(exchange.conversation.messages) != len(exchange.received.messages):
            exchange.notes.append("image-aging did nothing: a stage before it removed messages")
            return None
        model = self.options.model or exchange.target.model.name
        if exchange.operation == "generate":
            exchange.later(partial(self._describe, exchange, model))
        found, whole = await self._moments(exchange)
        for number in range(len(found), 0, -1):
            epoch = await self._epoch(exchange, found[:number], model, whole=whole)
            if epoch is not None:
                await self._apply(exchange, epoch)
                break
        return None

    async def _moments(self, exchange: Exchange) -> tuple[list[Moment], bool]:
        """The moments that have come, and whether the last one leaves no image, so that the text goes elsewhere.

        Two models see two conversations. To the one that reads text all images are texts. The one that sees gets an
        image as it got it before; where images became texts it follows ten requests apart, since that breaks its cache
        when a new image comes. A moment waits for the first request whose user does not speak of an image: that is
        read from the messages, so that a request which comes again, or is gone back to, is sent as it was. While the
        user speaks of one nothing becomes a text anew, and one that is meant is shown to the model that sees.
        """
        messages, stays = exchange.received.messages, _stays(exchange)
        words = _words(messages[last_word(messages)])
        if not stays and not means(words):
            found = await self._held(exchange, rests(messages, self.options.threshold), words)
            if found and not _pictured(exchange, found[-1]):
                return found, True
        seen = moments(messages, self.options.threshold, apart=APART, told=self._told)
        found = await self._held(exchange, seen, words)
        if found and not stays and not _pictured(exchange, found[-1]):
            found.pop()
        return found, False

    async def _held(self, exchange: Exchange, found: Sequence[Moment], words: str) -> list[Moment]:
        """The moments that have come; while the user speaks of an image, those of which there is a record."""
        came = [moment for moment in found if _came(exchange.received.messages, moment.at)]
        if not refers(words):
            return came
        return [moment for moment in came if await self._record(exchange, moment) is not None]

    async def _record(self, exchange: Exchange, moment: Moment) -> Epoch | None:
        boundary = self._epochs.before(exchange, self._owner, moment.until)
        return None if boundary is None else await self._epochs.get(exchange, boundary)

    async def _epoch(self, exchange: Exchange, found: Sequence[Moment], model: str, *, whole: bool) -> Epoch | None:
        """The record of the last of some moments. The first request past it writes one; a moment that does not pay is
        passed over, once and for all."""
        boundary: Boundary | None = self._epochs.before(exchange, self._owner, found[-1].until)
        if boundary is None:
            return None
        epoch = await self._epochs.get(exchange, boundary)
        if epoch is None:
            wanted = Epoch(messages=boundary.messages, size=boundary.size)
            if whole or await self._pays(exchange, found):
                wanted = replace(wanted, form="text", texts=await self._chosen(exchange, found, model))
            epoch = await self._epochs.settle(exchange, boundary, wanted)
        return epoch if epoch.form else None

    async def _chosen(self, exchange: Exchange, found: Sequence[Moment], model: str) -> tuple[str, ...]:
        """The keys of the texts of a new record; empty for an image of which there is none.

        What the epoch before said of an image stays, unless that was ten requests ago: then a description that came
        late may take its place.
        """
        keys = [
            key.hex() if await self._texts.get(exchange, key) else ""
            for key, *_ in self._shown(exchange, found[-1].until, model)
        ]
        for moment in reversed(found[:-1]):
            held = await self._record(exchange, moment)
            if held is not None and held.form:
                if requests_in(exchange.received.messages, moment.at, found[-1].at) < APART:
                    keys[: len(held.texts)] = held.texts
                break
        return tuple(keys)

    async def _pays(self, exchange: Exchange, found: Sequence[Moment]) -> bool:
        """Whether the images of the last moment may go, where the model that sees has them cached."""
        start = 0
        for moment in reversed(found[:-1]):
            held = await self._record(exchange, moment)
            if held is not None and held.form:
                start = moment.until
                break
        weight = weighed(exchange.received.messages, start, found[-1].until, exchange.target)
        if not weight.removed:
            return False
        return self._economics.weigh(exchange, removed=weight.removed, behind=weight.behind).pays

    async def _apply(self, exchange: Exchange, epoch: Epoch) -> None:
        texts = [await self._texts.get(exchange, bytes.fromhex(key)) if key else None for key in epoch.texts]
        told = iter(texts)
        changes: dict[int, Message] = {}
        for index, message in enumerate(exchange.received.messages[: epoch.messages]):
            mine = [next(told, None) for _ in images_of(message)]
            if mine:
                changes[index] = self._aged(exchange.conversation.messages[index], mine)
        if exchange.edit_all(changes, "old images"):
            described = sum(text is not None for text in texts)
            exchange.put(ImageAged(images=len(texts), described=described))
            self._counters.add("image_aging.images", len(texts))

    def _aged(self, message: Message, texts: Sequence[str | None]) -> Message:
        """The message with its texts; made once, and again only when they are others."""
        told = self.options.text, tuple(texts)
        known = message.notes.get("aged")
        if known is None or known[0] != told:
            mine = iter(texts)
            after = without(message, lambda image: image_texts.text_for(self.options.text, image, next(mine, None)))
            known = message.notes["aged"] = told, after
        after_: Message = known[1]
        return after_

    def _shown(self, exchange: Exchange, until: int, model: str) -> Iterator[Shown]:
        """The images of the first messages with the keys of their descriptions, which are worked out once."""
        messages = exchange.received.messages
        for index, message in enumerate(messages[:until]):
            images = images_of(message)
            if not images:
                continue
            before = messages[max(0, index - self.options.context_messages) : index]
            known = message.notes.get("described")
            if known is None or known[:2] != (model, before):
                keys = [image_texts.key_of(image, before, message, model) for image in images]
                known = message.notes["described"] = model, before, keys
            yield from (Shown(key, index, image) for key, image in zip(known[2], images, strict=True))

    async def _describe(self, exchange: Exchange, model: str) -> None:
        """Ask for descriptions that are missing; a model that fails is left alone for a while."""
        # In a thread, since every picture is hashed: 20 ms for 20 MB.
        shown = await asyncio.to_thread(list, self._shown(exchange, len(exchange.received.messages), model))
        for key, index, image in shown[::-1][:AT_ONCE]:
            if key in self._asking or self._clock.monotonic() < self._resting:
                continue
            if await self._texts.get(exchange, key) is not None:
                continue
            self._asking.add(key)
            try:
                await self._ask(exchange, key, image, index, model)
            finally:
                self._asking.discard(key)

    async def _ask(self, exchange: Exchange, key: bytes, image: Image, index: int, model: str) -> None:
        messages = exchange.received.messages
        before = messages[max(0, index - self.options.context_messages) : index]
        try:
            answer = await exchange.ask(model, image_texts.question(image, before, messages[index]), seconds=SECONDS)
        except ProxyError as error:
            self._failed(exchange, model, error.message)
            return
        text = image_texts.checked(answer.text)
        if text is None:
            self._failed(exchange, model, "its answer says nothing")
            return
        await self._texts.add(exchange, key, text)
        self._counters.add("image_aging.described")

    def _failed(self, exchange: Exchange, model: str, reason: str) -> None:
        self._resting = self._clock.monotonic() + REST
        self._counters.add("image_aging.undescribed")
        logger.warning("{}: image-aging got no description from '{}': {}", exchange.id, model, reason)


def _stays(exchange: Exchange) -> bool:
    """Whether the text goes to the model that sees the images."""
    target, text = exchange.target, exchange.text_target
    return target.upstream.name == text.upstream.name and target.model.name == text.model.name


def _pictured(exchange: Exchange, moment: Moment) -> bool:
    """Whether there are images behind those of a moment."""
    return any(images_of(message) for message in exchange.received.messages[moment.until :])


def _came(messages: Sequence[Message], at: int) -> bool:
    """Whether a request from the message `at` on had last words that do not speak of an image."""
    last, looked = last_word(messages[: at + 1]), -1
    for index in range(at + 1, len(messages) + 1):
        if index < len(messages) and messages[index].role != "assistant":
            last = index if said(messages[index]) else last
        elif last != looked:
            if not refers(_words(messages[last])):
                return True
            looked = last
    return False


def _words(message: Message) -> str:
    """What the user said; nothing where that came with an image, since it then speaks of a new one."""
    return "" if message.has(Image) else "\n".join(said(message))
