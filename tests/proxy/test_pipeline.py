"""The chain: order, commit or undo, the way back."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from loguru import logger

from trimtab.conversation import Text
from trimtab.dialects.base import Prompt
from trimtab.errors import BadRequest, Cause, ProxyError, Refused, StageFailed, UpstreamError
from trimtab.events import BlockStop, Event, Finished, StopReason, TextDelta, replace
from trimtab.exchange import Exchange, Operation
from trimtab.facts import TokenCount
from trimtab.hookspecs import Reply, Stage, StageOptions, hookimpl
from trimtab.models import Target
from trimtab.testing import StageBench

BODY = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
pytestmark = pytest.mark.anyio


@pytest.fixture
def records() -> Iterator[list[Any]]:
    """What is logged meanwhile."""
    kept: list[Any] = []
    sink = logger.add(lambda message: kept.append(message.record), level="DEBUG", diagnose=False)
    yield kept
    logger.remove(sink)


class Does(Stage[StageOptions]):
    """Does what it is told on a request."""

    name = "does"

    def __init__(self, label: str, work: Callable[[Exchange], Reply | None] = lambda _: None) -> None:
        super().__init__(StageOptions(), label)
        self.work = work

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        return self.work(exchange)


class May(Does):
    """The same, and the request can go on without it."""

    optional = True


def says(text: str) -> Callable[[Exchange], None]:
    """Put a text into the first message."""

    def work(exchange: Exchange) -> None:
        exchange.edit(0, exchange.conversation.messages[0].with_blocks([Text(text=text)]), text)

    return work


def fails(error: Exception) -> Callable[[Exchange], None]:
    """Change everything, then fail."""

    def work(exchange: Exchange) -> None:
        says("half done")(exchange)
        exchange.put(TokenCount(total=1))
        exchange.drop("metadata")
        exchange.headers["x-half"] = "done"
        exchange.notes.append("half done")
        exchange.later(lambda: exchange.ask("small", Prompt(content=())))  # type: ignore[arg-type, return-value]
        raise error

    return work


async def test_stages_run_in_the_order_written_and_are_timed() -> None:
    seen: list[str] = []
    stages = [Does(label, lambda exchange: seen.append(exchange.stage)) for label in ("b", "a", "c")]
    async with StageBench(*stages) as bench:
        exchange = bench.exchange(BODY)
        assert await bench.request(exchange) is None
    assert seen == ["b", "a", "c"]
    assert [label for label, seconds in exchange.timings if seconds >= 0] == seen


async def test_a_reply_ends_the_way() -> None:
    reply = Reply((TextDelta("no need to ask"),))
    async with StageBench(Does("a", lambda _: reply), Does("b", says("never"))) as bench:
        exchange = bench.exchange(BODY)
        assert await bench.request(exchange) is reply
    assert exchange.edits == []


@pytest.mark.parametrize(("operation", "runs"), [("generate", True), ("count", True), ("inspect", False)])
async def test_a_stage_runs_for_the_operations_it_names(operation: Operation, runs: bool) -> None:
    async with StageBench(Does("a", says("ran"))) as bench:
        exchange = bench.exchange(BODY, operation=operation)
        await bench.request(exchange)
    assert (bool(exchange.edits), bool(exchange.timings)) == (runs, runs)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the prompt"),
        StageFailed("does", "oh"),
        UpstreamError("oh"),
        BadRequest("oh"),
        RecursionError("the prompt"),
    ],
)
async def test_an_optional_stage_that_fails_is_undone_whole(error: Exception) -> None:
    async with StageBench(Does("a", says("kept")), May("b", fails(error)), Does("c")) as bench:
        exchange = bench.exchange(BODY)
        await bench.request(exchange)
    assert bench.sent(exchange)["messages"][0]["content"] == "kept"
    assert [edit.stage for edit in exchange.edits] == ["a"]
    assert (exchange.get(TokenCount), exchange.dropped, exchange.headers, exchange.pending) == (None, [], {}, [])
    (note,) = exchange.notes
    told = "oh" if isinstance(error, ProxyError) else f"{type(error).__name__} at {__name__}:"
    assert note.startswith(f"stage 'b' undone: {told}")
    assert "the prompt" not in note
    assert bench.services.counters.snapshot() == {"stage_undone.b": 1}
    assert [label for label, _ in exchange.timings] == ["a", "b", "c"]


async def test_what_befalls_every_request_is_warned_of_once_a_minute(records: list[Any]) -> None:
    errors: list[Exception] = [UpstreamError("oh"), UpstreamError("oh"), UpstreamError("else"), UpstreamError("oh")]

    def work(exchange: Exchange) -> None:
        raise errors[0]

    async with StageBench(May("b", work)) as bench:
        for at in range(4):
            if at == 3:
                bench.clock.advance(60)
            await bench.request(bench.exchange(BODY))
            del errors[0]
        undone = [record["level"].name for record in records if record["message"].startswith("stage 'b' undone")]
        assert [name for name in undone if name == "WARNING"] == ["WARNING"] * 3
        assert bench.services.counters.snapshot()["stage_undone.b"] == 4


@pytest.mark.parametrize("kind", [Does, May])
async def test_what_failed_is_told_without_its_text_but_at_debug(kind: type[Does], records: list[Any]) -> None:
    async with StageBench(kind("a", fails(ValueError("the prompt")))) as bench:
        with suppress(StageFailed):
            await bench.request(bench.exchange(BODY))
    loud, quiet = [[record for record in records if (record["level"].no > 10) is above] for above in (True, False)]
    assert [f"ValueError at {__name__}:" in record["message"] for record in loud] == [True]
    assert [record["exception"] for record in loud] == [None]
    assert not any("the prompt" in record["message"] for record in records)
    (traceback,) = quiet
    assert str(traceback["exception"].value) == "the prompt"


async def test_a_question_that_nobody_answers_costs_an_optional_stage_only_its_work() -> None:
    class Asks(May):
        @hookimpl
        async def request(self, exchange: Exchange) -> Reply | None:
            says("half done")(exchange)
            await exchange.ask("eyes", Prompt(content=()))
            return None

    async with StageBench(Asks("asks")) as bench:
        exchange = bench.exchange(BODY)
        await bench.request(exchange)
    assert (exchange.edits, exchange.notes) == ([], ["stage 'asks' undone: no answer was prepared"])


async def test_a_stage_that_is_needed_fails_the_request_and_is_named() -> None:
    async with StageBench(Does("a", fails(ValueError("sk-secret in here")))) as bench:
        with pytest.raises(StageFailed) as caught:
            await bench.request(bench.exchange(BODY))
    assert (caught.value.stage, caught.value.message) == ("a", "stage 'a' failed: ValueError")


@pytest.mark.parametrize("error", [StageFailed("a", "oh"), UpstreamError("oh", cause=Cause.QUOTA), BadRequest("oh")])
async def test_what_a_needed_stage_says_itself_passes(error: Exception) -> None:
    async with StageBench(Does("a", fails(error))) as bench:
        with pytest.raises(type(error)) as caught:
            await bench.request(bench.exchange(BODY))
    assert caught.value is error


async def test_a_no_is_a_no_from_an_optional_stage_too() -> None:
    no = Refused("not today")
    async with StageBench(May("a", fails(no)), Does("b")) as bench:
        exchange = bench.exchange(BODY)
        with pytest.raises(Refused) as caught:
            await bench.request(exchange)
    assert caught.value is no
    assert bench.services.counters.snapshot() == {}


def removes_all(exchange: Exchange) -> None:
    exchange.edit(0, None, "gone")


async def test_edits_that_break_the_conversation_are_undone_or_fail() -> None:
    async with StageBench(May("a", removes_all)) as bench:
        exchange = bench.exchange(BODY)
        await bench.request(exchange)
        assert exchange.notes == ["stage 'a' undone: no message is left"]
        assert exchange.conversation is exchange.received
    async with StageBench(Does("a", removes_all)) as bench:
        with pytest.raises(StageFailed, match="stage 'a' failed: no message is left"):
            await bench.request(bench.exchange(BODY))


async def test_going_round_the_ledger_is_noticed() -> None:
    def sneaks(exchange: Exchange) -> None:
        exchange.conversation = exchange.conversation.with_message(0, None)

    async with StageBench(May("a", sneaks)) as bench:
        exchange = bench.exchange(BODY)
        await bench.request(exchange)
    assert exchange.notes == ["stage 'a' undone: no message is left"]


async def test_a_reply_of_a_stage_that_broke_the_conversation_does_not_count() -> None:
    def replies(exchange: Exchange) -> Reply:
        removes_all(exchange)
        return Reply()

    async with StageBench(May("a", replies), Does("b")) as bench:
        exchange = bench.exchange(BODY)
        assert await bench.request(exchange) is None
    assert [label for label, _ in exchange.timings] == ["a", "b"]


class Points(Stage[StageOptions]):
    """Says where it goes: to a model, nowhere, or to pieces."""

    name = "points"

    def __init__(self, label: str, model: str | Exception | None) -> None:
        super().__init__(StageOptions(), label)
        self.model = model

    @hookimpl
    async def start(self, services: Any) -> None:
        self.models = services.models

    @hookimpl
    def target(self, exchange: Exchange) -> Target | None:
        if isinstance(self.model, Exception):
            raise self.model
        if self.model is None:
            return None
        return Target(self.models.upstreams["images"], self.models.model(self.model))


async def test_the_first_stage_that_knows_the_way_decides_and_the_table_comes_last() -> None:
    async with StageBench(Points("a", None), Points("b", "eyes"), Points("c", "small")) as bench:
        assert bench.exchange(BODY).target.model.name == "eyes"
    async with StageBench(Points("a", None)) as bench:
        target = bench.exchange(BODY).target
        assert (target.model.name, target.upstream.name) == ("small", "text")


async def test_a_router_that_fails_is_named_and_not_the_stage_that_asked() -> None:
    def asks(exchange: Exchange) -> None:
        assert exchange.target

    async with StageBench(Does("asks", asks), Points("router", KeyError("sk"))) as bench:
        with pytest.raises(StageFailed, match="stage 'router' failed: KeyError in 'target'"):
            await bench.request(bench.exchange(BODY))
    async with StageBench(Points("router", BadRequest("no such model"))) as bench:
        with pytest.raises(BadRequest, match="no such model"):
            _ = bench.exchange(BODY).target


class Marks(Stage[StageOptions]):
    """Puts its mark on every text that passes."""

    name = "marks"
    wants = frozenset({TextDelta})

    def __init__(self, label: str) -> None:
        super().__init__(StageOptions(), label)
        self.finished: list[str] = []

    @hookimpl
    def event(self, exchange: Exchange, event: Event) -> Iterable[Event]:
        assert isinstance(event, TextDelta)
        return (replace(event, text=event.text + self.label),)

    @hookimpl
    def done(self, exchange: Exchange) -> None:
        if self.label == "bad":
            raise ValueError
        self.finished.append(exchange.stage)


class MayMark(Marks):
    optional = True


def breaks(bound: Marks, at: str) -> Marks:
    """A stage that fails on one text."""

    class Breaks(type(bound)):  # type: ignore[misc]  # for a test
        @hookimpl
        def event(self, exchange: Exchange, event: TextDelta) -> Iterable[Event]:
            if event.text == at:
                raise ValueError("oh")
            return [replace(event, text=event.text + self.label), event]

    return Breaks(bound.label)


END = Finished(StopReason.END)


async def test_events_pass_the_last_stage_first() -> None:
    async with StageBench(Marks("a"), Marks("b")) as bench:
        exchange = bench.exchange(BODY)
        assert bench.events(exchange, TextDelta("x"), END, TextDelta("y")) == [TextDelta("xba"), END, TextDelta("yba")]


async def test_events_that_nobody_wants_are_not_even_copied() -> None:
    async with StageBench(Marks("a")) as bench:
        listener = bench.pipeline.listener(bench.exchange(BODY))
        events = [END, BlockStop()]
        assert listener(events) is events
        assert (listener.wants(TextDelta), listener.wants(Finished)) == (True, False)


async def test_an_optional_stage_that_fails_leaves_the_stream_for_good() -> None:
    async with StageBench(breaks(MayMark("a"), "yb"), Marks("b")) as bench:
        listener = bench.pipeline.listener(bench.exchange(BODY))
        assert listener([TextDelta("x")]) == [TextDelta("xba"), TextDelta("xb")]
        assert listener([TextDelta("z"), TextDelta("y")]) == [TextDelta("zb"), TextDelta("yb")]
        assert listener([TextDelta("x")]) == [TextDelta("xb")]


async def test_an_optional_stage_that_fails_in_the_stream_is_noted_once() -> None:
    async with StageBench(breaks(MayMark("a"), "x")) as bench:
        exchange = bench.exchange(BODY)
        listener = bench.pipeline.listener(exchange)
        for _ in range(2):
            assert listener([TextDelta("x")]) == [TextDelta("x")]
        (note,) = exchange.notes
        assert note.startswith(f"stage 'a' left the stream: ValueError at {__name__}:")
        assert bench.services.counters.snapshot() == {"stage_undone.a": 1}
        # The next exchange has its own listener.
        assert bench.events(bench.exchange(BODY), TextDelta("y")) == [TextDelta("ya"), TextDelta("y")]


async def test_a_needed_stage_that_fails_in_the_stream_is_named() -> None:
    async with StageBench(breaks(Marks("a"), "x")) as bench:
        with pytest.raises(StageFailed, match="stage 'a' failed: ValueError on an event"):
            bench.events(bench.exchange(BODY), TextDelta("x"))


async def test_done_reaches_every_stage_though_one_fails() -> None:
    first, last = Marks("first"), Marks("last")
    async with StageBench(first, Marks("bad"), last) as bench:
        bench.done(bench.exchange(BODY))
    assert (first.finished, last.finished) == (["first"], ["last"])
    assert bench.services.counters.snapshot() == {"stage_failed.bad": 1}
