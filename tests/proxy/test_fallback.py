"""Another target takes over: with a request made for it, in its dialect, on the classes that are set."""

from typing import Any

import pytest

from trimtab.api import Credentials, Exchange, Refused, Reply, Stage, StageOptions, TokenCount, hookimpl
from trimtab.fallback import candidates, move
from trimtab.models import Fallback, Model, ModelTable, Target, Upstream
from trimtab.testing import StageBench

pytestmark = pytest.mark.anyio

TABLE = ModelTable(
    {
        "first": Upstream(dialect="messages", base_url="http://a.test"),
        "second": Upstream(dialect="chat", base_url="http://b.test"),
        "blind": Upstream(dialect="chat", base_url="http://c.test", images=False),
    },
    {
        "m": Model(
            upstreams={"messages": "first"},
            fallbacks=(
                Fallback(upstream="second"),
                Fallback(upstream="blind", model="big"),
                Fallback(upstream="second", model="small"),
            ),
        ),
        "big": Model(window=100_000),
        "small": Model(window=100),
        "eyes": Model(images=True, fallbacks=(Fallback(upstream="second", model="big"), Fallback(upstream="second"))),
    },
)
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}


def names(found: list[Target]) -> list[tuple[str, str]]:
    return [(target.upstream.name, target.model.name) for target in found]


def exchange(bench: StageBench, content: Any = "hi", model: str = "m") -> Exchange:
    return bench.exchange({"model": model, "messages": [{"role": "user", "content": content}]})


def first(model: str = "m") -> Target:
    return Target(TABLE.upstreams["first"], TABLE.model(model))


async def test_the_order_is_that_of_the_table() -> None:
    async with StageBench(models=TABLE) as bench:
        assert names(candidates(exchange(bench), first(), TABLE)) == [
            ("second", "m"),
            ("blind", "big"),
            ("second", "small"),
        ]


async def test_what_a_target_cannot_hold_does_not_go_there() -> None:
    async with StageBench(models=TABLE) as bench:
        case = exchange(bench)
        case.put(TokenCount(total=101))
        assert names(candidates(case, first(), TABLE)) == [("second", "m"), ("blind", "big")]


async def test_images_go_only_where_they_are_seen() -> None:
    async with StageBench(models=TABLE) as bench:
        case = exchange(bench, [PICTURE])
        assert names(candidates(case, first(), TABLE)) == [("second", "m"), ("second", "small")]
        assert names(candidates(case, first("eyes"), TABLE)) == [("second", "eyes")]


class Admits(Stage[StageOptions]):
    """Counts its requests, as a limit does."""

    name = "admits"
    once = True
    count = 0

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        self.count += 1
        exchange.put(Credentials(key="sk-lent", client="somebody"))
        exchange.headers["x-admitted"] = "1"
        return None


class Fits(Stage[StageOptions]):
    """Edits by its target, as a stage that fits a request into a window does."""

    name = "fits"

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        name = exchange.target.upstream.name
        exchange.set_member("seed", len(name), "for its target")
        exchange.headers[f"x-for-{name}"] = "1"
        if exchange.target.model.name == "tight":
            raise Refused("does not fit")
        return None


async def test_the_chain_runs_anew_and_who_admits_does_not() -> None:
    admits, fits = Admits(StageOptions()), Fits(StageOptions())
    async with StageBench(admits, fits, models=TABLE) as bench:
        case = exchange(bench)
        await bench.request(case)
        assert (bench.sent(case)["seed"], case.target.upstream.name) == (5, "first")
        assert await move(bench.pipeline, case, Target(TABLE.upstreams["second"], TABLE.model("m")))
        assert (bench.sent(case)["seed"], case.target.upstream.name) == (6, "second")
        assert case.headers == {"x-admitted": "1", "x-for-second": "1"}
        assert (case.need(Credentials).client, admits.count) == ("somebody", 1)
        assert [(edit.stage, edit.member) for edit in case.edits] == [("fits", "seed")]


async def test_a_target_that_a_stage_refuses_changes_nothing() -> None:
    async with StageBench(Fits(StageOptions()), models=TABLE) as bench:
        case = exchange(bench)
        await bench.request(case)
        sent, headers = bench.sent(case), dict(case.headers)
        assert not await move(bench.pipeline, case, Target(TABLE.upstreams["second"], Model(name="tight")))
        assert (bench.sent(case), case.headers, case.target.upstream.name) == (sent, headers, "first")
        assert case.notes == ["second cannot take over: does not fit"]
