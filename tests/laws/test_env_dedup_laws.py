"""The laws of design.md for env-dedup, on sessions that hypothesis makes and on the recorded ones."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from fixtures import conversations, needs_recordings, turns
from laws.env_sessions import Session, sessions
from trimtab.api import Exchange, Message, Text, ToolResult, tokenizer
from trimtab.testing import StageBench
from trimtab_stages.env_blocks import ENVIRONMENT
from trimtab_stages.env_dedup import EnvDeduplication, EnvDedupOptions
from trimtab_stages.env_places import Place, find

pytestmark = pytest.mark.anyio


def stage() -> StageBench:
    """The stage alone, with nothing in memory."""
    return StageBench(EnvDeduplication(EnvDedupOptions()))


async def edited(bench: StageBench, body: bytes, dialect: str) -> Exchange:
    """The exchange of a body behind the stage, which broke no invariant."""
    exchange = bench.exchange(body, dialect=dialect)
    await bench.request(exchange)
    assert exchange.notes == []
    return exchange


def said(message: Message) -> tuple[Any, ...]:
    """Role and blocks, without cache marks; a list of one text is the text."""
    found = message.notes.get("said")
    if found is None:
        found = message.notes["said"] = (message.role, *map(_said, message.blocks))
    return tuple(found)


def _said(block: Any) -> Any:
    if isinstance(block, Text):
        return block.text
    if isinstance(block, ToolResult):
        return block.id, *map(_said, block.content)
    members = json.loads(block.raw)
    members.pop("cache_control", None)
    return json.dumps(members)


def check_prefix(before: Exchange, after: Exchange) -> None:
    """The prefix law, for two requests of which the second extends the first."""
    received = before.received.messages
    end = max((i + 1 for i, message in enumerate(received) if message.role == "assistant"), default=0)
    one, other = before.conversation.messages[:end], after.conversation.messages[:end]
    assert [*map(said, one)] == [*map(said, other)]


def check_kept(exchange: Exchange) -> None:
    """Nothing is lost: no event, nothing sent once, no word of the user, of no state the newest value."""
    old, new = exchange.received.messages, exchange.conversation.messages
    for index, place in places(old):
        text = _text(said(new[index]))
        assert all(section.text in text for section in place.sections if section.rule == "kept")
        assert [word for word in _outside(said(old[index]), place) if word not in text] == []
    assert newest(old) == newest(new)
    touched = {index for index, _ in places(old)}
    assert all(one is other for i, (one, other) in enumerate(zip(old, new, strict=True)) if i not in touched)


def _text(parts: tuple[Any, ...]) -> str:
    return "\n".join(part if isinstance(part, str) else _text(part) for part in parts)


def _outside(parts: tuple[Any, ...], place: Place) -> Iterator[str]:
    """What a message says outside its block."""
    block = place.found.head + "".join(section.text for section in place.sections) + place.found.foot
    for part in parts:
        if not isinstance(part, str):
            yield from _outside(part, place)
        elif part.rstrip().endswith(block):
            yield part[: place.found.start].strip()
        else:
            yield part


def newest(messages: Sequence[Message]) -> dict[str, str]:
    """What the last copy of each state says."""
    return {s.key: s.value for _, place in places(messages) for s in place.sections if s.key}


def places(messages: Sequence[Message]) -> Iterator[tuple[int, Place]]:
    """The blocks of a conversation; a tool's output holds one only where it ends a turn."""
    for index, message in enumerate(messages):
        place = find(message, [ENVIRONMENT])
        ends = index + 1 == len(messages) or messages[index + 1].role == "assistant"
        if place is not None and (place.inner is None or ends):
            yield index, place


@settings(max_examples=150, deadline=None)
@given(sessions())
async def test_made_sessions_obey_the_laws(session: Session) -> None:
    async with stage() as bench, stage() as other:
        before: Exchange | None = None
        for body in session.requests():
            exchange = await edited(bench, body, session.dialect)
            sent = exchange.conversation.render()
            check_kept(exchange)
            if before is not None:
                check_prefix(before, exchange)
            again = await edited(other, sent, session.dialect)
            assert again.conversation.render() == sent, "a second pass changes nothing"
            before = exchange


@settings(max_examples=50, deadline=None)
@given(sessions())
async def test_what_was_seen_before_does_not_matter(session: Session) -> None:
    async with stage() as bench:
        for body in reversed([*session.requests()]):
            sent = (await edited(bench, body, session.dialect)).conversation.render()
            async with stage() as fresh:
                assert (await edited(fresh, body, session.dialect)).conversation.render() == sent


@needs_recordings
@pytest.mark.parametrize("file", conversations() or [None], ids=lambda file: file and file.name)
async def test_recorded_sessions_obey_the_laws(file: Path) -> None:
    async with stage() as bench, stage() as other:
        before: Exchange | None = None
        bodies = [*turns(file, "small")]
        for number, (path, body) in enumerate(bodies):
            dialect = "messages" if path.endswith("messages") else "chat"
            exchange = await edited(bench, body, dialect)
            sent = exchange.conversation.render()
            if ENVIRONMENT.open.encode() not in body:
                assert sent == body
                continue
            assert len(sent) < len(body) or number == 0
            if before is not None:
                check_prefix(before, exchange)
            if number % 10 == 9 or number == len(bodies) - 1:
                check_kept(exchange)
                assert (await edited(other, sent, dialect)).conversation.render() == sent
                assert tokens(exchange.conversation.messages) < tokens(exchange.received.messages)
            before = exchange


def tokens(messages: Sequence[Message]) -> int:
    """Tokens of all texts."""
    return sum(tokenizer().count(_text(said(message))) for message in messages)
