"""Two workers on one store at once, their clocks apart and jumping, send the same bytes; so does a third one later."""

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from condensing import NOTES, parted, requests, session
from talks import body, picture, png, said, text, user
from trimtab.api import Exchange, Model, ModelTable, TokenCount
from trimtab.interfaces import Store
from trimtab.registry import AnyStage
from trimtab.store import PATIENCE, DiskStore, MemoryStore
from trimtab.testing import StageBench, StillClock, table
from trimtab_stages.condense import Condense
from trimtab_stages.condense_options import CondenseOptions
from trimtab_stages.env_dedup import EnvDeduplication, EnvDedupOptions
from trimtab_stages.image_aging import ImageAging, ImageAgingOptions
from trimtab_stages.risk_assess import RiskAssessOptions, RiskAssessor
from trimtab_stages.token_count import TokenCounter, TokenCountOptions

pytestmark = pytest.mark.anyio
JUMPS = (1, 7, 400, 4_000, 90_000, -300, -5_000)
"""Seconds by which a clock moves between two requests."""
OTHER = NOTES.replace("word", "sentence")
"""What another model answers."""


class Racing(MemoryStore):
    """A store that lets others go on before and behind each of its answers, so that two workers meet in between."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self.dice, self.met = dice, 0

    async def wait(self) -> None:
        for _ in range(self.dice.randint(0, 5)):
            await asyncio.sleep(0)

    async def get(self, kind: str, tenant: str, key: bytes) -> bytes | None:
        await self.wait()
        held = self.peek(kind, tenant, key)
        await self.wait()
        return held

    async def add(self, kind: str, tenant: str, key: bytes, value: bytes, *, ttl: float | None = None) -> bytes:
        await self.wait()
        held = await super().add(kind, tenant, key, value, ttl=ttl)
        self.met += held is not value
        await self.wait()
        return held


class Case(NamedTuple):
    """A chain, and a session that gets epochs in it."""

    stages: Callable[[], Sequence[AnyStage]]
    messages: Callable[[], list[dict[str, Any]]]


def pictured() -> list[dict[str, Any]]:
    """A talk with a picture now and then."""
    shows = [[picture(data=png(seed=str(index)))] if index % 12 == 0 else [] for index in range(61)]
    return [said("so") if index % 2 else user(text("on"), *shown) for index, shown in enumerate(shows)]


def with_blocks() -> list[dict[str, Any]]:
    """Results of tools with an environment block behind each."""
    made = session(45)
    for number, message in enumerate(made):
        if message["role"] == "tool":
            sections = f"# Current Time\n{number}\n\n# Recently Modified Files\nfile{number}.py"
            message["content"] += f"\n\n<environment_details>\n{sections}\n</environment_details>"
    return made


def condense(strategy: str, **more: Any) -> Case:
    """A case of condense."""
    options: dict[str, Any] = {"strategy": strategy, "model_rungs": True, "on_overflow": "truncate"}
    return Case(
        lambda: [
            TokenCounter(TokenCountOptions()),
            RiskAssessor(RiskAssessOptions(reserve=500)),
            Condense(CondenseOptions(**options)),
        ],
        lambda: session(40, **more),
    )


CASES = {
    "env-dedup, merge": Case(lambda: [EnvDeduplication(EnvDedupOptions(strategy="merge"))], with_blocks),
    "image-aging": Case(lambda: [ImageAging(ImageAgingOptions())], pictured),
    "condense": condense("smart_truncation"),
    "condense, points": condense("key_point_extraction"),
    "condense, summary": condense("conversation_summary", size=400, talk=60),
    "condense, progressive": condense("progressive_summarization", size=400, talk=60),
}


def worker(case: Case, store: Store, clock: StillClock, notes: str = NOTES) -> StageBench:
    """A worker with a clock and a model of its own."""
    known = table()
    small = Model(window=10_000, max_output=1_000, upstreams={"messages": "text", "chat": "images"}, vision="eyes")
    models = ModelTable(known.upstreams, {**known.models, "small": small})
    return StageBench(*case.stages(), models=models, answers=[notes] * 999, store=store, clock=clock)


async def sent(bench: StageBench, messages: list[dict[str, Any]]) -> Exchange:
    exchange = bench.exchange(body(messages))
    await bench.request(exchange)
    assert [note for note in exchange.notes if "undone" in note] == []
    bench.sends(exchange)
    return exchange


@pytest.mark.parametrize("name", CASES)
async def test_who_races_and_who_comes_later_send_the_same(name: str) -> None:
    case, dice = CASES[name], random.Random(name)
    store, told = Racing(dice), list[tuple[list[dict[str, Any]], bytes]]()
    async with worker(case, store, StillClock(0)) as one, worker(case, store, StillClock(4e9), OTHER) as two:
        for messages in requests(case.messages()):
            first, second = await asyncio.gather(sent(one, messages), sent(two, messages))
            assert first.conversation.render() == second.conversation.render()
            told.append((messages, first.conversation.render()))
            await asyncio.gather(one.run_later(first), two.run_later(second))
            for bench in (one, two):
                bench.clock.advance(dice.choice(JUMPS))
    assert store.met > 0, "nobody lost a race"
    assert sum(body_ != StageBench().exchange(body(messages)).conversation.render() for messages, body_ in told) > 10
    async with worker(case, store, StillClock(2e9)) as late:
        for messages, before in told:
            assert (await sent(late, messages)).conversation.render() == before


async def test_a_store_that_is_slow_is_waited_for_no_longer_than_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long session is asked about more than a hundred times; each answer takes two seconds."""
    clock = StillClock()
    store = DiskStore(tmp_path, clock)
    read = DiskStore._read

    def slow(store: DiskStore, name: str) -> bytes | None:
        clock.advance(2)
        return read(store, name)

    monkeypatch.setattr(DiskStore, "_read", slow)
    async with worker(CASES["condense"], store, clock) as bench:
        before: Exchange | None = None
        for turns in (120, 121, 122):
            begun = clock.monotonic()
            exchange = await sent(bench, session(turns))
            assert clock.monotonic() - begun <= 2 * PATIENCE
            assert exchange.need(TokenCount).total + 500 <= 10_000
            assert before is None or not parted(before, exchange)
            before = exchange
    await store.close()
