"""Puts a stage through the laws of design.md on made conversations: whose fault a broken one is stands in the report.

await conform(lambda: Clip(ClipOptions(limit=100)))

`trimtab.testing` passes the names on.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Literal, NamedTuple, get_args

from trimtab.bench import StageBench, StillClock
from trimtab.conformance_store import BrokenStore, EarlierStore, WatchedStore
from trimtab.corpus import Session, sessions
from trimtab.errors import ProxyError, Refused
from trimtab.exchange import Exchange, Operation
from trimtab.facts import Credentials, Fact, Risk, RiskLevel, TokenCount
from trimtab.interfaces import Store
from trimtab.measure import measure
from trimtab.models import ModelTable
from trimtab.registry import AnyStage
from trimtab.store import MemoryStore

Law = Literal["runs", "purity", "prefix", "idempotence", "count", "fail-open", "summary"]
LAWS: tuple[Law, ...] = get_args(Law)
"""What is looked at.

`runs`: no stage raises, `done` included, and no edit breaks an invariant. `purity`: another worker, at another time,
and a restarted one send the same bytes, in the order of the conversation and backwards, however long requests are apart
and wherever clocks are set. Backwards an old request may meet a forced record that a later one wrote, and obeys it
(design.md, promise 2): without those its bytes are the old ones.
`prefix`: what was sent to a target stays as it was, up to the last turn, whatever went to another one meanwhile; of its
requests one in ten may be an epoch with a record, and those that are forced.
`idempotence`: a second pass changes nothing. `count`: a request that counts has the same edits and writes no record.
`fail-open`: an optional stage with a broken store, or a body that it cannot read, neither fails a request nor refuses
it. `summary`: a client's own request to summarise is not edited.
"""

PAUSES = (7.0, 400.0, 60.0, 4_000.0, 90_000.0)
"""Seconds from one request to the next, by turns: within the life of a provider's cache, and beyond it."""
SUMMARY = "Your task is to create a detailed summary of the conversation so far"
ODD: tuple[tuple[str, bytes], ...] = (
    ("messages", b'{"model":"small","max_tokens":9,"messages":[{"role":"user","content":[{"type":"new","x":1}]}]}'),
    ("messages", b'{"model":"small","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text"}]}]}'),
    ("messages", b'{"model":"small","max_tokens":9,"messages":[{"role":"user","content":[]}]}'),
    ("chat", b'{"model":"small","messages":[{"role":"assistant","content":null},{"role":"user","content":7}]}'),
    ("chat", b'{"model":"small","messages":[{"role":"tool","tool_call_id":"none","content":"lost"}]}'),
    ("chat", b'{"model":"small","messages":[]}'),
)
"""Bodies with parts that nobody knows or can read."""


class Report(NamedTuple):
    """What was looked at."""

    requests: int
    edited: int
    """Requests of which the stage changed a message."""
    epochs: int
    """Requests before whose last turn something changed."""
    faults: tuple[str, ...]


Facts = Callable[[Exchange], Iterable[Fact]]


def usual_facts(exchange: Exchange) -> Iterable[Fact]:
    """What the built-in stages would say: credentials, a count of four bytes a token, the risk by it."""
    target = exchange.target
    counts = tuple(measure(message).size(target) // 4 for message in exchange.conversation.messages)
    used, window = sum(counts), target.model.window or 10_000
    share = 100 * used / window
    bounds = (70, 80, 90, 100, float("inf"))
    level = next(level for level, bound in zip(RiskLevel, bounds, strict=True) if share <= bound)
    yield Credentials(key="sk-made")
    yield TokenCount(total=used, messages=counts)
    yield Risk(level=level, used=used, reserve=0, limit=window)


async def conform(
    make: Callable[[], AnyStage],
    *,
    number: int = 20,
    seed: int = 0,
    corpus: Iterable[Session] | None = None,
    without: Collection[Law] = (),
    append_only: bool = False,
    facts: Facts = usual_facts,
    models: ModelTable | None = None,
    answers: Sequence[str] = (),
) -> Report:
    """Try a stage on `number` made conversations, or on those of `corpus`; AssertionError with all that was found.

    `make` gives a new instance each time. `without` leaves laws out; say why beside it. `append_only` asks for the
    strict prefix law: the last turn stays too. `facts` are put before the stage runs, as those it `needs`. `answers`
    are what models say to it, in turn, in each worker.
    """
    kit = _Kit(make, frozenset(LAWS) - frozenset(without), facts, models, answers, append_only=append_only)
    for index, session in enumerate(sessions(number, seed) if corpus is None else corpus):
        await kit.session(f"seed {seed}, conversation {index}", session)
    await kit.odd()
    report = Report(kit.requests, kit.edited, kit.epochs, tuple(kit.faults))
    if report.faults:
        raise AssertionError("\n".join(report.faults))
    return report


class _Kit:
    """One run."""

    def __init__(
        self,
        make: Callable[[], AnyStage],
        laws: frozenset[Law],
        facts: Facts,
        models: ModelTable | None,
        answers: Sequence[str],
        *,
        append_only: bool,
    ) -> None:
        self._make, self._laws, self._facts = make, laws, facts
        self._models, self._answers, self._append_only = models, answers, append_only
        self.requests = self.edited = self.epochs = 0
        self.faults: list[str] = []

    def _bench(self, store: Store, at: float = 0.0) -> StageBench:
        clock = StillClock(1_750_000_000.0 + at)
        return StageBench(self._make(), models=self._models, answers=self._answers, clock=clock, store=store)

    def _fault(self, law: Law, where: str, what: str) -> None:
        if law in self._laws and not any(text.startswith(f"{law}:") for text in self.faults):
            self.faults.append(f"{law}: {where}: {what}")

    async def _run(
        self, bench: StageBench, body: bytes, dialect: str, where: str, operation: Operation = "generate"
    ) -> Exchange | None:
        """The exchange of a body behind the stage; None where it answered or refused."""
        exchange = bench.exchange(body, dialect=dialect, operation=operation)
        for fact in self._facts(exchange):
            exchange.put(fact)
        try:
            reply = await bench.request(exchange)
        except Refused:
            return None
        except ProxyError as error:
            self._fault("runs", where, error.message)
            return None
        for note in exchange.notes:
            if "undone" in note:
                self._fault("runs", where, note)
        if reply is not None:
            return None
        bench.sends(exchange)
        return exchange

    async def session(self, where: str, session: Session) -> None:
        """All laws on one conversation, request by request."""
        store = WatchedStore()
        sent: list[tuple[int, bytes, bytes]] = []
        before: dict[tuple[str, str], Exchange] = {}
        went, broke = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        async with self._bench(store) as bench, self._bench(store, at=86_400.0) as other:
            for index, body in enumerate(session.bodies()):
                place = f"{where}, request {index}"
                store.request = index
                pause = PAUSES[index % len(PAUSES)]
                bench.clock.advance(pause)
                other.clock.jump(-pause)
                exchange = await self._run(bench, body, session.dialect, place)
                self.requests += 1
                if exchange is None:
                    continue
                out = exchange.conversation.render()
                sent.append((index, body, out))
                self.edited += exchange.conversation.edited
                target = exchange.target.upstream.name, exchange.target.model.name
                last = before.get(target)
                went[target] += 1
                broke[target] += last is not None and not _holds(last, exchange, append_only=self._append_only)
                before[target] = exchange
                bench.done(exchange)
                await bench.run_later(exchange)
                await self._again(other, body, out, session.dialect, place)
                if await self._alone(store, body, session.dialect, place) != out:
                    self._fault("purity", place, "a restarted worker sends other bytes")
                await self._second(out, session.dialect, place)
            counts = bench.services.counters.snapshot()
            written, forced = counts.get("epochs.written", 0), counts.get("epochs.forced", 0)
            if any(name.startswith("stage_failed.") for name in counts):
                self._fault("runs", where, "`done` failed")
            await self._summary(bench, session, where)
        breaks = broke.total()
        self.epochs += breaks
        # One in ten of those that went to a target.
        many = sum(max(0, broke[target] + -count // 10) for target, count in went.items())
        if many > forced or breaks > written + forced:
            text = f"{breaks} of {len(sent)} requests changed what was sent before their last turn"
            self._fault("prefix", where, text)
        store.request += 1
        await self._backwards(store, sent, session.dialect, where)

    async def _again(self, other: StageBench, body: bytes, out: bytes, dialect: str, where: str) -> None:
        """Another worker a day later, and a request that counts."""
        records = await _records(other)
        count = await self._run(other, body, dialect, where, "count")
        if count is not None and count.conversation.render() != out:
            self._fault("count", where, "a request that counts has other edits")
        if await _records(other) != records:
            self._fault("count", where, "a request that counts wrote a record")
        again = await self._run(other, body, dialect, where)
        if again is None or again.conversation.render() != out:
            self._fault("purity", where, "another worker sends other bytes")

    async def _second(self, out: bytes, dialect: str, where: str) -> None:
        async with self._bench(MemoryStore()) as bench:
            again = await self._run(bench, out, dialect, f"{where}, second pass")
        if again is not None and again.conversation.render() != out:
            self._fault("idempotence", where, "a second pass changes what the first one made")

    async def _alone(self, store: Store, body: bytes, dialect: str, where: str) -> bytes | None:
        """What a worker sends that has the store and no memory; None where it answered or refused."""
        async with self._bench(store, at=1.0) as bench:
            exchange = await self._run(bench, body, dialect, f"{where}, after a restart")
        return None if exchange is None else exchange.conversation.render()

    async def _backwards(
        self, store: WatchedStore, sent: Sequence[tuple[int, bytes, bytes]], dialect: str, where: str
    ) -> None:
        """All requests once more, the last one first, in a worker that has the store and no memory."""
        async with self._bench(store, at=1.0) as bench:
            for index, body, out in reversed(sent):
                place = f"{where}, request {index}"
                again = await self._run(bench, body, dialect, f"{place}, sent late")
                found = None if again is None else again.conversation.render()
                if found != out and (found is None or not await self._obeys(store, index, body, out, found, dialect)):
                    self._fault("purity", place, "a worker that met the later requests first sends other bytes")

    async def _obeys(
        self, store: WatchedStore, index: int, body: bytes, out: bytes, found: bytes, dialect: str
    ) -> bool:
        """Whether other bytes are what the forced records of later requests say, and nothing else."""
        earlier = EarlierStore(store, index)
        place = f"request {index}"
        return (
            await self._alone(earlier, body, dialect, place) == out
            and bool(earlier.hidden)
            and await self._alone(store, body, dialect, place) == found
        )

    async def _summary(self, bench: StageBench, session: Session, where: str) -> None:
        *_, body = session.bodies()
        text = body.rstrip()[:-2]
        asked = text + b',{"role":"user","content":"' + SUMMARY.encode() + b'"}]}'
        if session.dialect != "messages" or not body.endswith(b"]}"):
            return
        exchange = await self._run(bench, asked, session.dialect, where)
        if exchange is not None and exchange.compaction and exchange.conversation.edited:
            self._fault("summary", where, "a client's own request to summarise was edited")

    async def odd(self) -> None:
        """Broken stores and odd bodies cost an optional stage's work only."""
        async with self._bench(BrokenStore()) as broken, self._bench(MemoryStore()) as bench:
            if not broken.pipeline.chain.request or not broken.pipeline.chain.request[0].stage.optional:
                return
            for dialect, body in ODD:
                await self._open(bench, body, dialect, f"the body {body.decode()}")
            for session in sessions(4, seed=1):
                *_, body = session.bodies()
                await self._open(broken, body, session.dialect, "a store that fails")

    async def _open(self, bench: StageBench, body: bytes, dialect: str, where: str) -> None:
        try:
            exchange = bench.exchange(body, dialect=dialect)
            for fact in self._facts(exchange):
                exchange.put(fact)
        except ProxyError:
            # What nobody can read, nobody is asked about.
            return
        try:
            reply = await bench.request(exchange)
        except Exception as error:
            # Whatever the stage raises is the fault that is looked for.
            self._fault("fail-open", where, f"the request failed: {type(error).__name__}: {error}")
            return
        if reply is not None and reply.rendered is not None and reply.rendered.status >= 400:
            self._fault("fail-open", where, f"the request was answered with {reply.rendered.status}")


async def _records(bench: StageBench) -> int:
    store: Any = bench.services.store
    return len(store)


def _holds(before: Exchange, after: Exchange, *, append_only: bool) -> bool:
    """The prefix law for two requests of which the second extends the first."""
    received = before.received.messages
    end = len(received)
    if not append_only:
        end = max((index + 1 for index, message in enumerate(received) if message.role == "assistant"), default=0)
    # Counted from the end, since a stage may have removed messages.
    kept = len(before.conversation.messages) - (len(received) - end)
    one, other = before.conversation.messages[:kept], after.conversation.messages[:kept]
    return [measure(message).digest for message in one] == [measure(message).digest for message in other]
