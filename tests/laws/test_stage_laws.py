"""Every built-in stage that edits, alone and in the usual order, through the conformance kit.

TRIMTAB_LAWS=10000 makes as many conversations of each dialect, all stages together.
"""

import os
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import pytest

from condensing import NOTES
from trimtab.api import (
    Exchange,
    Fact,
    Message,
    Model,
    ModelTable,
    Picture,
    Risk,
    Target,
    TokenCount,
    tokenizer,
    tokens_of,
)  # fmt: skip
from trimtab.conformance import usual_facts
from trimtab.corpus import NAMES, numbered, session
from trimtab.errors import BadRequest
from trimtab.registry import AnyStage
from trimtab.testing import conform, table
from trimtab_stages.auth import Auth, AuthOptions
from trimtab_stages.condense import Condense
from trimtab_stages.condense_options import CondenseOptions
from trimtab_stages.condense_tokens import UNKNOWN
from trimtab_stages.env_dedup import EnvDeduplication, EnvDedupOptions
from trimtab_stages.image_aging import ImageAging, ImageAgingOptions
from trimtab_stages.risk_assess import RiskAssessOptions, RiskAssessor, assessed
from trimtab_stages.route import Route, RouteOptions
from trimtab_stages.scale import ScaleOptions, Scaler
from trimtab_stages.token_count import TokenCounter, TokenCountOptions
from trimtab_stages.token_parts import Part, of_message

pytestmark = pytest.mark.anyio


class Case(NamedTuple):
    """A stage with options, and whether it changes messages."""

    make: Callable[[], AnyStage]
    edits: bool = False


def condense(strategy: str, **more: Any) -> Case:
    """Condense by a strategy."""
    options: dict[str, Any] = {"strategy": strategy, "on_overflow": "truncate", **more}
    return Case(lambda: Condense(CondenseOptions(**options)), edits=True)


CASES: Mapping[str, Case] = {
    "auth": Case(lambda: Auth(AuthOptions())),
    "env-dedup": Case(lambda: EnvDeduplication(EnvDedupOptions()), edits=True),
    "image-aging": Case(lambda: ImageAging(ImageAgingOptions(threshold=2)), edits=True),
    "token-count": Case(lambda: TokenCounter(TokenCountOptions())),
    "risk-assess": Case(lambda: RiskAssessor(RiskAssessOptions())),
    "condense": condense("smart_truncation"),
    "condense, repeats": condense("smart_truncation", repeats=True),
    "condense, points": condense("key_point_extraction"),
    "condense, summary": condense("conversation_summary", model_rungs=True),
    "condense, progressive": condense("progressive_summarization", model_rungs=True),
    "route": Case(lambda: Route(RouteOptions())),
    "scale": Case(lambda: Scaler(ScaleOptions())),
}
ALL = int(os.environ.get("TRIMTAB_LAWS", "0"))
KNOWN: dict[tuple[str, bytes], tuple[int, list[Picture]]] = {}
"""Tokens and pictures of messages by dialect and bytes."""
NUMBER = max(12, len(NAMES) * ALL // len(CASES))


def models() -> ModelTable:
    """The usual table, with a window that made conversations outgrow."""
    known = table()
    small = Model(window=3_000, max_output=500, upstreams={"messages": "text", "chat": "images"}, vision="eyes")
    return ModelTable(known.upstreams, {**known.models, "small": small})


def counted(exchange: Exchange) -> Iterable[Fact]:
    """The usual facts, with tokens as condense counts what it writes: a text has one size, whoever counts it."""
    counts = tuple(_tokens(message, exchange.target) for message in exchange.conversation.messages)
    for fact in usual_facts(exchange):
        match fact:
            case TokenCount():
                yield TokenCount(total=sum(counts), messages=counts)
            case Risk():
                yield assessed(fact, TokenCount(total=sum(counts)))
            case _:
                yield fact


def _tokens(message: Message, target: Target) -> int:
    """Tokens of a message; what was counted is kept, since each conversation comes many times."""
    key = message.codec.name, message.raw
    if key not in KNOWN:
        if len(KNOWN) > 10_000:
            KNOWN.clear()
        count, parts = tokenizer("cl100k_base").count, _parts(message)
        plain = sum(count(part) if isinstance(part, str) else part for part in parts if isinstance(part, str | int))
        KNOWN[key] = plain, [part for part in parts if isinstance(part, Picture)]
    plain, pictures = KNOWN[key]
    return plain + sum(tokens_of(picture, target, UNKNOWN) for picture in pictures)


def _parts(message: Message) -> list[Part]:
    try:
        return [*of_message(message)]
    except BadRequest:
        return []


FOUND = (
    ("condense, points", 300, 64),  # the next request decided otherwise than the first one behind its boundary
    ("condense", 5, 12),  # without its image it went to a model with less window
    ("condense, points", 5, 178),  # the window of what was compared was not the same
    ("condense, progressive", 5, 78),  # a new decision went back behind an edit made to fit
    ("condense", 10_000, 1217),  # where a result was cut, boundaries of the second pass lay elsewhere
    ("condense, points", 10_000, 1499),  # items of one turn were counted as requests between two epochs
    ("condense, progressive", 5, 83),  # a text of a model did not pay, and key points were not tried
)
"""Conversations that have broken a law: the case, seed and number; all of them before some were varied."""
VARIED = (("condense, points", 10_000, 1485),)  # a key point beside a result made the two large enough to be cut
"""The same, as they are now."""


@pytest.mark.parametrize(("name", "seed", "number"), [*FOUND, *VARIED])
async def test_what_broke_a_law_once_does_not_again(name: str, seed: int, number: int) -> None:
    before = session(random.Random(f"{seed}:{number}"), NAMES[number % len(NAMES)])
    made = [numbered(number, seed) if (name, seed, number) in VARIED else before]
    report = await conform(CASES[name].make, corpus=made, facts=counted, models=models(), answers=[NOTES] * 99)
    assert report.requests == len([*made[0].bodies()])


@pytest.mark.parametrize("name", CASES)
async def test_each_stage_obeys_the_laws(name: str) -> None:
    case = CASES[name]
    answers = [NOTES] * 10_000 if "condense" in name or name == "image-aging" else ()
    report = await conform(case.make, number=NUMBER, seed=ALL, facts=counted, models=models(), answers=answers)
    assert report.requests > NUMBER
    assert (report.edited > 0) is case.edits
