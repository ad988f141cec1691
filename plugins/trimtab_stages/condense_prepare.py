"""Texts by a model, made after a reply has gone and long before they are needed, so that no request waits for one."""

from loguru import logger

from trimtab.api import Answer, Boundary, Epoch, Exchange, Prompt, ProxyError, Services
from trimtab_stages import condense_summary as summary
from trimtab_stages.condense_forms import TEXTS
from trimtab_stages.condense_options import CondenseOptions
from trimtab_stages.condense_ranges import opening
from trimtab_stages.frozen_texts import FrozenTexts

KIND = "summary"
AT_ONCE = 6
"""Questions after one reply at most; the next reply goes on."""
REST = 60.0
"""Seconds without a question after one that failed."""
FOLD = 4
"""Texts of a conversation, beyond which the oldest two become one."""


class Preparing:
    """Makes and keeps the texts of the two upper rungs."""

    def __init__(self, options: CondenseOptions, services: Services) -> None:
        self._options = options
        self._clock, self._counters = services.clock, services.counters
        self._model = options.model or services.models.model("auto").text or "auto"
        # What a record uses is kept as long as the record; notes on the way to it for their time.
        self._notes = FrozenTexts(services.store, "notes", 1000, ttl=options.ttl)
        self._frozen = FrozenTexts(services.store, KIND, 1000)
        self._working: set[bytes] = set()
        self._resting = 0.0

    def wanted(self, exchange: Exchange) -> bool:
        """Whether a model may summarise this conversation, and has not just failed."""
        options = self._options
        if not options.model_rungs or options.strategy not in ("conversation_summary", "progressive_summarization"):
            return False
        named = not options.only_models or exchange.target.model.name in options.only_models
        return named and self._clock.monotonic() >= self._resting

    async def texts(self, exchange: Exchange, epoch: Epoch) -> tuple[str, ...] | None:
        """The texts of a record; None where one is lost."""
        found = []
        for key in epoch.texts if epoch.form == TEXTS else ():
            text = await self._frozen.get(exchange, bytes.fromhex(key))
            if text is None:
                return None
            found.append(text)
        return tuple(found)

    async def ready(self, exchange: Exchange, place: Boundary, before: Epoch) -> tuple[str, ...]:
        """The keys of the texts for everything before a boundary, kept for good; none where the model is not done."""
        start, kept = self._start(exchange, before)
        parts = [*summary.chunks(exchange.received.messages, start, place.messages, self._options.max_messages)]
        if not parts or not self._named(exchange):
            return ()
        key = summary.keys(exchange.received.messages, parts, self._model)[-1]
        notes = await self._notes.get(exchange, key)
        if notes is None:
            return ()
        await self._notes.renew(exchange, key, notes)
        text = summary.frozen(exchange.received.messages, start, place.messages, notes)
        if exchange.operation == "generate":
            await self._frozen.add(exchange, key, text)
        return (*await self._folded(exchange, kept), key.hex())

    async def work(self, exchange: Exchange, boundary: Boundary, before: Epoch) -> None:
        """Ask for what is missing, part after part; the next reply goes on where this one stops."""
        start, kept = self._start(exchange, before)
        messages = exchange.received.messages
        parts = [*summary.chunks(messages, start, boundary.messages, self._options.max_messages)]
        keys = summary.keys(messages, parts, self._model)
        asked, notes = 0, ""
        for part, key in zip(parts, keys, strict=True):
            known = await self._notes.get(exchange, key)
            if known is None:
                if asked == AT_ONCE or key in self._working or self._clock.monotonic() < self._resting:
                    return
                asked += 1
                known = await self._made(exchange, key, summary.question(messages, part, notes))
                if known is None:
                    return
                await self._notes.add(exchange, key, known)
            notes = known
        if len(kept) >= FOLD:
            await self._fold(exchange, kept)

    def _named(self, exchange: Exchange) -> bool:
        options = self._options
        return options.model_rungs and (not options.only_models or exchange.target.model.name in options.only_models)

    def _start(self, exchange: Exchange, before: Epoch) -> tuple[int, tuple[str, ...]]:
        """Where the next text begins, and the texts before it: the progressive ones stay, the other covers all."""
        if self._options.strategy == "progressive_summarization" and before.form == TEXTS:
            return before.messages, before.texts
        return opening(exchange.received.messages), ()

    async def _folded(self, exchange: Exchange, kept: tuple[str, ...]) -> tuple[str, ...]:
        """The texts so far, the oldest two as one where they are many and that one is ready."""
        if len(kept) < FOLD:
            return kept
        key = summary.fold_key(kept[0], kept[1], self._model)
        return (key.hex(), *kept[2:]) if await self._frozen.get(exchange, key) is not None else kept

    async def _fold(self, exchange: Exchange, kept: tuple[str, ...]) -> None:
        key = summary.fold_key(kept[0], kept[1], self._model)
        older, newer = [await self._frozen.get(exchange, bytes.fromhex(name)) for name in kept[:2]]
        if older is None or newer is None or await self._frozen.get(exchange, key) is not None:
            return
        notes = await self._made(exchange, key, summary.folding(older, newer))
        if notes is not None:
            await self._frozen.add(exchange, key, summary.joined(notes, older, newer))

    async def _made(self, exchange: Exchange, key: bytes, prompt: Prompt) -> str | None:
        """A model's answer, None where there is none that can be used; then it is left alone for a while."""
        self._working.add(key)
        try:
            answer: Answer = await exchange.ask(self._model, prompt, seconds=self._options.timeout)
        except ProxyError as error:
            self._failed(exchange, error.message)
            return None
        finally:
            self._working.discard(key)
        text = summary.checked(answer.text)
        if text is None:
            self._failed(exchange, "its answer is no summary")
            return None
        self._counters.add("condense.prepared")
        return text

    def _failed(self, exchange: Exchange, reason: str) -> None:
        self._resting = self._clock.monotonic() + REST
        self._counters.add("condense.unprepared")
        logger.warning("{}: condense got no summary from '{}': {}", exchange.id, self._model, reason)
