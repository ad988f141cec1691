"""Counts beside the request: the bound that allows it, and whoever waits for one."""

import asyncio
import gc
import json
import weakref
from typing import Any

import pytest

from fixtures import conversations, needs_recordings, turns
from trimtab.api import (
    Counting,
    Exchange,
    Model,
    ModelTable,
    Reply,
    Risk,
    RiskLevel,
    Stage,
    StageFailed,
    StageOptions,
    TokenCount,
    Usage,
    hookimpl,
    replace,
    settled,
    tokenizer,
)
from trimtab.testing import StageBench, table
from trimtab_stages import token_later
from trimtab_stages.condense import Condense
from trimtab_stages.risk_assess import ESTIMATED, RiskAssessor
from trimtab_stages.token_count import TokenCounter, TokenCountOptions
from trimtab_stages.token_later import FROM, Later, bound, estimate

pytestmark = pytest.mark.anyio
ROUGH = TokenCount(total=5, messages=(5,), most=20)
EXACT = TokenCount(total=7, messages=(7,))


def said(text: str, **members: Any) -> dict[str, Any]:
    return {"model": "wide", "messages": [{"role": "user", "content": text}], "max_tokens": 10, **members}


def spawn(work: Any) -> "asyncio.Task[Any]":
    return asyncio.ensure_future(work)


def exact_of(exchange: Exchange, number: int) -> None:
    exchange.put(replace(EXACT, total=number))


async def counting(body: Any, dialect: str) -> Exchange:
    """A request with its exact count."""
    async with StageBench(TokenCounter(TokenCountOptions())) as bench:
        exchange = bench.exchange(body, dialect=dialect)
        await bench.request(exchange)
    return exchange


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("messages", {"messages": [{"role": "user", "content": "好" * 50}]}),
        ("messages", {"messages": [{"role": "user", "content": "\U0001f600\ud800" * 50}]}),
        ("messages", {"messages": [], "tools": [{}, {"a": 1}, {"a": [1, 2, 3]}], "system": "x"}),
        ("messages", {"messages": [], "tools": [1, 1, 1, 1, 1]}),
        ("responses", {"input": "x", "instructions": "1"}),
        ("responses", {"input": [{"type": "function_call", "call_id": "1", "name": "f", "arguments": ""}] * 9}),
        ("chat", {"messages": [{"role": "user"}] * 50}),
    ],
)
async def test_the_bound_holds_for_what_is_hard(dialect: str, body: Any) -> None:
    exchange = await counting(json.dumps({"model": "small", **body}).encode(), dialect)
    most = bound(exchange.conversation)
    assert most is not None
    assert most >= exchange.need(TokenCount).total


@needs_recordings
async def test_the_bound_of_recorded_sessions() -> None:
    for file in conversations():
        *_, (path, body) = turns(file, "small")
        exchange = await counting(body, "messages" if path.endswith("messages") else "chat")
        most, total = bound(exchange.conversation), exchange.need(TokenCount).total
        assert most is None or total <= most < 12 * total


async def test_pictures_and_pages_have_no_bound() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    for block in ({"type": "image", "source": source}, {"type": "document", "source": source}):
        for content in ([block], [{"type": "tool_result", "tool_use_id": "a", "content": [block]}]):
            bench = StageBench(RiskAssessor(RiskAssessor.Options()))
            body = said("x") | {"messages": [{"role": "user", "content": content}]}
            assert bound(bench.exchange(body, dialect="messages").conversation) is None


async def test_an_estimate_is_a_quarter_of_the_bytes() -> None:
    bench = StageBench(RiskAssessor(RiskAssessor.Options()))
    conversation = bench.exchange(said("x" * 400, system="y" * 40), dialect="messages").conversation
    rough = estimate(conversation, 900, "o200k_base", 1.1)
    size = len(conversation.messages[0].raw)
    assert rough.messages == (-(-size // 4),)
    assert (rough.overhead, rough.total) == (42 // 4, 42 // 4 + -(-size // 4))
    assert (rough.most, rough.encoding, rough.ratio) == (900, "o200k_base", 1.1)


class Case:
    """A count that is made when the gate opens."""

    def __init__(self, failing: bool = False) -> None:
        self.exchange = StageBench(RiskAssessor(RiskAssessor.Options())).exchange(said("hi"))
        self.gate, self.failing, self.begun = asyncio.Event(), failing, 0
        self.later = Later(self.exchange, ROUGH, self.count, exact_of)
        self.exchange.put(ROUGH)
        self.seen: list[int] = []

    async def count(self) -> int:
        self.begun += 1
        await self.gate.wait()
        if self.failing:
            raise ValueError
        return 7

    def begin(self, *, cold: bool = False) -> Counting:
        fact = self.later.begin(spawn, cold=cold)
        fact.then(lambda exchange: self.seen.append(exchange.need(TokenCount).total))
        self.exchange.put(fact)
        return fact

    @property
    def total(self) -> int:
        return self.exchange.need(TokenCount).total


async def ticks() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_count_takes_the_place_of_the_estimate_by_itself() -> None:
    case = Case()
    assert case.begin().patient
    await ticks()
    assert (case.total, case.begun, case.seen) == (5, 1, [])
    case.gate.set()
    await ticks()
    assert (case.total, case.seen) == (7, [7])
    await settled(case.exchange)
    assert case.seen == [7]


async def test_who_needs_it_waits_for_it() -> None:
    case = Case()
    case.begin()
    waiting = asyncio.create_task(settled(case.exchange))
    await ticks()
    assert not waiting.done()
    case.gate.set()
    await waiting
    assert (case.total, case.seen) == (7, [7])


async def test_who_stops_waiting_stops_no_count() -> None:
    case = Case()
    case.begin()
    waiting = asyncio.create_task(settled(case.exchange))
    await ticks()
    waiting.cancel()
    case.gate.set()
    await ticks()
    assert case.total == 7


async def test_a_cold_table_lets_the_request_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_later, "HEAD_START", 1000.0)
    case = Case()
    assert not case.begin(cold=True).patient
    await ticks()
    assert case.begun == 0
    case.gate.set()
    await settled(case.exchange)
    assert (case.begun, case.total) == (1, 7)
    monkeypatch.setattr(token_later, "HEAD_START", 0.001)
    case = Case()
    case.gate.set()
    case.begin(cold=True)
    await case.later._task
    assert case.total == 7


async def test_it_comes_back_for_a_stage_that_was_undone_and_never_over_another() -> None:
    case = Case()
    case.begin()
    saved = case.exchange.snapshot()
    case.gate.set()
    await ticks()
    case.exchange.restore(saved)
    assert case.total == 5
    await settled(case.exchange)
    assert case.total == 7
    case.exchange.put(replace(EXACT, total=3))
    await settled(case.exchange)
    assert case.total == 3


async def test_a_count_that_fails_leaves_the_estimate(logged: list[str]) -> None:
    case = Case(failing=True)
    case.begin()
    case.gate.set()
    await ticks()
    assert (case.total, case.seen) == (5, [])
    assert logged == ["the tokens of a request were not counted: ValueError"]
    with pytest.raises(StageFailed, match="ValueError while counting"):
        await settled(case.exchange)


async def test_a_request_that_is_over_is_let_go() -> None:
    case = Case()
    case.begin()
    gone = weakref.ref(case.exchange)
    gc.collect()
    gc.disable()
    try:
        del case.exchange
        assert gone() is None
    finally:
        gc.enable()
    case.gate.set()
    await ticks()
    assert case.seen == []


class Chain:
    """The stages that deal with tokens, and a stage behind them that needs the exact count."""

    def __init__(self, window: int = 1_000_000, *others: Stage[Any], cold: bool = False, bare: bool = False) -> None:
        held = table()
        model = Model(window=window, max_output=100_000, upstreams=held.model("small").upstreams)
        self.counter, self.cold = TokenCounter(TokenCountOptions()), cold
        risk = RiskAssessor(RiskAssessor.Options())
        self.bench = StageBench(
            self.counter, risk, *others, models=ModelTable(held.upstreams, {**held.models, "wide": model})
        )
        if not bare:
            self.bench.services = replace(self.bench.services, spawn=spawn)

    async def run(self, body: Any, operation: Any = "generate") -> Exchange:
        tokenizer("cl100k_base").load()
        async with self.bench:
            self.counter._worker.cold = self.cold
            exchange = self.bench.exchange(body, operation=operation)
            await self.bench.request(exchange)
            self.first = exchange.need(TokenCount), dict(exchange.headers)
            await settled(exchange)
        return exchange


LONG = "one two three four " * (FROM // 15)


@pytest.mark.parametrize(("text", "cold", "rough"), [("hi", False, False), ("hi", True, True), (LONG, False, True)])
async def test_a_request_goes_on_where_counting_takes_time(text: str, cold: bool, rough: bool) -> None:
    chain = Chain(cold=cold)
    exchange = await chain.run(said(text))
    count, told = chain.first
    assert (count.most is not None, ESTIMATED in told) == (rough, rough)
    assert exchange.need(Risk).level is RiskLevel.SAFE
    exact = (await counting(said(text), "chat")).need(TokenCount)
    assert replace(exchange.need(TokenCount), forward=False) == replace(exact, forward=False)
    assert exchange.headers["x-context-used"] == str(exact.total)
    assert exchange.need(Risk).used == exact.total
    assert ESTIMATED not in exchange.headers


@pytest.mark.parametrize(
    ("window", "members", "operation"),
    [
        (2 * len(LONG) - 1000, {}, "generate"),
        (3 * len(LONG), {"max_tokens": 2 * len(LONG)}, "generate"),
        (1_000_000, {}, "count"),
    ],
    ids=["near the window", "no room for the answer", "a count"],
)
async def test_it_waits_where_the_count_may_matter(window: int, members: Any, operation: Any) -> None:
    chain = Chain(window)
    await chain.run(said(LONG, **members), operation)
    assert chain.first[0].most is None
    assert ESTIMATED not in chain.first[1]


async def test_without_a_process_around_it_everything_is_counted_at_once() -> None:
    chain = Chain(bare=True)
    exchange = await chain.run(said(LONG))
    assert chain.first[0].most is None
    assert exchange.get(Counting) is None


class Needs(Stage[StageOptions]):
    """Wants to know the tokens."""

    name = "needs"
    needs = frozenset({TokenCount})

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        exchange.notes.append(str(exchange.need(TokenCount).most))
        return None


class Rough(Needs):
    """Does with an estimate."""

    name = "rough"
    rough = True


async def test_a_stage_finds_the_exact_count_unless_it_is_rough() -> None:
    exchange = await Chain(1_000_000, Rough(StageOptions()), Needs(StageOptions())).run(said(LONG))
    most, exact = exchange.notes
    assert int(most) > len(LONG)
    assert exact == "None"


async def test_a_reply_that_comes_first_is_compared_later() -> None:
    chain = Chain()
    async with chain.bench:
        exchange = chain.bench.exchange(said(LONG))
        await chain.bench.request(exchange)
        exchange.outcome.usage = Usage(input=20_000, output=1)
        chain.counter.done(exchange)
        assert exchange.need(TokenCount).most is not None
        for work in exchange.pending:
            await work()
    assert exchange.need(TokenCount).most is None
    assert [name for name in chain.bench.services.counters.snapshot() if name.startswith("token_count.")]


async def test_condense_waits_where_it_has_something_to_do() -> None:
    text = "\n".join(f"line {number} of the file" for number in range(40))
    calls = [
        message
        for number in range(2)
        for message in (
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": f"c{number}", "type": "function", "function": {"name": "read", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": f"c{number}", "content": text},
        )
    ]
    body = said(LONG) | {"messages": [{"role": "user", "content": LONG}, *calls]}
    for messages, exact in ((body["messages"][:1], False), (body["messages"], True)):
        chain = Chain(1_000_000, Condense(Condense.Options(repeats=True)))
        exchange = await chain.run(body | {"messages": messages})
        assert bool(exchange.edits) is exact
        assert (chain.first[0].most is None) is exact
