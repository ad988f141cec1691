"""Whether a conversation is condensed at a boundary, and by which rung."""

from typing import Any

import pytest

from condensing import NOTES, bench, requests, run, session
from trimtab.api import Condensed, Risk
from trimtab_stages.condense_ladder import APART
from trimtab_stages.condense_prepare import Preparing

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("fails", [False, True])
async def test_a_model_whose_predictions_keep_failing_is_edited_only_where_it_must_be(fails: bool) -> None:
    """From CRITICAL on nobody asks whether an edit pays, but whether predictions hold."""
    epochs: list[bool] = []
    async with bench() as case:
        case.services.economics.trusted = lambda target: not fails  # type: ignore[method-assign]  # a fake
        for messages in requests(session(60, size=1_200)):
            done = (await run(case, messages)).get(Condensed)
            epochs += [] if done is None else [done.forced]
        assert ("epochs.written" in case.services.counters.snapshot()) is not fails
    assert {*epochs} == ({True} if fails else {False, True})


@pytest.mark.parametrize("strategy", ["smart_truncation", "key_point_extraction"])
async def test_a_later_request_decides_as_the_first_one_did(strategy: str) -> None:
    """Where the first request behind a boundary was left alone, one that comes later, to an empty store, is too."""
    late = 0
    async with bench(strategy=strategy) as case:
        for messages in requests(session(24, size=1_200)):
            exchange = await run(case, messages)
            if exchange.get(Condensed) is not None:
                break
            async with bench(strategy=strategy) as other:
                assert (await run(other, messages)).get(Condensed) is None
            late += exchange.need(Risk).utilization >= 0.8
    assert late > 0, "some were left alone though they had reached the threshold"


async def test_ten_requests_lie_between_two_epochs() -> None:
    frontiers: list[int] = []
    async with bench(strategy="key_point_extraction") as case:
        for messages in requests(session(60)):
            done = (await run(case, messages)).get(Condensed)
            if done is not None and not done.forced and done.messages not in frontiers:
                frontiers.append(done.messages)
                assert len(frontiers) < 2 or (done.messages - frontiers[-2]) // 2 >= APART
    assert len(frontiers) > 1


async def test_where_a_models_text_is_no_shorter_key_points_take_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ready(*given: Any) -> tuple[str, ...]:
        return ("ab",)

    async def texts(self: Preparing, exchange: Any, epoch: Any) -> tuple[str, ...]:
        return (NOTES * times,) if epoch.texts else ()

    monkeypatch.setattr(Preparing, "ready", ready)
    monkeypatch.setattr(Preparing, "texts", texts)
    times = 1
    for number, form in ((1, "summary"), (200, "key_point_extraction")):
        times = number
        async with bench(strategy="conversation_summary", model_rungs=True) as case:
            exchange = await run(case, session(36, size=300, talk=30, every=4))
            assert exchange.need(Condensed).form == form
