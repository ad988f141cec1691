"""What upstreams report over what we counted: learned, kept, bounded, and never part of an edit."""

from typing import Any

import msgspec
import pytest

from trimtab.api import Exchange, Reply, Stage, StageOptions, TokenCount, Usage, hookimpl
from trimtab.testing import StageBench
from trimtab_stages.calibration import (
    HIGHEST,
    KEPT,
    KIND,
    LEAST,
    LOWEST,
    STEADY,
    Calibration,
    Learned,
    Tolerance,
    judge,
)
from trimtab_stages.risk_assess import RiskAssessOptions, RiskAssessor
from trimtab_stages.token_count import TokenCounter, TokenCountOptions

pytestmark = pytest.mark.anyio


class Notes:
    """A store in memory that notes what is asked of it."""

    def __init__(self) -> None:
        self.store = StageBench().services.store
        self.written: list[bytes] = []
        self.read = 0

    async def get(self, kind: str, tenant: str, key: bytes) -> bytes | None:
        self.read += 1
        return await self.store.get(kind, tenant, key)

    async def put(self, kind: str, tenant: str, key: bytes, value: bytes, *, ttl: float | None = None) -> None:
        self.written.append(value)
        await self.store.put(kind, tenant, key, value, ttl=ttl)

    async def add(self, kind: str, tenant: str, key: bytes, value: bytes, *, ttl: float | None = None) -> bytes:
        raise NotImplementedError


async def learned(*samples: float, store: Notes | None = None) -> Calibration:
    calibration = Calibration(store or Notes())
    for sample in samples:
        await calibration.learn("m", 10_000, round(10_000 * sample))
    return calibration


async def test_nothing_is_known_at_first() -> None:
    assert Calibration(Notes()).ratio("m") == 1.0


@pytest.mark.parametrize(
    ("samples", "ratio"),
    [
        ([1.2], 1.2),
        ([1.2, 1.0], 1.1),
        ([1.2, 1.0, 1.1], 1.1),
        ([1.2] * STEADY + [1.0], 1.18),
        ([1.0] * 100 + [1.2] * 40, 1.2),
        ([2.0], HIGHEST),
        ([0.1], LOWEST),
        ([5.0, 1.0], 1.15),
    ],
)
async def test_a_ratio_follows_what_is_reported(samples: list[float], ratio: float) -> None:
    assert (await learned(*samples)).ratio("m") == pytest.approx(ratio, abs=0.004)


async def test_models_learn_apart() -> None:
    calibration = await learned(1.2)
    assert calibration.ratio("other") == 1.0


async def test_a_small_prompt_teaches_nothing() -> None:
    calibration = Calibration(Notes())
    await calibration.learn("m", LEAST - 1, 2 * LEAST)
    assert calibration.ratio("m") == 1.0
    await calibration.learn("m", LEAST, 2 * LEAST)
    assert calibration.ratio("m") == HIGHEST


async def test_a_ratio_outlives_the_process() -> None:
    store = Notes()
    await learned(*[1.2] * 30, store=store)
    assert (await learned(1.0, store=store)).ratio("m") == pytest.approx(1.18, abs=0.004)


async def test_only_what_moved_is_written_and_read_once() -> None:
    store = Notes()
    await learned(*[1.1] * 50, store=store)
    assert (len(store.written), store.read) == (2, 1)
    assert msgspec.json.decode(store.written[0]) == {"ratio": 1.1, "samples": 1}


@pytest.mark.parametrize("kept", [b"", b"{", b'{"ratio":"much"}', b"\xff", b'{"ratio":1e9,"samples":-4}'])
async def test_what_cannot_be_read_or_believed_does_no_harm(kept: bytes) -> None:
    store = Notes()
    await store.put(KIND, "", b"m", kept)
    assert LOWEST <= (await learned(1.0, store=store)).ratio("m") <= HIGHEST


async def test_any_number_of_models_may_be_named() -> None:
    calibration = Calibration(Notes())
    for number in range(KEPT + 5):
        await calibration.learn(str(number), 1000, 1200)
    assert (calibration.ratio("0"), calibration.ratio(str(KEPT + 4))) == (1.0, 1.2)
    assert len(calibration._known) == len(calibration._written) == KEPT


def test_a_ratio_is_a_pair() -> None:
    assert Learned().after(1.2) == Learned(1.2, 1)


USUAL = Tolerance(90, 80, 10.0, 25)


@pytest.mark.parametrize(
    ("counted", "reported", "level"),
    [
        (1000, 1000, "ok"),
        (1000, 1100, "ok"),
        (1000, 1112, "warning"),
        (1112, 1000, "warning"),
        (1000, 1250, "warning"),
        (1000, 1251, "error"),
        (1201, 1000, "error"),
        (3000, 1000, "error"),
        (35, 10, "ok"),
        (36, 10, "error"),
        (10, 0, "ok"),
        (100, 0, "error"),
    ],
)
def test_a_verdict(counted: int, reported: int, level: str) -> None:
    assert judge(counted, reported, USUAL).level == level


def test_a_verdict_tells_how_much() -> None:
    assert judge(900, 1000, USUAL)[1:] == (90.0, -100)
    assert judge(3000, 1000, USUAL)[1:] == (0.0, 2000)


@pytest.mark.parametrize(
    ("tolerance", "level"),
    [
        (Tolerance(90, 80, 40.0, 0), "ok"),
        (Tolerance(90, 80, 0.0, 400), "ok"),
        (Tolerance(60, 50, 0.0, 0), "ok"),
        (Tolerance(80, 60, 0.0, 0), "warning"),
        (Tolerance(80, 80, 0.0, 0), "error"),
    ],
)
def test_every_threshold_counts(tolerance: Tolerance, level: str) -> None:
    assert judge(700, 1000, tolerance).level == level


# The law: an edit never depends on it.


class Cut(Stage[StageOptions]):
    """Drops a message where the count is high, as a stage that condenses would."""

    name = "cut"

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        if exchange.need(TokenCount).total > 900:
            exchange.edit(0, None, "too long")
        return None


async def test_edits_are_the_same_whatever_was_learned() -> None:
    sent, told = [], []
    for reported in (700, 1000, 1300):
        counter, cut = TokenCounter(TokenCountOptions(validate=False)), Cut(StageOptions())
        async with StageBench(counter, RiskAssessor(RiskAssessOptions()), cut) as bench:
            await replied(bench, reported)
            exchange = await replied(bench, reported)
            sent.append(exchange.conversation.render())
            told.append(exchange.need(TokenCount).ratio)
    assert len(set(sent)) == 1
    assert len(set(told)) == 3


async def replied(bench: StageBench, per_mille: int) -> Exchange:
    texts = ["word " * 800, "more " * 90]
    body: Any = {"model": "small", "messages": [{"role": "user", "content": text} for text in texts]}
    exchange = bench.exchange(body)
    await bench.request(exchange)
    exchange.outcome.usage = Usage(input=exchange.need(TokenCount).total * per_mille // 1000)
    exchange.put(TokenCount(total=exchange.need(TokenCount).total, ratio=exchange.need(TokenCount).ratio))
    bench.done(exchange)
    await bench.run_later(exchange)
    return exchange


async def test_a_known_ratio_is_taken_in_at_once_and_only_its_writes_wait() -> None:
    store = Notes()
    calibration = await learned(1.1, 1.1, store=store)
    written = len(store.written)
    assert calibration.take("m", 10_000, 11_010)
    assert calibration.ratio("m") > 1.1
    assert len(store.written) == written
    assert not calibration.take("m", 10_000, 13_000)
    assert not calibration.take("new", 10_000, 11_000)
    assert calibration.take("new", LEAST - 1, 10)
    assert calibration.ratio("new") == 1.0
