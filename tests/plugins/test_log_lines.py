"""What the line of an exchange says, and how loud."""

from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger

from trimtab.api import (
    BadRequest,
    Exchange,
    Model,
    Prices,
    Refused,
    Risk,
    RiskLevel,
    StageFailed,
    StopReason,
    Target,
    Upstream,
    UpstreamError,
    Usage,
    replace,
)
from trimtab.testing import StageBench
from trimtab_stages.log import Log, LogOptions
from trimtab_stages.log_lines import _numbers, take

pytestmark = pytest.mark.anyio

PROMPT = "the secret plan is to paint it blue"
BODY = {"model": "small", "messages": [{"role": "user", "content": PROMPT}]}
USAGE = Usage(input=100, cache_read=900, output=20)
KEYS = ("sk-bearer-secret", "sk-header-secret", "sk-upstream-secret", "sk-server-secret", "sk-query-secret")


@pytest.fixture
def said() -> Iterator[list[Any]]:
    records: list[Any] = []
    sink = logger.add(lambda message: records.append(message.record), level="TRACE")
    yield records
    logger.remove(sink)


def ended(bench: StageBench, **outcome: Any) -> Exchange:
    """An exchange that went to the upstream and back."""
    exchange = bench.exchange(BODY, headers={"authorization": "Bearer sk-bearer-secret"})
    told: dict[str, Any] = {"status": 200, "usage": USAGE, "sent_bytes": 70, "received_bytes": 50}
    for name, value in {**told, "first_byte_s": 0.4, "total_s": 2.5, **outcome}.items():
        setattr(exchange.outcome, name, value)
    exchange.timings = [("auth", 0.0001), ("condense", 0.0002)]
    return exchange


async def lines(said: list[Any], exchange_of: Any = ended, outcome: Any = None, **options: Any) -> list[Any]:
    async with StageBench(Log(LogOptions(**options))) as bench:
        bench.done(exchange_of(bench, **(outcome or {})))
    return said


def values(record: Any) -> dict[str, Any]:
    found: dict[str, Any] = record["extra"]["exchange"]
    return found


async def test_one_line_tells_it_all(said: list[Any]) -> None:
    def edited(bench: StageBench) -> Exchange:
        exchange = ended(bench)
        exchange.stage = "route"
        exchange.set_member("user", None, "no such member there")
        exchange.set_member("top_k", 1, "a quirk")
        exchange.set_member("thinking", {"type": "enabled"}, "thinking on")
        exchange.drop("logit_bias")
        exchange.notes.append("mended 1 lone surrogate")
        return exchange

    [record] = await lines(said, edited)
    assert record["level"].name == "INFO"
    assert record["message"] == (
        "id=req_test client=anonymous operation=generate dialect=chat model=small target=text/small status=200 "
        "stream=false prompt=1000 cached=900 output=20 first_ms=400.0 total_ms=2500.0 up=70 down=50 edits=route:2 "
        'dropped=logit_bias notes="mended 1 lone surrogate"'
    )
    assert values(record)["prompt"] == 1000


@pytest.mark.parametrize(
    ("likely", "context"), [(0.6, "60.0%"), (0.601, "🟡60.1%"), (0.8, "🟡80.0%"), (0.801, "🔴80.1%"), (1.5, "🔴150.0%")]
)
async def test_a_line_says_how_full_the_context_is(said: list[Any], likely: float, context: str) -> None:
    def assessed(bench: StageBench) -> Exchange:
        exchange = ended(bench)
        exchange.put(Risk(level=RiskLevel.SAFE, used=5, reserve=1, limit=100, likely=likely))
        return exchange

    [record] = await lines(said, assessed)
    assert f" output=20 context={context} first_ms" in record["message"]


async def test_an_unknown_window_is_not_told(said: list[Any]) -> None:
    def assessed(bench: StageBench) -> Exchange:
        exchange = ended(bench)
        exchange.put(Risk(level=RiskLevel.SAFE, used=5, reserve=0))
        return exchange

    [record] = await lines(said, assessed)
    assert "context" not in record["message"]


async def test_less_and_more_detail(said: list[Any]) -> None:
    await lines(said, detail="minimal")
    await lines(said, detail="full", outcome={"reason": StopReason.END, "upstream_id": "msg_1"})
    minimal, full = (values(record) for record in said)
    assert [*minimal] == ["id", "client", "operation", "model", "target", "status", "total_ms"]
    assert (full["reason"], full["upstream_id"], full["pipeline"]) == ("end", "msg_1", "default")
    assert (full["stages"], full["stages_ms"]) == ("auth:0.10,condense:0.20", 0.3)


async def test_what_was_expected_of_the_cache_and_what_it_cost(said: list[Any]) -> None:
    [record] = await lines(said, outcome={"predicted": 950})
    assert (values(record)["expected"], values(record)["cached"]) == (950, 900)
    assert "usd" not in values(record)
    prices = Prices(input=2.0, cached=0.2, output=4.0)
    rows = {"upstream": Upstream(dialect="chat", base_url="http://a.test")}
    for billing, told in (("tokens", {"usd": "0.000460"}), ("prompts", {"quota": "1-prompt"})):
        upstream = replace(rows["upstream"], billing=billing)
        target = Target(upstream, Model(name="small", prices=prices))
        fields = numbers(target, USAGE)
        assert {name: value for name, value in fields.items() if name in ("usd", "quota")} == told
    assert numbers(target, replace(USAGE, estimated=True)).keys().isdisjoint({"usd", "quota"})


def numbers(target: Target, usage: Usage) -> dict[str, Any]:
    bench = StageBench()
    exchange = ended(bench, usage=usage)
    return _numbers(take(exchange, "anonymous", target))


async def test_an_estimate_is_flagged(said: list[Any]) -> None:
    [record] = await lines(said, outcome={"usage": Usage(input=5, output=1, estimated=True)})
    assert "estimated=true" in record["message"]


@pytest.mark.parametrize(
    ("options", "seconds", "level", "timed"),
    [
        ({}, 0.9, "INFO", False),
        ({}, 1.0, "WARNING", True),
        ({}, 5.0, "ERROR", True),
        ({"slow_ms": 0}, 4.0, "INFO", False),
        ({"slow_ms": 0, "error_ms": 0}, 9.0, "INFO", False),
        ({"timings": True}, 0.1, "INFO", True),
        ({"slow_ms": 10, "error_ms": 20}, 0.015, "WARNING", True),
    ],
)
async def test_slow_stages_stand_out(
    options: dict[str, Any], seconds: float, level: str, timed: bool, said: list[Any]
) -> None:
    def slow(bench: StageBench) -> Exchange:
        exchange = ended(bench)
        exchange.timings = [("condense", seconds)]
        return exchange

    [record] = await lines(said, slow, **options)
    assert record["level"].name == level
    assert ("stages" in values(record)) is timed


@pytest.mark.parametrize(
    ("error", "level", "word"),
    [
        (Refused("no"), "WARNING", "permission"),
        (BadRequest("what?"), "WARNING", "malformed"),
        (StageFailed("condense", "KeyError"), "ERROR", "internal:condense"),
        (UpstreamError("slow down", status=429), "WARNING", "upstream:429"),
        (UpstreamError("gone"), "WARNING", "upstream"),
    ],
)
async def test_failures_are_named(error: Exception, level: str, word: str, said: list[Any]) -> None:
    [record] = await lines(said, outcome={"error": error, "status": 400})
    assert (record["level"].name, values(record)["error"]) == (level, word)


async def test_a_client_that_left(said: list[Any]) -> None:
    [record] = await lines(said, outcome={"client_gone": True, "status": None})
    assert record["level"].name == "INFO"
    assert "gone=true" in record["message"]
    assert "status" not in values(record)


async def test_lines_below_the_level_are_not_written(said: list[Any]) -> None:
    await lines(said, level="warning")
    assert said == []
    await lines(said, level="warning", outcome={"error": Refused("no")})
    assert len(said) == 1


@pytest.mark.parametrize("options", [{"level": "LOUD"}, {"slow_ms": -1}, {"error_ms": -1}])
def test_options_that_cannot_work(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"level|slow-ms"):
        LogOptions(**options)


async def test_a_name_cannot_forge_a_line(said: list[Any]) -> None:
    def forged(bench: StageBench) -> Exchange:
        return bench.exchange({**BODY, "model": 'x\nERROR "all is lost" \x1b[31m' + "y" * 1000})

    [record] = await lines(said, forged)
    assert record["message"].isprintable()
    assert len(record["message"]) < 700


async def test_several_attempts_are_told_and_one_is_not(said: list[Any]) -> None:
    told = {"attempts": 3, "retried": ["connect", "overloaded"], "backoff_s": 1.5}
    [record] = await lines(said, outcome=told)
    assert {name: values(record)[name] for name in ("attempts", "retried", "backoff_ms")} == {
        "attempts": 3,
        "retried": "connect,overloaded",
        "backoff_ms": 1500.0,
    }
    said.clear()
    [record] = await lines(said)
    assert not {"attempts", "retried", "backoff_ms"} & set(values(record))
