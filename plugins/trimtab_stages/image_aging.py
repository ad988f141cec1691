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
from trimtab_stages.image_places import images_of, means, moments, refers, weighed, without

KIND = "image-description"
AT_ONCE = 4
"""Descriptions made after one reply at most; the newest images first."""
SECONDS = 30.0
"""How long the vision model has for one."""
REST = 60.0
"""Seconds without a question after one that failed."""
APART = 20
"""Messages between two moments where the text goes to the model that sees the images: every one is an epoch there."""


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
        places, messages = self._moments(exchange), exchange.received.messages
        words = _words(messages[last_word(messages)])
        if places and refers(words):
            places = await self._spoken_of(exchange, places, again=means(words))
        for number in range(len(places) - 1, -1, -1):
            epoch = await self._epoch(exchange, places[: number + 1], model)
            if epoch is not None:
                await self._apply(exchange, epoch)
                break
        return None

    def _moments(self, exchange: Exchange) -> list[int]:
        """The indexes up to which images are old; where the text goes elsewhere that is free, since that model has
        nothing cached of the images.

        A moment waits for the first request whose user does not speak of an image. That is read from the messages, so
        that a request which comes again, or is gone back to, is sent as it was.
        """
        messages = exchange.received.messages
        found = moments(messages, self.options.threshold, apart=APART if _stays(exchange) else 0)
        return [moment.until for moment in found if _came(messages, moment.at)]

    async def _spoken_of(self, exchange: Exchange, places: Sequence[int], *, again: bool) -> list[int]:
        """The moments that hold while the user speaks of an image: those of which there is a record.

        `again` says that one is meant that was shown. Where no image was left and the text went to another model, that
        moment does not hold either: the model that sees gets what it got before, and has that cached or nothing.
        """
        held = []
        for place in places:
            boundary = self._epochs.before(exchange, self._owner, place)
            if boundary is not None and await self._epochs.get(exchange, boundary) is not None:
                held.append(place)
        if again and held and not _stays(exchange) and not _pictured(exchange, held[-1]):
            held.pop()
        return held

    async def _epoch(self, exchange: Exchange, places: Sequence[int], model: str) -> Epoch | None:
        """The record of the last of some moments. The first request past it writes one; a moment that does not pay is
        passed over, once and for all."""
        until = places[-1]
        boundary: Boundary | None = self._epochs.before(exchange, self._owner, until)
        if boundary is None:
            return None
        epoch = await self._epochs.get(exchange, boundary)
        if epoch is None:
            wanted = Epoch(messages=until, size=boundary.size)
            if await self._pays(exchange, places):
                keys = [
                    key.hex() if await self._texts.get(exchange, key) else ""
                    for key, *_ in self._shown(exchange, until, model)
                ]
                wanted = replace(wanted, form="text", texts=tuple(keys))
            epoch = await self._epochs.settle(exchange, boundary, wanted)
        return epoch if epoch.form else None

    async def _pays(self, exchange: Exchange, places: Sequence[int]) -> bool:
        """Whether the images of the last moment may go: where none is left for a model that has them cached, always."""
        if not _stays(exchange) and not _pictured(exchange, places[-1]):
            return True
        start = 0
        for place in reversed(places[:-1]):
            boundary = self._epochs.before(exchange, self._owner, place)
            held = None if boundary is None else await self._epochs.get(exchange, boundary)
            if held is not None and held.form:
                start = place
                break
        found = weighed(exchange.received.messages, start, places[-1], exchange.target)
        return self._economics.weigh(exchange, removed=found.removed, behind=found.behind).pays

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


def _pictured(exchange: Exchange, place: int) -> bool:
    """Whether there are images from a message on."""
    return any(images_of(message) for message in exchange.received.messages[place:])


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
