"""Who answers a request to count tokens."""

import asyncio
from types import TracebackType
from typing import Self

import pytest
from msgspec.structs import replace

from fakeloop import run
from trimtab.config import Config, CoreOptions, ServeOptions, StoreOptions
from trimtab.counting import ABSENT_FOR, PATIENCE, REAL, REMEMBERED, count
from trimtab.errors import Cause, ProxyError, UpstreamError
from trimtab.exchange import Exchange
from trimtab.facts import Fact, Scale, TokenCount
from trimtab.models import ModelTable, Target
from trimtab.outgoing import keys
from trimtab.runtime import Runtime
from trimtab.store import MemoryStore
from trimtab.testing import StageBench, StillClock, table
from trimtab.upstream import Call


class Answer:
    """What an upstream answers, after some seconds."""

    def __init__(self, status: int = 200, body: bytes = b'{"input_tokens":321}', wait: float = 0) -> None:
        self.status = status
        self.body = body
        self.wait = wait
        self.closed = False

    async def read(self, limit: int) -> bytes:
        await asyncio.sleep(self.wait)
        return self.body

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed = True


class Script:
    """A forwarder that answers in turn."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.calls: list[Call] = []

    async def send(self, call: Call) -> Answer:
        self.calls.append(call)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Case:
    """A runtime in front of a script."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.clock = StillClock()
        self.script = Script(*answers)
        config = Config(
            serve=ServeOptions(),
            core=CoreOptions(),
            store=StoreOptions(),
            models=table(),
            pipelines={},
            stages={},
            sources={},
        )
        self.runtime = Runtime(config, store=MemoryStore(self.clock), clock=self.clock)
        self.runtime.forwarder = self.script  # type: ignore[assignment]  # a fake

    async def count(
        self, fact: TokenCount | None = None, dialect: str = "messages", upstream: str = "text", *more: Fact
    ) -> int:
        self.asked = exchange = self.exchange(dialect)
        for put in (fact, *more):
            if put is not None:
                exchange.put(put)
        models = self.runtime.config.models
        return await count(self.runtime, exchange, Target(models.upstreams[upstream], models.model("small")))

    def exchange(self, dialect: str) -> Exchange:
        body = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
        exchange = StageBench().exchange(body, dialect=dialect, operation="count")
        exchange.set_member("model", "renamed", "a test")
        return exchange


OURS = TokenCount(total=123, forward=True)
pytestmark = pytest.mark.anyio


async def test_the_upstream_counts_what_would_be_sent() -> None:
    answer = Answer()
    case = Case(answer)
    assert await case.count(OURS) == 321
    (call,) = case.script.calls
    assert call.url == "http://text.test/v1/messages/count_tokens"
    assert b'"renamed"' in call.body
    assert answer.closed


async def test_our_count_is_told_as_the_upstream_would_report_it() -> None:
    assert await Case().count(TokenCount(total=100, ratio=1.25)) == 125


@pytest.mark.parametrize(("fact", "true"), [(OURS, 321), (TokenCount(total=100, ratio=1.25), 125)])
async def test_the_client_is_told_in_its_own_units(fact: TokenCount, true: int) -> None:
    case = Case(Answer())
    assert await case.count(fact, "messages", "text", Scale(told=2, real=1)) == 2 * true
    assert case.asked.headers[REAL] == str(true)


async def test_a_count_may_stay_in_true_units() -> None:
    case = Case()
    assert await case.count(TokenCount(total=100), "messages", "text", Scale(told=2, real=1, count=False)) == 100
    assert case.asked.headers == {}


async def test_it_is_not_asked_where_the_stage_says_no() -> None:
    case = Case()
    assert await case.count(TokenCount(total=123)) == 123
    assert case.script.calls == []


@pytest.mark.parametrize(("dialect", "upstream"), [("messages", "images"), ("chat", "text"), ("chat", "images")])
async def test_it_is_not_asked_in_another_dialect(dialect: str, upstream: str) -> None:
    case = Case()
    assert await case.count(OURS, dialect, upstream) == 123


async def test_it_is_not_asked_while_the_breaker_of_the_upstream_is_open() -> None:
    case = Case(Answer())
    case.runtime.breakers.use(1, 10.0)
    case.runtime.breakers.of("text").ends(UpstreamError("down", unreached=True), probe=False)
    assert await case.count(OURS) == 123
    case.clock.advance(10)
    case.runtime.breakers.of("text").ends(None, probe=True)
    assert await case.count(OURS) == 321


async def test_it_takes_a_place_and_waits_for_none_where_we_count_ourselves() -> None:
    case = Case(Answer(), Answer())
    rows = {name: replace(row, max_parallel=1) for name, row in case.runtime.config.models.upstreams.items()}
    case.runtime.config = replace(case.runtime.config, models=ModelTable(rows, case.runtime.config.models.models))
    assert await case.count(OURS) == 321
    upstream = rows["text"]
    async with case.runtime.lanes.place(upstream, keys(case.asked, upstream), "somebody", b""):
        assert await case.count(OURS) == 123
        assert len(case.script.calls) == 1
        alone = asyncio.create_task(case.count())
        await asyncio.sleep(0)
        assert case.runtime.lanes.state("text") == {"under_way": 1, "waiting": 1, "resting_keys": 0}
    assert await alone == 321
    assert case.runtime.lanes.state("text")["under_way"] == 0


async def test_without_a_count_of_ours_the_upstream_is_the_only_one() -> None:
    assert await Case(Answer()).count() == 321
    for case, dialect in ((Case(Answer(404)), "messages"), (Case(), "chat")):
        with pytest.raises(ProxyError, match="token-count") as caught:
            await case.count(None, dialect)
        assert caught.value.cause == Cause.UNSUPPORTED


async def test_a_stage_that_counts_and_did_not_is_told_as_such() -> None:
    case = Case()
    exchange = case.exchange("chat")
    models = case.runtime.config.models
    target = Target(models.upstreams["text"], models.model("small"))
    exchange.notes.append("stage 'token-count' undone: content[0] is no object")
    with pytest.raises(ProxyError, match=r"not counted: stage 'token-count' undone: content\[0\] is no object"):
        await count(case.runtime, exchange, target, "token-count")
    exchange.skipped = frozenset({"token-count"})
    with pytest.raises(ProxyError, match="stage 'token-count' failed and is left out for a while; try again later"):
        await count(case.runtime, exchange, target, "token-count")


ABSENT = [
    Answer(404),
    Answer(405),
    Answer(500),
    Answer(200, b"<html>"),
    Answer(200, b'{"tokens":3}'),
    Answer(200, b'{"input_tokens":"3"}'),
    UpstreamError("no connection"),
]


@pytest.mark.parametrize("answer", ABSENT, ids=str)
async def test_an_upstream_that_does_not_count_is_left_alone_for_an_hour(answer: Answer | UpstreamError) -> None:
    case = Case(answer, Answer())
    case.clock.advance(7)
    assert [await case.count(OURS), await case.count(OURS)] == [123, 123]
    assert len(case.script.calls) == 1
    case.clock.advance(ABSENT_FOR - 1)
    assert await case.count(OURS) == 123
    case.clock.advance(1)
    assert await case.count(OURS) == 321


async def test_one_upstream_that_does_not_count_says_nothing_of_another() -> None:
    case = Case(Answer(404), Answer())
    models = case.runtime.config.models
    await case.count(OURS)
    assert case.runtime.no_count.keys() == {("http://text.test", "small")}
    models.upstreams["other"] = type(models.upstreams["text"])(
        name="other", dialect="messages", base_url="http://other.test"
    )
    assert await case.count(OURS, upstream="other") == 321


async def test_one_model_without_a_count_says_nothing_of_another() -> None:
    case = Case(Answer(404, b'{"error":{"message":"no model small"}}'), Answer())
    assert await case.count(OURS) == 123
    models = case.runtime.config.models
    models.models["small"] = replace(models.models["small"], name="other")
    assert await case.count(OURS) == 321


async def test_names_that_clients_make_up_fill_no_memory() -> None:
    case = Case(*[Answer(404)] * (REMEMBERED + 2), Answer())
    models, small = case.runtime.config.models, case.runtime.config.models.models["small"]
    for number in range(REMEMBERED + 2):
        models.models["small"] = replace(small, name=f"made-up-{number}")
        await case.count(OURS)
    assert len(case.runtime.no_count) == REMEMBERED
    assert ("http://text.test", "made-up-0") not in case.runtime.no_count


@pytest.mark.parametrize("status", [302, 400, 401, 429])
async def test_a_refusal_is_no_reason_not_to_ask_again(status: int) -> None:
    case = Case(Answer(status), Answer())
    assert [await case.count(OURS), await case.count(OURS)] == [123, 321]


def test_a_slow_upstream_is_not_waited_for() -> None:
    answer = Answer(wait=600)

    async def main() -> tuple[int, float]:
        return await Case(answer).count(OURS), asyncio.get_running_loop().time()

    assert run(main()) == (123, PATIENCE)
    assert answer.closed


def test_an_upstream_that_takes_its_time_is_not_too_slow() -> None:
    async def main() -> int:
        return await Case(Answer(wait=PATIENCE - 0.1)).count(OURS)

    assert run(main()) == 321


def test_a_client_that_leaves_is_not_taken_for_an_absent_upstream() -> None:
    async def main() -> dict[tuple[str, str], float]:
        case = Case(Answer(wait=600))
        task = asyncio.create_task(case.count(OURS))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return case.runtime.no_count

    assert run(main()) == {}
