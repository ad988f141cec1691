"""How full the window is, and what the client reads of it."""

from typing import Any

import pytest

from trimtab.api import (
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
    hookimpl,
)
from trimtab.testing import StageBench, table
from trimtab_stages.risk_assess import RiskAssessOptions, RiskAssessor

pytestmark = pytest.mark.anyio

WINDOW = 10_000


class Says(Stage[StageOptions]):
    """Puts a count."""

    name = "says"
    provides = frozenset({TokenCount})

    def __init__(self, count: TokenCount) -> None:
        super().__init__(StageOptions())
        self.count = count

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        exchange.put(self.count)
        return None


async def assessed(
    total: int, models: ModelTable | None = None, ratio: float = 1.0, *, body: Any = None, **options: Any
) -> Exchange:
    count = TokenCount(total=total, ratio=ratio)
    async with StageBench(Says(count), RiskAssessor(RiskAssessOptions(**options)), models=models) as bench:
        asks = {"model": "small", "max_tokens": 1000, "messages": [{"role": "user", "content": "hi"}], **(body or {})}
        exchange = bench.exchange({name: value for name, value in asks.items() if value is not None})
        await bench.request(exchange)
    return exchange


def rows(**small: Any) -> ModelTable:
    """The bench's table, its model `small` with another row."""
    held = table()
    row = {name: getattr(held.model("small"), name) for name in Model.__struct_fields__} | small
    return ModelTable(held.upstreams, {**held.models, "small": Model(**row)})


@pytest.mark.parametrize(
    ("total", "level"),
    [
        (0, RiskLevel.SAFE),
        (5999, RiskLevel.SAFE),
        (6000, RiskLevel.CAUTION),
        (6999, RiskLevel.CAUTION),
        (7000, RiskLevel.WARNING),
        (7999, RiskLevel.WARNING),
        (8000, RiskLevel.CRITICAL),
        (9000, RiskLevel.CRITICAL),
        (9001, RiskLevel.OVERFLOW),
        (90_000, RiskLevel.OVERFLOW),
    ],
)
async def test_prompt_and_answer_over_the_window(total: int, level: RiskLevel) -> None:
    risk = (await assessed(total)).need(Risk)
    assert (risk.level, risk.used, risk.reserve, risk.limit) == (level, total, 1000, WINDOW)
    assert risk.utilization == (total + 1000) / WINDOW


def test_levels_can_be_compared_and_read() -> None:
    assert RiskLevel.SAFE < RiskLevel.CAUTION < RiskLevel.WARNING < RiskLevel.CRITICAL < RiskLevel.OVERFLOW
    assert (str(RiskLevel.CAUTION), f"{RiskLevel.OVERFLOW:>9}") == ("CAUTION", " OVERFLOW")


async def test_the_thresholds_are_options() -> None:
    risks = [
        (await assessed(total, caution=0.2, warning=0.3, critical=0.4)).need(Risk).level
        for total in (900, 1000, 2000, 3000, 9001)
    ]
    assert risks == list(RiskLevel)


@pytest.mark.parametrize(
    "wrong",
    [{"caution": 0}, {"caution": 0.8}, {"warning": 0.9}, {"critical": 0.8}, {"critical": 1.1}, {"caution": 0.95}],
)
def test_thresholds_must_rise(wrong: Any) -> None:
    with pytest.raises(ValueError, match="must rise"):
        RiskAssessOptions(**wrong)


def test_a_reserve_is_no_debt() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        RiskAssessOptions(reserve=-1)


@pytest.mark.parametrize(
    ("members", "row", "reserve"),
    [
        ({"max_tokens": 700}, {}, 700),
        ({"max_tokens": None, "max_completion_tokens": 600}, {}, 600),
        ({"max_tokens": None, "max_output_tokens": 500}, {}, 500),
        ({"max_tokens": 50_000}, {}, 1000),
        ({"max_tokens": 50_000}, {"max_output": None}, WINDOW),
        ({"max_tokens": None}, {}, 1000),
        ({"max_tokens": None}, {"max_output": None}, 2500),
        ({"max_tokens": None}, {"max_output": None, "window": 100_000}, 8192),
        ({"max_tokens": None}, {"max_output": 4096, "window": 100_000}, 4096),
        ({"max_tokens": "many"}, {}, 1000),
        ({"max_tokens": True}, {}, 1000),
        ({"max_tokens": -5}, {}, 1000),
    ],
)
async def test_the_reserve(members: Any, row: Any, reserve: int) -> None:
    assert (await assessed(100, rows(**row), body=members)).need(Risk).reserve == reserve


async def test_the_usual_reserve_is_an_option() -> None:
    models = rows(max_output=None, window=100_000)
    assert (await assessed(100, models, body={"max_tokens": None}, reserve=50)).need(Risk).reserve == 50


@pytest.mark.parametrize("window", [None, 0])
async def test_an_unknown_window_is_no_risk_and_no_header(window: int | None) -> None:
    exchange = await assessed(10**9, rows(window=window))
    assert exchange.need(Risk) == Risk(level=RiskLevel.SAFE, used=10**9, reserve=0)
    assert (exchange.need(Risk).utilization, exchange.headers) == (0.0, {})


async def test_the_window_is_that_of_the_target() -> None:
    seen = [{"type": "image_url", "image_url": {"url": "https://a.test/b.png"}}]
    exchange = await assessed(1000, body={"messages": [{"role": "user", "content": seen}]})
    assert (exchange.need(Risk).limit, exchange.need(Risk).reserve) == (5000, 500)


async def test_the_client_reads_numbers() -> None:
    assert (await assessed(2345)).headers == {
        "x-context-limit": "10000",
        "x-context-used": "2345",
        "x-context-reserve": "1000",
        "x-context-utilization": "33.5",
        "x-context-risk": "SAFE",
    }


@pytest.mark.parametrize(
    ("total", "words"),
    [
        (4999, None),
        (5000, "60 % of the context window is taken; there is room for some more turns"),
        (6400, "74 % of the context window is taken; finish this task, or compact soon"),
        (7400, "84 % of the context window is taken; compact now"),
        (9000, "100 % of the context window is taken; the next turn may not fit: compact now"),
        (
            11_000,
            "120 % of the context window is taken; prompt and answer do not fit: compact, or start a new conversation",
        ),
    ],
)
async def test_the_client_reads_words_from_sixty_percent_on(total: int, words: str | None) -> None:
    assert (await assessed(total)).headers.get("x-context-warning") == words


async def test_reports_are_calibrated_and_the_fact_is_not() -> None:
    exchange = await assessed(5000, ratio=1.2)
    risk = exchange.need(Risk)
    assert (risk.level, risk.used, risk.utilization, risk.likely) == (RiskLevel.SAFE, 5000, 0.6, 0.7)
    assert (exchange.headers["x-context-used"], exchange.headers["x-context-risk"]) == ("6000", "CAUTION")


async def test_without_a_count_it_does_nothing() -> None:
    async with StageBench(RiskAssessor(RiskAssessOptions())) as bench:
        exchange = bench.exchange({"model": "small", "messages": []})
        await bench.request(exchange)
        assert (exchange.get(Risk), exchange.headers) == (None, {})
        assert exchange.notes == ["stage 'risk-assess' undone: nobody put a TokenCount"]
        with pytest.raises(StageFailed):
            exchange.need(Risk)
