"""A conversation with a record applied, and what that comes to."""

from typing import Any

import pytest

from condensing import requests, session
from talks import body, picture, said, text, user
from trimtab.api import Epoch, Exchange, Risk, TokenCount
from trimtab.testing import StageBench
from trimtab_stages.condense_forms import MASK, POINTS, TEXTS
from trimtab_stages.condense_limits import Limits
from trimtab_stages.condense_options import CondenseOptions, Sizes
from trimtab_stages.condense_prepare import Preparing
from trimtab_stages.condense_states import States
from trimtab_stages.risk_assess import RiskAssessOptions, RiskAssessor
from trimtab_stages.token_count import TokenCounter, TokenCountOptions

pytestmark = pytest.mark.anyio
SIZES = Sizes.of(CondenseOptions(), 10_000)


async def counted(made: list[dict[str, Any]]) -> tuple[Exchange, States]:
    """An exchange that was counted and assessed."""
    async with StageBench(TokenCounter(TokenCountOptions()), RiskAssessor(RiskAssessOptions(reserve=500))) as bench:
        exchange = bench.exchange(body(made))
        await bench.request(exchange)
        limits = Limits(bench.services.store, bench.services.clock)
        return exchange, States(Preparing(CondenseOptions(), bench.services), limits)


async def test_a_state_says_what_a_record_leaves() -> None:
    exchange, states = await counted(session(19))
    plain = await states.of(exchange, Epoch(), SIZES)
    assert (plain.changes, plain.tokens, plain.risk) == ({}, exchange.need(TokenCount), exchange.need(Risk))
    after = await states.of(exchange, Epoch(form=MASK, messages=31), SIZES)
    assert sorted(after.changes) == [*range(2, 31, 2)]
    assert after.tokens.total < plain.tokens.total // 2
    assert after.below(plain.risk.utilization)
    assert not after.below(after.risk.utilization)
    assert exchange.conversation is exchange.received


async def test_the_first_messages_are_taken_for_all() -> None:
    *_, earlier, _ = requests(session(19))
    part, states = await counted(earlier)
    whole, _ = await counted(session(19))
    for epoch in (Epoch(), Epoch(form=MASK, messages=31), Epoch(form=POINTS, messages=31)):
        one = await states.of(part, epoch, SIZES)
        other = await states.of(whole, epoch, SIZES, len(earlier))
        assert (one.tokens, one.risk, one.messages) == (other.tokens, other.risk, other.messages)


async def test_a_lost_text_gives_key_points() -> None:
    exchange, states = await counted(session(5))
    assert (await states.of(exchange, Epoch(form=TEXTS, messages=7, texts=("ab",)), SIZES)).epoch.form == POINTS


async def test_without_its_images_a_conversation_goes_to_the_window_of_the_text_model() -> None:
    exchange, states = await counted([user(text("go"), picture()), said("I see"), user("on"), said("so"), user("more")])
    assert (exchange.target.model.name, exchange.need(Risk).limit) == ("eyes", 5_000)
    assert (await states.of(exchange, Epoch(form=POINTS, messages=3), SIZES)).risk.limit == 5_000
    assert await states.window(exchange, 5_000) == 5_000
    later, states = await counted([user("go"), said("so"), user(text("see"), picture()), said("I see"), user("on")])
    gone = await states.of(later, Epoch(form=POINTS, messages=3), SIZES)
    assert gone.risk.limit == 10_000
    assert await states.window(later, 20_000) == 10_000
    plain, states = await counted(session(1))
    assert await states.window(plain, 20_000) == 20_000
