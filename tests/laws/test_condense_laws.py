"""The laws of design.md for condense, by every strategy, on sessions that are made and on recorded ones."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings

from condensing import NOTES, bench, parted
from fixtures import conversations, needs_recordings, turns
from laws.env_sessions import Session, sessions
from trimtab.api import Condensed, Exchange, Message, Refused, Risk, TokenCount, ToolResult
from trimtab.testing import StageBench
from trimtab_stages.condense_ranges import said
from trimtab_stages.tool_results import calls_of

pytestmark = pytest.mark.anyio
STRATEGIES = ("smart_truncation", "key_point_extraction", "conversation_summary", "progressive_summarization")
RESERVE = 2_000


def chain(window: int, strategy: str, **more: Any) -> StageBench:
    """Counting, assessing and condensing; who is asked for a summary answers."""
    return bench(
        window,
        reserve=RESERVE,
        answers=[NOTES] * 500,
        strategy=strategy,
        model_rungs=True,
        on_overflow="truncate",
        **more,
    )


async def passed(case: StageBench, body: bytes, dialect: str) -> Exchange:
    """The exchange of a body behind the chain, which broke no invariant and failed nowhere."""
    exchange = case.exchange(body, dialect=dialect)
    await case.request(exchange)
    assert [note for note in exchange.notes if "undone" in note] == []
    await case.run_later(exchange)
    return exchange


def check_kept(exchange: Exchange) -> None:
    """The user's words are there (the oldest of a range may go for their size), and each result has its call's name."""
    fact = exchange.get(Condensed)
    if fact is None or fact.truncated:
        return
    text = "\n".join(_texts(exchange.conversation.messages))
    spoken = [words for message in exchange.received.messages for words in said(message)]
    # A sixth of the window of the model that is asked: a session with images goes to the one that sees, which has less.
    room = (exchange.need(Risk).limit or 0) // 6 * 4
    for words in reversed(spoken):
        room -= len(words)
        if room < 0:
            break
        assert words in text
    if fact.form == "smart_truncation":
        _check_masks(exchange)


def _check_masks(exchange: Exchange) -> None:
    caller: Message | None = None
    for before, after in zip(exchange.received.messages, exchange.conversation.messages, strict=True):
        if before.role == "assistant":
            caller = before
            assert after is before
        elif after is not before:
            for block in after.blocks:
                if isinstance(block, ToolResult) and b"[Old tool result cleared: " in _raw(after):
                    call = calls_of(caller)[block.id] if caller is not None else None
                    told = [part.text for part in block.content if hasattr(part, "text") and "cleared: " in part.text]
                    assert all(f"cleared: {call}, " in text for text in told)


def _raw(message: Message) -> bytes:
    return message.raw


def _texts(messages: tuple[Message, ...]) -> Iterator[str]:
    for message in messages:
        for block in message.blocks:
            if hasattr(block, "text"):
                yield block.text
            elif isinstance(block, ToolResult):
                yield from (part.text for part in block.content if hasattr(part, "text"))


@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(sessions())
async def test_made_sessions_obey_the_laws(session: Session) -> None:
    """In a window of 60 tokens nearly each request is condensed, refused at the most, and the same twice."""
    for strategy in STRATEGIES:
        async with chain(60, strategy, keep=5) as case:
            for body in session.requests():
                try:
                    exchange = await passed(case, body, session.dialect)
                except Refused:
                    continue
                again = await passed(case, body, session.dialect)
                assert again.conversation.render() == exchange.conversation.render()


FEWER = ("01", "03", "06", "07", "10", "12")
"""Sessions for the strategies between the first and the last; those run on all of them, and so do these with
TRIMTAB_LAWS."""
ALL = bool(os.environ.get("TRIMTAB_LAWS"))
EACH = [
    (file, strategy)
    for file in conversations()
    for strategy in STRATEGIES
    if ALL or strategy in (STRATEGIES[0], STRATEGIES[-1]) or file.name[:2] in FEWER
]


@needs_recordings
@pytest.mark.parametrize(
    ("file", "strategy"), EACH or [(None, "")], ids=lambda part: part.name[:2] if isinstance(part, Path) else part
)
async def test_recorded_sessions_obey_the_laws(file: Path, strategy: str) -> None:
    window = 40_000
    epochs = count = 0
    before: Exchange | None = None
    async with chain(window, strategy) as case:
        for path, body in turns(file, "small"):
            exchange = await passed(case, body, "messages" if path.endswith("messages") else "chat")
            total = exchange.need(TokenCount).total
            assert total <= window
            check_kept(exchange)
            fact = exchange.get(Condensed)
            if fact is None:
                assert exchange.conversation.render() == body
            if before is not None and parted(before, exchange) and not (fact and fact.forced):
                epochs += 1
            before, count = exchange, count + 1
        assert before is not None
        sent = before.conversation.render()
        again = await passed(case, sent, before.dialect)
        assert again.conversation.render() == sent
    assert epochs <= max(1, count // 10), f"{epochs} epochs in {count} requests"
