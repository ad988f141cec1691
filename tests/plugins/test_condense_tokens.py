"""Tokens of a conversation with changes are those of a conversation that came so."""

from typing import Any

import pytest

from talks import body, picture, said, text, user
from trimtab.api import Message, TokenCount
from trimtab.testing import StageBench
from trimtab_stages.condense_tokens import recounted
from trimtab_stages.token_count import TokenCounter, TokenCountOptions

pytestmark = pytest.mark.anyio


async def counted(made: list[dict[str, Any]]) -> tuple[tuple[Message, ...], TokenCount, Any]:
    async with StageBench(TokenCounter(TokenCountOptions())) as bench:
        exchange = bench.exchange(body(made))
        await bench.request(exchange)
        return exchange.conversation.messages, exchange.need(TokenCount), exchange.target


@pytest.mark.parametrize("size", [10, 20_000])
async def test_a_changed_message_counts_as_if_it_had_come_so(size: int) -> None:
    made = [user("go"), said("a long answer " * 50), user(text("see"), picture()), said("so"), user("on")]
    _, count, target = await counted(made)
    other = [user("word " * size), *made[2:]]
    messages, expected, _ = await counted(other)
    found = await recounted(count, {0: messages[0], 1: None, 2: messages[1]}, target)
    assert (found.messages, found.total, found.overhead) == (expected.messages, expected.total, expected.overhead)
