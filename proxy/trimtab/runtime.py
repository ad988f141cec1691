"""What lives as long as the proxy: connections, tables, the store, and the set of stages in force, which can change."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from loguru import logger

from trimtab import config as configuration
from trimtab import trust
from trimtab.admission import GOING, MB, Door, Room
from trimtab.blame import where
from trimtab.breaker import Breakers
from trimtab.conversation import Conversation, Head
from trimtab.dialects import DIALECTS
from trimtab.economics import Economics
from trimtab.epochs import Epochs
from trimtab.errors import BadRequest, Cause, ConfigError, ProxyError
from trimtab.guard import Guard
from trimtab.interfaces import Clock, Counters, Store, SystemClock
from trimtab.lanes import Lanes
from trimtab.memo import FactTable, MessageTable
from trimtab.pipeline import Pipeline
from trimtab.policy import Budget
from trimtab.rates import rates
from trimtab.registry import AnyStage, compile_chain
from trimtab.services import Services
from trimtab.shape import Shapes
from trimtab.splice import scan
from trimtab.upstream import Forwarder
from trimtab.watch import Watch
from trimtab.workers import Worker

DOTENV = Path(".env")
"""Where keys and addresses stand, beside pipelines.toml."""
LOOK_EVERY = 1.0
"""Seconds between two looks at pipelines.toml."""
PATIENCE = 2.0
"""Seconds a request waits for a changed pipelines.toml; then it runs the old chain."""


class StageSet:
    """All pipelines made from one reading of pipelines.toml; stopped after its last exchange."""

    def __init__(self, config: configuration.Config, services: Services) -> None:
        self.config = config
        self.services = services
        self.guard = Guard(services.clock, services.counters, config.core)
        self.stages: dict[str, AnyStage] = {
            label: spec.cls(spec.options, label) for label, spec in config.stages.items()
        }
        self.pipelines = {
            name: Pipeline(
                name,
                compile_chain([self.stages[label] for label in labels], f"[pipeline.{name}]"),
                services,
                self.guard,
            )
            for name, labels in config.pipelines.items()
        }
        self.users = 0
        self.stopped = False
        self._started: list[AnyStage] = []
        self._retired = asyncio.Event()

    async def start(self) -> None:
        """Run the start hooks, once per stage. Raises ConfigError with every stage's problem."""
        problems: list[str] = []
        for bound in self._unique("start"):
            try:
                await bound[1](self.services)
                self._started.append(bound[0])
            except ConfigError as error:
                problems += [f"stage '{bound[0].label}': {problem}" for problem in error.problems]
            except Exception as error:
                # A stage is anybody's code: all that is wrong at the start is told at once.
                problems.append(f"stage '{bound[0].label}' cannot start: {type(error).__name__}: {error}")
        if problems:
            await self.stop()
            raise ConfigError(*problems)

    async def stop(self) -> None:
        """Run the stop hooks of what was started."""
        self.stopped = True
        for stage, call in self._unique("stop"):
            if stage not in self._started and any(bound.stage is stage for bound in self._bound("start")):
                continue
            try:
                await call()
            except Exception as error:
                # A stage is anybody's code: one that fails to stop keeps no other from it.
                logger.error("stage '{}' failed to stop: {}", stage.label, where(error, stage))
                logger.opt(exception=error).debug("stage '{}' failed to stop", stage.label)

    async def retire(self) -> None:
        """Wait for the last exchange, then stop."""
        while self.users:
            self._retired.clear()
            await self._retired.wait()
        await self.stop()

    def lease(self, name: str) -> "Lease":
        """A pipeline for one exchange. Raises BadRequest (404) for a name that does not exist."""
        pipeline = self.pipelines.get(name)
        if pipeline is None:
            known = ", ".join(sorted(self.pipelines))
            raise BadRequest(f"no pipeline '{name}' (known: {known})", cause=Cause.NOT_FOUND)
        return Lease(self, pipeline)

    def left(self) -> None:
        """An exchange is over."""
        self.users -= 1
        if not self.users:
            self._retired.set()

    def _bound(self, hook: str) -> list[Any]:
        return [bound for pipeline in self.pipelines.values() for bound in getattr(pipeline.chain, hook)]

    def _unique(self, hook: str) -> list[tuple[AnyStage, Callable[..., Awaitable[None]]]]:
        seen: dict[str, tuple[AnyStage, Callable[..., Awaitable[None]]]] = {}
        for bound in self._bound(hook):
            seen.setdefault(bound.stage.label, (bound.stage, bound.call))
        return list(seen.values())


class Lease:
    """A pipeline while one exchange runs through it; use it as a context manager."""

    __slots__ = ("_pipeline", "_stages")

    def __init__(self, stages: StageSet, pipeline: Pipeline) -> None:
        self._stages, self._pipeline = stages, pipeline

    def __enter__(self) -> Pipeline:
        self._stages.users += 1
        return self._pipeline

    def __exit__(self, *error: object) -> None:
        self._stages.left()


class Runtime:
    """The running proxy behind its surfaces."""

    def __init__(
        self,
        config: configuration.Config,
        *,
        store: Store,
        clock: Clock | None = None,
        load: Callable[[], configuration.Config] | None = None,
        worker: Worker = Worker(),  # noqa: B008  # frozen
    ) -> None:
        self.config = self._began_with = config
        self.clock: Clock = clock or SystemClock()
        self.store = store
        self.counters = Counters()
        self.epochs = Epochs(store, self.counters)
        self.worker = worker
        self.rates = rates(config.store.url, self.clock, worker.count)
        self.economics = Economics(self.clock, self.counters)
        self.messages = MessageTable(config.core.memo_mb * 1024 * 1024 * 3 // 4)
        self.counts: FactTable[Any] = FactTable(config.core.memo_entries)
        self.forwarder = Forwarder()
        self.policy = config.retry.policy()
        self.budget = Budget(config.retry.budget, worker.share(config.retry.reserve))
        self.breakers = Breakers(config.retry.breaker, config.retry.breaker_rest, self.clock, self.counters)
        self.lanes = Lanes(self.clock, self.counters, worker.share)
        self.chance: Callable[[], float] = random.random
        """A number in [0, 1), for the length of waits."""
        self.started = False
        self.draining = False
        """Whether the proxy is stopping: new requests are sent away."""
        self.watches: set[Watch] = set()
        """The exchanges under way."""
        self.no_count: dict[tuple[str, str], float] = {}
        """Until when (monotonic) an upstream, by its address, is taken not to count tokens of a model."""
        self._load = load
        self._looked = self.clock.monotonic()
        self._mtimes = _mtimes(config.path)
        self._jobs: set[asyncio.Task[Any]] = set()
        self._turn = asyncio.Semaphore(1)
        self._reloading = asyncio.Lock()
        self._behind: asyncio.Task[bool] | None = None
        """The reload that has not begun yet."""
        self._retiring: set[StageSet] = set()
        self.room = Room(0)
        self._limit(config)
        self.current = StageSet(config, self._services(config))

    def _limit(self, config: configuration.Config) -> None:
        """Take over the limits of a configuration; messages keep what was found of them under the same limits."""
        self.door = Door(config.serve)
        self.shapes = Shapes(config.serve)
        self.room.limit = self.worker.share(config.serve.max_inflight_mb * MB)

    def _services(self, config: configuration.Config) -> Services:
        return Services(
            models=config.models,
            clock=self.clock,
            counters=self.counters,
            counts=self.counts,
            store=self.store,
            epochs=self.epochs,
            rates=self.rates,
            workers=self.worker.count,
            economics=self.economics,
            directory=config.store.path,
            spawn=self.spawn,
            loopback=config.serve.loopback,
        )

    async def start(self) -> None:
        """Open the pool and start the stages, once. Raises ConfigError when a stage cannot start."""
        if self.started:
            return
        self.started = True
        await self.forwarder.open()
        try:
            await self.current.start()
        except ConfigError:
            self.started = False
            await self.forwarder.close()
            raise
        if any(upstream.base_url.startswith("https:") for upstream in self.config.models.upstreams.values()):
            # While the port opens, so that no request has to wait for it.
            self.spawn(asyncio.to_thread(trust.read))

    async def stop(self) -> None:
        """Cancel what runs in the background, stop the stages, close the pool."""
        for job in tuple(self._jobs):
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        for stages in (*self._retiring, self.current):
            await stages.stop()
        await self.rates.close()
        await self.forwarder.close()

    def admit(self) -> None:
        """Raise ProxyError (503) for a new request while the proxy is stopping."""
        if self.draining:
            told = "the proxy is stopping: try again in a moment"
            raise ProxyError(told, cause=Cause.BUSY, headers=GOING)

    def cut(self) -> None:
        """End every exchange under way, each with its dialect's error; the time it was given is over."""
        told = "the proxy is stopping, and the time that open requests are given (serve.grace) is over"
        for watch in tuple(self.watches):
            self.counters.add("cut")
            watch.end(ProxyError(told, cause=Cause.BUSY, headers=GOING))

    def lease(self, name: str) -> Lease:
        """A pipeline of the set in force, for one exchange."""
        return self.current.lease(name)

    async def look(self) -> None:
        """Reload when pipelines.toml or .env changed; looks at most once a second.

        The request that finds the change waits for it, up to PATIENCE seconds: the one after an edit is to see it.
        """
        now = self.clock.monotonic()
        if now - self._looked < LOOK_EVERY or self._load is None:
            return
        self._looked = now
        mtimes = _mtimes(self.config.path)
        if mtimes != self._mtimes:
            self._mtimes = mtimes
            await asyncio.wait((self.spawn(self.reload()),), timeout=PATIENCE)

    async def reload(self) -> bool:
        """Read pipelines.toml again: a valid file takes over for new requests, a broken one is reported."""
        if self._load is None:
            return False
        # Whoever asks while one waits is served by that one: 400 signals in a row were 377 reloads, for half a minute.
        if self._behind is None:
            self._behind = self.spawn(self._in_turn(self._load))
        return await asyncio.shield(self._behind)

    async def _in_turn(self, load: Callable[[], configuration.Config]) -> bool:
        # One after another, so that the last one to begin, which has read the newest file, is the last to take over.
        async with self._reloading:
            self._behind = None
            return await self._reload(load)

    async def _reload(self, load: Callable[[], configuration.Config]) -> bool:
        try:
            config = await asyncio.to_thread(load)
            fresh = StageSet(config, self._services(config))
            await fresh.start()
        except Exception as error:
            # Whatever is wrong with the new file or its stages, the old ones go on.
            problems = error.problems if isinstance(error, ConfigError) else (f"{type(error).__name__}: {error}",)
            logger.error("the new pipelines.toml is not used: {}", "; ".join(problems))
            self.counters.add("reload_failed")
            return False
        for sentence in (*configuration.changes(self.config, config), *_held(self._began_with, config)):
            logger.warning("reload: {}", sentence)
        old, self.current, self.config = self.current, fresh, config
        self._limit(config)
        self.policy = config.retry.policy()
        self.budget.use(config.retry.budget, self.worker.share(config.retry.reserve))
        self.breakers.use(config.retry.breaker, config.retry.breaker_rest)
        logger.info("reloaded {} and .env", config.path)
        self.counters.add("reloads")
        self._retiring.add(old)
        self.spawn(self._retire(old))
        return True

    async def _retire(self, old: StageSet) -> None:
        await old.retire()
        self._retiring.discard(old)

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        """Run a coroutine in the background; cancelled at shutdown."""
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)
        return task

    async def settled(self) -> None:
        """Wait until nothing runs in the background."""
        while self._jobs:
            await asyncio.gather(*self._jobs, return_exceptions=True)
            # Since 3.13 gathering what is done already yields to nobody, and the jobs would never be let go.
            await asyncio.sleep(0)

    def later(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run what a stage left for later: one at a time, behind everything that has a client waiting."""
        self.spawn(self._later(work))

    async def _later(self, work: Callable[[], Awaitable[None]]) -> None:
        async with self._turn:
            try:
                await work()
            except Exception as error:
                # What a stage left for later has no client who could be told.
                self.counters.add("later_failed")
                logger.error("background work failed: {}", where(error, work))
                logger.opt(exception=error).debug("background work failed")


def _held(started: configuration.Config, new: configuration.Config) -> list[str]:
    """What of a configuration takes effect only at the next start: not what is in force since this one."""
    kept = [f"serve.{name}" for name in ("host", "port", "cors", "origins", "grace", "max_header_kb", "head_timeout")]
    kept += [f"core.{name}" for name in ("memo_mb", "memo_entries")]
    kept += [f"store.{name}" for name in ("path", "compress", "log", "url")]
    changed = []
    for name in kept:
        section, _, option = name.partition(".")
        if getattr(getattr(started, section), option) != getattr(getattr(new, section), option):
            changed.append(f"{name.replace('_', '-')} takes effect at the next start")
    return changed


def nothing(dialect: str) -> Conversation:
    """An empty conversation, for requests that only look at the proxy."""
    found = DIALECTS.get(dialect, DIALECTS["chat"])
    return Conversation(found.name, Head(scan(b"{}", ())), ())


def _mtimes(path: Path | None) -> tuple[float | None, ...]:
    """When pipelines.toml and .env were written."""
    return _mtime(path), _mtime(DOTENV)


def _mtime(path: Path | None) -> float | None:
    try:
        return path.stat().st_mtime if path is not None else None
    except OSError:
        return None
