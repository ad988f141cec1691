"""Runs the chain of one pipeline: in order, timed, each stage committed whole or undone whole."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import Any, get_args

from loguru import logger

from trimtab.blame import where
from trimtab.conversation import Conversation, Image
from trimtab.counted import settled
from trimtab.errors import ProxyError, Refused, StageFailed
from trimtab.events import Event, Finished
from trimtab.exchange import Edit, Exchange, Operation
from trimtab.facts import Fact, Overflowed, TokenCount
from trimtab.guard import Guard, Limit, breathe
from trimtab.hookspecs import Reply, Stage
from trimtab.invariants import broken
from trimtab.models import ModelTable, Target
from trimtab.registry import Bound, Chain
from trimtab.services import Services

LARGE = 1_000_000
"""Bytes of a body, or of a message, from which each step takes milliseconds: then others get their turn between two."""


QUIET = 60.0
"""Seconds for which a stage that is undone for the same reason is not warned of again; counter and notes go on."""
REASONS = 100
"""Reasons that are remembered."""


class Pipeline:
    """A named chain of stages with its compiled hooks."""

    def __init__(self, name: str, chain: Chain, services: Services, guard: Guard | None = None) -> None:
        self.name = name
        self.guard = guard or Guard(services.clock, services.counters)
        self.chain = chain
        self.services = services
        self._warned: dict[tuple[str, str], float] = {}
        """When it was said last why a stage was undone (monotonic)."""
        self._exact = {
            bound.stage.label for bound in chain.request if TokenCount in bound.stage.needs and not bound.stage.rough
        }
        """The stages that an estimate of the tokens does not do for."""
        self._requests = {
            operation: [bound for bound in chain.request if operation in bound.stage.operations]
            for operation in get_args(Operation)
        }
        self.wanted = frozenset(kind for bound in chain.event for kind in bound.stage.wants)

    async def request(self, exchange: Exchange, *, again: bool = False) -> Reply | None:
        """Run the request hooks. Raises what a stage refuses, StageFailed when one that is not optional fails.

        `again` is a further run for another target: stages that run once per request are left out.
        """
        if not again:
            exchange.last()
            exchange.skipped = self.guard.left_out()
        skipped, timings = exchange.skipped, exchange.timings
        with self.guard.timing() as limit:
            for stage, call in self._requests[exchange.operation]:
                label, once = stage.label, stage.once
                if (again and once) or label in skipped:
                    continue
                if exchange.large:
                    await breathe()
                begun, before = perf_counter(), exchange.snapshot() if once else None
                limit.begin(label)
                reply = await self._guarded(exchange, stage, call, limit)
                timings.append((label, perf_counter() - begun))
                if before is not None:
                    exchange.last(before)
                if reply is not None:
                    return reply
        return None

    async def again(self, exchange: Exchange, told: Overflowed) -> bool:
        """Have stages shorten what the upstream found too long; whether they did. What they refuse counts as no."""
        before = exchange.conversation
        exchange.put(told)
        with self.guard.timing() as limit:
            for stage, call in self.chain.request:
                if not stage.again or exchange.operation not in stage.operations or stage.label in exchange.skipped:
                    continue
                try:
                    limit.begin(stage.label)
                    await self._guarded(exchange, stage, call, limit)
                except ProxyError:
                    return False
        return exchange.conversation is not before

    async def step(self, exchange: Exchange, bound: Bound) -> Reply | None:
        """Run a single request hook; raises as `request` does, which runs them all."""
        if exchange.operation not in bound.stage.operations:
            return None
        with self.guard.timing() as limit:
            limit.begin(bound.stage.label)
            return await self._guarded(exchange, bound.stage, bound.call, limit)

    async def _guarded(
        self, exchange: Exchange, stage: Stage[Any], call: Callable[..., Any], limit: Limit
    ) -> Reply | None:
        saved = exchange.snapshot()
        exchange.stage = label = stage.label
        try:
            if label in self._exact:
                await settled(exchange)
            reply: Reply | None = await call(exchange)
            if reply is not None or exchange.conversation is not saved[0]:
                _check(exchange, stage, saved[0], exchange.edits[saved[3][0] :], reply)
        except ProxyError as error:
            # What an optional stage could not read, or was not answered, costs its work and no more; a no is a no.
            if not stage.optional or isinstance(error, Refused):
                raise
            self.guard.failed(stage, "request", error)
            self._undo(exchange, stage, saved, error.reason if isinstance(error, StageFailed) else error.message)
        except asyncio.CancelledError as error:
            # That of somebody else goes on; that of its own time, or of its own doing, is its own failure.
            fault = limit.fault(stage.label)
            if fault is None:
                raise
            self._failed(exchange, stage, saved, fault, error)
        except Exception as error:
            # A stage is anybody's code: what it did is undone, and it is left out or told.
            self._failed(exchange, stage, saved, error, error)
        else:
            if self.guard.rows:
                self.guard.worked(stage, "request")
            return reply
        return None

    def _failed(
        self,
        exchange: Exchange,
        stage: Stage[Any],
        saved: tuple[Any, ...],
        error: Exception,
        cause: BaseException,
    ) -> None:
        told = error.reason if isinstance(error, StageFailed) else where(error, stage)
        if not stage.optional:
            _report(stage, "failed on", exchange, error)
            if isinstance(error, StageFailed):
                raise error from cause
            raise StageFailed(stage.label, type(error).__name__) from cause
        self.guard.failed(stage, "request", error)
        self._undo(exchange, stage, saved, told)
        logger.opt(exception=error).debug("stage '{}' undone on {}", stage.label, exchange.id)

    def _undo(self, exchange: Exchange, stage: Stage[Any], saved: tuple[Any, ...], reason: str) -> None:
        exchange.restore(saved)
        exchange.notes.append(f"stage '{stage.label}' undone: {reason}")
        self.services.counters.add(f"stage_undone.{stage.label}")
        logger.log(self._level(stage.label, reason), "stage '{}' undone on {}: {}", stage.label, exchange.id, reason)

    def _level(self, label: str, reason: str) -> str:
        """A warning, or for the same once more within a minute a word for debugging: it may befall every request."""
        now, key = self.services.clock.monotonic(), (label, reason)
        if now - self._warned.get(key, -QUIET) < QUIET:
            return "DEBUG"
        if len(self._warned) >= REASONS:
            self._warned.clear()
        self._warned[key] = now
        return "WARNING"

    def target(self, exchange: Exchange) -> Target:
        """Ask the stages where the conversation goes, the model table last."""
        for stage, call in self.chain.target:
            if stage.label in exchange.skipped:
                continue
            target = self._chosen(exchange, stage, call)
            if target is not None:
                return target
        return resolve(self.services.models, exchange)

    def _chosen(self, exchange: Exchange, stage: Stage[Any], call: Callable[..., Any]) -> Target | None:
        try:
            target = _target(call(exchange))
        except ProxyError:
            raise
        except Exception as error:
            # A stage is anybody's code: an optional one costs no request.
            if stage.optional:
                exchange.notes.append(f"stage '{stage.label}' chose no target: {where(error, stage)}")
                logger.opt(exception=error).debug("stage '{}' chose no target on {}", stage.label, exchange.id)
                self.services.counters.add(f"stage_undone.{stage.label}")
                self.guard.failed(stage, "target", error)
                return None
            _report(stage, "failed on", exchange, error)
            raise StageFailed(stage.label, f"{type(error).__name__} in 'target'") from error
        self.guard.worked(stage, "target")
        return target

    def provider(self, kind: type[Fact]) -> str:
        """The label of the first stage that provides a fact, empty where none does."""
        return next((bound.stage.label for bound in self.chain.request if kind in bound.stage.provides), "")

    def listener(self, exchange: Exchange) -> "Listener":
        """What passes this exchange's events through the stages."""
        return Listener(self, exchange)

    def done(self, exchange: Exchange) -> None:
        """Run the done hooks; one that fails is reported and keeps no other from running."""
        for stage, call in self.chain.done:
            if stage.label in exchange.skipped:
                continue
            exchange.stage = stage.label
            try:
                call(exchange)
                if self.guard.rows:
                    self.guard.worked(stage, "done")
            except Exception as error:
                # The reply has gone: nobody could be told but the log.
                self.guard.failed(stage, "done", error)
                self.services.counters.add(f"stage_failed.{stage.label}")
                _report(stage, "failed after", exchange, error)


def _report(stage: Stage[Any], what: str, exchange: Exchange, error: Exception) -> None:
    """Say in the log where a stage failed; why, in its own words and frame by frame, at DEBUG only."""
    logger.error("stage '{}' {} {}: {}", stage.label, what, exchange.id, where(error, stage))
    logger.opt(exception=error).debug("stage '{}' {} {}", stage.label, what, exchange.id)


def _target(answer: Any) -> Target | None:
    if answer is None or isinstance(answer, Target):
        return answer
    raise TypeError(f"'target' returned a {type(answer).__name__}")


def _check(
    exchange: Exchange, stage: Stage[Any], before: Conversation, edits: Sequence[Edit], reply: Reply | None
) -> None:
    """Raise StageFailed when the stage's edits broke an invariant, TypeError when it returned something else."""
    if reply is not None and not isinstance(reply, Reply):
        raise TypeError(f"'request' returned a {type(reply).__name__}, not a Reply or None")
    if exchange.conversation is not before and (fault := broken(before, exchange.conversation, edits)):
        raise StageFailed(stage.label, fault)


class Listener:
    """Passes events through the stages that want them, the last stage of the chain first."""

    def __init__(self, pipeline: Pipeline, exchange: Exchange) -> None:
        self._pipeline = pipeline
        self._exchange = exchange
        skipped = exchange.skipped
        self._hooks: list[Bound] = [bound for bound in pipeline.chain.event if bound.stage.label not in skipped]

    def wants(self, kind: type[Event]) -> bool:
        """Whether any stage asked for this type of event."""
        return kind in self._pipeline.wanted

    def __call__(self, events: Sequence[Event]) -> Sequence[Event]:
        """The events as the stages pass them on; the very same sequence when none of them wants any."""
        for bound in tuple(self._hooks):
            if not bound.stage.wants.isdisjoint(map(type, events)):
                events = self._pass(bound, events)
        return events

    def _pass(self, bound: Bound, events: Sequence[Event]) -> Sequence[Event]:
        stage, call = bound
        passed: list[Event] = []
        try:
            for event in events:
                answer: Iterable[Event] = call(self._exchange, event) if type(event) in stage.wants else (event,)
                passed.extend(_events(answer))
        except Exception as error:
            # A stage is anybody's code: an optional one costs no reply.
            _report(stage, "failed on", self._exchange, error)
            if not stage.optional:
                raise StageFailed(stage.label, f"{type(error).__name__} on an event") from error
            self._hooks.remove(bound)
            self._pipeline.guard.failed(stage, "event", error)
            self._exchange.notes.append(f"stage '{stage.label}' left the stream: {where(error, stage)}")
            self._pipeline.services.counters.add(f"stage_undone.{stage.label}")
            return events
        if events and isinstance(events[-1], Finished):
            self._pipeline.guard.worked(stage, "event")
        return passed


def _events(answer: Iterable[Event]) -> list[Event]:
    events = list(answer)
    for event in events:
        if not isinstance(event, Event):
            raise TypeError(f"'event' gave a {type(event).__name__}, not an event")
    return events


def resolve(models: ModelTable, exchange: Exchange) -> Target:
    """The model table's own answer, for a chain in which no stage chooses."""
    conversation = exchange.conversation
    return models.resolve(conversation.model, images=conversation.has(Image), dialect=exchange.dialect)
