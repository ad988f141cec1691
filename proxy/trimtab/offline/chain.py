"""A pipeline of any pipelines.toml, run over request bodies without a server.

No upstream is asked, no model is called, and what stages keep lasts as long as the run: the store is in memory and
empty at the start. Stages are told that it is a trial (`Services.dry`), so that they leave no files behind.
"""

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from time import perf_counter
from types import TracebackType
from typing import Any, NamedTuple, Self

from trimtab import compaction
from trimtab.config import Config
from trimtab.conversation import Conversation
from trimtab.dialects import DIALECTS
from trimtab.economics import Economics
from trimtab.epochs import Epochs
from trimtab.errors import Cause, ConfigError, ProxyError, UpstreamError
from trimtab.exchange import Answer, Edit, Exchange, Incoming
from trimtab.interfaces import Counters
from trimtab.memo import FactTable, MessageTable
from trimtab.models import Target
from trimtab.pipeline import Pipeline
from trimtab.rates import MemoryRates
from trimtab.runtime import StageSet
from trimtab.services import Services
from trimtab.store import MemoryStore
from trimtab.testing import StillClock

WHO = frozenset((Cause.AUTHENTICATION, Cause.PERMISSION, Cause.RATE_LIMIT))
"""Why a request is refused that says nothing about the request itself: offline nobody shows a key."""
MEMORY = 256 * 1024 * 1024


class Step(NamedTuple):
    """What one stage did to one request."""

    stage: str
    before: Conversation
    after: Conversation
    edits: tuple[Edit, ...]
    notes: tuple[str, ...]
    records: int
    """Values it wrote to the store."""
    seconds: float


class Walk(NamedTuple):
    """One request through the chain."""

    exchange: Exchange
    steps: tuple[Step, ...]
    target: Target | None
    """Where it would go; None where it would not leave."""
    ended: str | None
    """Why the client would be answered without an upstream; None where it would not."""

    @property
    def sent(self) -> Conversation:
        """The conversation as it would leave."""
        return self.exchange.conversation


class RunClock(StillClock):
    """A clock that shows what the recording says."""

    def to(self, now: float) -> None:
        """Set the time; it never goes back."""
        self.advance(max(0.0, now - self.now()))


class TallyStore(MemoryStore):
    """A store in memory that counts what is written."""

    written = 0

    async def put(self, kind: str, tenant: str, key: bytes, value: bytes, *, ttl: float | None = None) -> None:
        """Keep a value."""
        self.written += 1
        await super().put(kind, tenant, key, value, ttl=ttl)


class Offline:
    """The stages of one pipeline; an async context manager starts and stops them."""

    def __init__(self, config: Config, pipeline: str = "default") -> None:
        if pipeline not in config.pipelines:
            raise ConfigError(f"no pipeline '{pipeline}' (known: {', '.join(sorted(config.pipelines))})")
        self.clock = RunClock()
        self.store = TallyStore(self.clock)
        self._config = config
        self._name = pipeline
        self._messages = MessageTable(MEMORY)

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="trimtab-")
        try:
            self._set = StageSet(self._config, trial(self._config, self._folder.name, self.clock, self.store))
            await self._set.start()
        except BaseException:
            # Interrupted too: the folder must not stay.
            self._folder.cleanup()
            raise
        self.pipeline: Pipeline = self._set.pipelines[self._name]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._set.stop()
        self._folder.cleanup()

    @property
    def stages(self) -> list[str]:
        """The labels of the stages that see a request, in order."""
        return [bound.stage.label for bound in self.pipeline.chain.request]

    def parse(self, dialect: str, body: bytes) -> Conversation:
        """A body as the surface of its dialect reads it. Raises BadRequest."""
        return DIALECTS[dialect].parse(body, self._messages)

    async def walk(self, conversation: Conversation, headers: Mapping[str, str] | None = None) -> Walk:
        """Run the request and done hooks, and what they leave for later."""
        fields = dict(headers or {})
        exchange = Exchange(
            id="offline",
            operation="generate",
            incoming=Incoming("POST", f"/v1/{conversation.dialect}", headers=fields, peer="127.0.0.1"),
            conversation=conversation,
            pipeline=self.pipeline.name,
            resolve=self.pipeline.target,
            ask=_no_model,
        )
        exchange.compaction = compaction.requested(conversation, fields)
        steps: list[Step] = []
        ended = await self._steps(exchange, steps)
        target = None
        if ended is None:
            try:
                target = exchange.target
                _name_model(exchange, target)
                self.pipeline.services.economics.sending(exchange)
            except ProxyError as error:
                target, ended = None, error.message
        self.pipeline.done(exchange)
        for work in exchange.pending:
            # A model that would be asked is not there: whoever asks it says what then holds.
            with suppress(Exception):
                await work()
        return Walk(exchange, tuple(steps), target, ended)

    async def _steps(self, exchange: Exchange, steps: list[Step]) -> str | None:
        for bound in self.pipeline.chain.request:
            before, edits, notes = exchange.conversation, len(exchange.edits), len(exchange.notes)
            written, begun, ended = self.store.written, perf_counter(), None
            try:
                reply = await self.pipeline.step(exchange, bound)
                ended = None if reply is None else f"stage '{bound.stage.label}' answers itself"
            except ProxyError as error:
                told = f"stage '{bound.stage.label}' refuses: {error.message}"
                if error.cause in WHO:
                    exchange.notes.append(f"{told} (offline the request goes on)")
                else:
                    ended = told
            steps.append(
                Step(
                    bound.stage.label,
                    before,
                    exchange.conversation,
                    tuple(exchange.edits[edits:]),
                    tuple(exchange.notes[notes:]),
                    self.store.written - written,
                    perf_counter() - begun,
                )
            )
            if ended is not None:
                return ended
        return None


def _name_model(exchange: Exchange, target: Target) -> None:
    """Write the target's name of the model, where no stage did: what the core does with a request that leaves."""
    if exchange.conversation.model != target.model.name:
        exchange.stage = "core"
        exchange.set_member("model", target.model.name, f"served by upstream '{target.upstream.name}'")


def trial(config: Config, folder: str, clock: RunClock, store: MemoryStore) -> Services:
    """Services for a run that leaves nothing behind."""
    counters = Counters()
    return Services(
        models=config.models,
        clock=clock,
        counters=counters,
        counts=FactTable(config.core.memo_entries),
        store=store,
        epochs=Epochs(store, counters),
        economics=Economics(clock, counters),
        rates=MemoryRates(clock),
        directory=folder,
        loopback=config.serve.loopback,
        dry=True,
    )


async def _no_model(exchange: Exchange, model: str, prompt: Any, seconds: float) -> Answer:
    raise UpstreamError("offline: no model is asked")
