"""Usage in the units the client expects."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.api import (
    Exchange,
    Finished,
    Image,
    Scale,
    Stage,
    StageOptions,
    Started,
    StopReason,
    Target,
    TextDelta,
    Usage,
    hookimpl,
)
from trimtab.testing import StageBench
from trimtab_stages.scale import PARTS, REAL, Expected, ScaleOptions, Scaler, scaled

pytestmark = pytest.mark.anyio

IMAGE = {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}}


def scaler(*, count: bool = True, **expected: int) -> Scaler:
    return Scaler(ScaleOptions(expected=Expected(**expected), count=count))


def body(model: str = "small", content: Any = "hi") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": content}]}


async def asked(stage: Scaler, dialect: str = "chat", model: str = "small", content: Any = "hi") -> Exchange:
    async with StageBench(stage) as bench:
        exchange = bench.exchange(body(model, content), dialect=dialect)
        await bench.request(exchange)
        return exchange


def test_the_settings_name_these_defaults() -> None:
    assert ScaleOptions() == ScaleOptions(expected=Expected(messages=None, chat=None), count=True)


@pytest.mark.parametrize("wrong", [{"messages": 0}, {"chat": -1}])
def test_a_window_has_a_size(wrong: Any) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Expected(**wrong)


async def test_without_a_window_the_truth_passes_untouched() -> None:
    stage = Scaler(ScaleOptions())
    assert stage.wants == frozenset()
    async with StageBench(stage) as bench:
        exchange = bench.exchange(body())
        await bench.request(exchange)
        assert exchange.get(Scale) is None
        events = [Started(usage=Usage(input=5)), Finished(StopReason.END, Usage(input=5))]
        listener = bench.pipeline.listener(exchange)
        assert listener(events) is events
        assert not listener.wants(Finished)


@pytest.mark.parametrize(
    ("dialect", "expected", "told"),
    [
        ("messages", {"messages": 20_000}, 20_000),
        ("chat", {"messages": 20_000}, None),
        ("chat", {"chat": 8_000}, 8_000),
        ("messages", {"chat": 8_000}, None),
        ("chat", {"chat": 8_000, "messages": 20_000}, 8_000),
        ("chat", {"chat": 10_000}, None),
    ],
)
async def test_each_dialect_has_its_window(dialect: str, expected: Any, told: int | None) -> None:
    found = (await asked(scaler(**expected), dialect)).get(Scale)
    assert found == (None if told is None else Scale(told=told, real=10_000))


@pytest.mark.parametrize("model", ["small", "auto"])
async def test_a_turn_with_images_has_the_ratio_of_text(model: str) -> None:
    stage = scaler(chat=20_000)
    assert (await asked(stage, model=model, content=[IMAGE])).get(Scale) == Scale(told=20_000, real=10_000)
    assert (await asked(stage, model=model)).get(Scale) == Scale(told=20_000, real=10_000)


async def test_a_model_that_sees_itself_has_its_own() -> None:
    assert (await asked(scaler(chat=20_000), model="eyes")).get(Scale) == Scale(told=20_000, real=5_000)


async def test_an_unknown_window_is_not_scaled() -> None:
    exchange = await asked(scaler(chat=20_000), model="who-knows")
    assert exchange.get(Scale) is None


class Router(Stage[StageOptions]):
    """Sends text and images its own ways."""

    name = "router"

    @hookimpl
    def target(self, exchange: Exchange) -> Target | None:
        models = self.services.models
        images = exchange.conversation.has(Image)
        return Target(models.upstreams["images"], models.model("small" if images else "eyes"))

    @hookimpl
    async def start(self, services: Any) -> None:
        self.services = services


async def test_the_ratio_is_that_of_whoever_routes() -> None:
    async with StageBench(scaler(chat=20_000), Router(StageOptions())) as bench:
        exchange = bench.exchange(body(content=[IMAGE]))
        await bench.request(exchange)
        assert exchange.need(Scale).real == 5_000
        assert exchange.target.model.name == "small"


USAGE = Usage(input=100, cache_read=900, cache_write=30, output=10, reasoning=4)


async def events(stage: Scaler, *told: Any) -> tuple[list[Any], Exchange]:
    async with StageBench(stage) as bench:
        exchange = bench.exchange(body())
        await bench.request(exchange)
        exchange.outcome.usage = USAGE
        return bench.events(exchange, *told), exchange


async def test_all_usage_of_a_reply_is_scaled_by_the_same() -> None:
    told = (Started("i", "m", USAGE), TextDelta("a"), Finished(StopReason.END, USAGE, None, "stop"))
    found, exchange = await events(scaler(chat=20_000), *told)
    double = Usage(input=200, cache_read=1800, cache_write=60, output=20, reasoning=8)
    assert found == [Started("i", "m", double), TextDelta("a"), Finished(StopReason.END, double, None, "stop")]
    assert exchange.outcome.usage == USAGE
    assert exchange.headers[REAL] == "1030"


async def test_a_reply_without_usage_stays_without() -> None:
    told = (Started("i", "m"), Finished(StopReason.END))
    found, exchange = await events(scaler(chat=20_000), *told)
    assert (found, exchange.headers) == (list(told), {})


async def test_a_start_that_knows_no_prompt_tells_none() -> None:
    found, exchange = await events(scaler(chat=20_000), Started("i", "m", Usage(output=1)))
    assert (found, exchange.headers) == ([Started("i", "m", Usage(output=2))], {})


async def test_an_estimate_stays_one() -> None:
    found, _ = await events(scaler(chat=20_000), Finished(StopReason.END, Usage(input=5, estimated=True)))
    assert found[0].usage == Usage(input=10, estimated=True)


@pytest.mark.parametrize("count", [True, False])
async def test_the_fact_says_whether_counts_are_scaled(count: bool) -> None:
    assert (await asked(scaler(count=count, chat=20_000))).need(Scale).count is count


@pytest.mark.parametrize(
    ("told", "real", "tokens", "scaled_tokens"),
    [
        (200_000, 131_072, 65_536, 100_000),
        (200_000, 131_072, 1, 2),
        (200_000, 131_072, 0, 0),
        (1, 1000, 3, 1),
        (1000, 1, 3, 3000),
        (3, 2, 1, 2),
        (1, 2, 3, 2),
    ],
)
def test_tokens_are_rounded_and_never_lost(told: int, real: int, tokens: int, scaled_tokens: int) -> None:
    assert Scale(told=told, real=real)(tokens) == scaled_tokens


SIZES = st.integers(0, 300_000)
SCALES = st.builds(Scale, told=st.integers(1, 10**6), real=st.integers(1, 10**6))
USAGES = st.builds(Usage, input=SIZES, cache_read=SIZES, cache_write=SIZES, output=SIZES, reasoning=st.none() | SIZES)


@given(USAGES, SCALES)
def test_the_parts_of_a_prompt_make_up_its_total(usage: Usage, scale: Scale) -> None:
    found = scaled(usage, scale)
    parts = [(getattr(usage, name), getattr(found, name)) for name in PARTS]
    assert found.prompt == max(scale(usage.prompt), sum(real > 0 for real, _ in parts))
    assert [told > 0 for _, told in parts] == [real > 0 for real, _ in parts]
    assert all(abs(told - scale(real)) <= 3 for real, told in parts)
    assert found.output == scale(usage.output)
    assert found.reasoning is None or 0 <= found.reasoning <= found.output or usage.reasoning is None


@given(SIZES, st.integers(0, 300_000), SCALES)
def test_what_the_cache_took_does_not_change_the_total(prompt: int, cached: int, scale: Scale) -> None:
    cached = min(cached, prompt)
    cold, warm = Usage(input=prompt), Usage(input=prompt - cached, cache_read=cached)
    assert abs(scaled(cold, scale).prompt - scaled(warm, scale).prompt) <= 1
    if scale(prompt) >= 2:
        assert scaled(cold, scale).prompt == scaled(warm, scale).prompt == scale(prompt)


@given(SIZES, SIZES, SCALES)
def test_more_is_never_told_as_less(one: int, other: int, scale: Scale) -> None:
    assert (scale(one) <= scale(other)) == (scale(min(one, other)) == scale(one)) or one > other
