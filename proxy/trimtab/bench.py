"""A chain and its exchanges without a server, a network or a clock: what stages are tested with."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from trimtab import compaction
from trimtab.conversation import DialectName
from trimtab.dialects import DIALECTS
from trimtab.economics import Economics
from trimtab.epochs import Epochs
from trimtab.errors import ProxyError, UpstreamError
from trimtab.events import Event, Usage
from trimtab.exchange import Answer, Exchange, Incoming, Operation
from trimtab.hookspecs import Reply
from trimtab.interfaces import Counters, Store
from trimtab.memo import FactTable, MessageTable
from trimtab.models import Model, ModelTable, Upstream
from trimtab.pipeline import Pipeline
from trimtab.rates import MemoryRates
from trimtab.registry import AnyStage, compile_chain
from trimtab.services import Services
from trimtab.store import MemoryStore


class StillClock:
    """A clock that moves only when told to."""

    def __init__(self, now: float = 1_750_000_000.0) -> None:
        self._now = now
        self._passed = 0.0

    def now(self) -> float:
        """Seconds since 1970."""
        return self._now + self._passed

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._passed

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._passed += seconds

    def jump(self, seconds: float) -> None:
        """Put the date forward, or back, as clocks are set; `monotonic` goes on as before."""
        self._now += seconds

    async def sleep(self, seconds: float) -> None:
        """Let time pass at once; others get their turn."""
        self.advance(seconds)
        await asyncio.sleep(0)


def table() -> ModelTable:
    """A small model table: one upstream per dialect, a text and a vision model."""
    upstreams = {
        "text": Upstream(dialect="messages", base_url="http://text.test", auth="x-api-key", images=False,
                         image_upstream="images"),
        "images": Upstream(dialect="chat", base_url="http://images.test/v1"),
    }  # fmt: skip
    both: dict[DialectName, str] = {"messages": "text", "chat": "images"}
    models = {
        "small": Model(window=10_000, max_output=1_000, upstreams=both, vision="eyes"),
        "eyes": Model(window=5_000, max_output=500, upstreams={"chat": "images"}, images=True),
        "auto": Model(text="small", vision="eyes"),
    }
    return ModelTable(upstreams, models)


class StageBench:
    """A pipeline of the given stages; starts and stops them as an async context manager."""

    def __init__(
        self,
        *stages: AnyStage,
        models: ModelTable | None = None,
        clock: StillClock | None = None,
        answers: Sequence[str | Answer | ProxyError] = (),
        directory: str = ".",
        loopback: bool = True,
        store: Store | None = None,
        dry: bool = False,
    ) -> None:
        self.clock = clock or StillClock()
        self.asked: list[tuple[str, Any]] = []
        """(model, prompt) of each `ask`; `answers` are given, or raised, in turn, then UpstreamError."""
        self._answers = list(answers)
        counters = Counters()
        held: Store = MemoryStore(self.clock) if store is None else store
        self.services = Services(
            rates=MemoryRates(self.clock),
            models=models or table(),
            clock=self.clock,
            counters=counters,
            counts=FactTable(10_000),
            store=held,
            epochs=Epochs(held, counters),
            economics=Economics(self.clock, counters),
            directory=directory,
            loopback=loopback,
            dry=dry,
        )
        self.pipeline = Pipeline("default", compile_chain(stages, "[pipeline.default]"), self.services)
        self._messages = MessageTable(16 * 1024 * 1024)

    async def __aenter__(self) -> Self:
        for _, call in self.pipeline.chain.start:
            await call(self.services)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, call in self.pipeline.chain.stop:
            await call()

    def exchange(
        self,
        body: Mapping[str, Any] | bytes,
        *,
        dialect: str = "chat",
        operation: Operation = "generate",
        headers: Mapping[str, str] | None = None,
        peer: str = "127.0.0.1",
    ) -> Exchange:
        """An exchange for a request body."""
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        exchange = Exchange(
            id="req_test",
            operation=operation,
            incoming=Incoming("POST", f"/v1/{dialect}", headers=dict(headers or {}), peer=peer),
            conversation=DIALECTS[dialect].parse(raw, self._messages),
            resolve=self.pipeline.target,
            ask=self._ask,
        )
        exchange.compaction = compaction.requested(exchange.conversation, exchange.incoming.headers)
        return exchange

    async def request(self, exchange: Exchange) -> Reply | None:
        """Run the request hooks."""
        return await self.pipeline.request(exchange)

    def events(self, exchange: Exchange, *events: Event) -> list[Event]:
        """Pass events through the event hooks."""
        return list(self.pipeline.listener(exchange)(events))

    def sends(self, exchange: Exchange, usage: Usage | None = None) -> None:
        """Do what the core does with a request that leaves, and with the usage that its upstream tells."""
        self.services.economics.sending(exchange)
        exchange.outcome.usage = usage
        self.services.economics.told(exchange)

    def done(self, exchange: Exchange) -> None:
        """Run the done hooks."""
        self.pipeline.done(exchange)

    async def run_later(self, exchange: Exchange) -> None:
        """Run what stages left for after the reply."""
        work: Sequence[Callable[[], Awaitable[None]]] = tuple(exchange.pending)
        for job in work:
            await job()

    @staticmethod
    def sent(exchange: Exchange) -> Any:
        """The decoded body as it would leave."""
        return msgspec.json.decode(exchange.conversation.render())

    async def _ask(self, exchange: Exchange, model: str, prompt: Any, seconds: float) -> Answer:
        self.asked.append((model, prompt))
        if not self._answers:
            raise UpstreamError("no answer was prepared")
        answer = self._answers.pop(0)
        if isinstance(answer, ProxyError):
            raise answer
        return answer if isinstance(answer, Answer) else Answer(answer, None)
