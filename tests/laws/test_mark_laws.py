"""Wherever a client sets cache marks, the same words leave, and no mark is lost (design.md, promise 2)."""

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from condensing import NOTES
from trimtab.api import Model, ModelTable
from trimtab.corpus import NAMES, numbered
from trimtab.registry import AnyStage
from trimtab.testing import StageBench, table
from trimtab_stages.condense import Condense
from trimtab_stages.condense_options import CondenseOptions
from trimtab_stages.env_dedup import EnvDeduplication, EnvDedupOptions
from trimtab_stages.image_aging import ImageAging, ImageAgingOptions
from trimtab_stages.risk_assess import RiskAssessOptions, RiskAssessor
from trimtab_stages.token_count import TokenCounter, TokenCountOptions

pytestmark = pytest.mark.anyio
SESSIONS = 12
MARK = {"type": "ephemeral"}


def condense(**options: Any) -> Sequence[AnyStage]:
    return [
        TokenCounter(TokenCountOptions()),
        RiskAssessor(RiskAssessOptions(reserve=200)),
        Condense(CondenseOptions(on_overflow="truncate", **options)),
    ]


CHAINS: Mapping[str, Callable[[], Sequence[AnyStage]]] = {
    "env-dedup": lambda: [EnvDeduplication(EnvDedupOptions())],
    "image-aging": lambda: [ImageAging(ImageAgingOptions(threshold=2))],
    "condense": condense,
    "condense, points": lambda: condense(strategy="key_point_extraction"),
    "condense, repeats": lambda: condense(repeats=True),
}


def places(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts of a message that can carry a mark, those inside results too."""
    for part in message["content"] if isinstance(message["content"], list) else ():
        if part["type"] in ("text", "image", "tool_result"):
            yield part
        if part["type"] == "tool_result" and isinstance(part.get("content"), list):
            yield from (inner for inner in part["content"] if inner["type"] in ("text", "image"))


def marked(messages: list[dict[str, Any]], dice: random.Random) -> list[dict[str, Any]]:
    """The same with one to four marks, one in a message at most: what a client does that marks what it likes."""
    made: list[dict[str, Any]] = bare(copy.deepcopy(messages))
    can = [message for message in made if message["role"] == "user" and any(places(message))]
    for message in dice.sample(can, min(len(can), dice.randint(1, 4))):
        dice.choice([*places(message)])["cache_control"] = MARK
    return made


def bare(value: Any) -> Any:
    """A value without its marks."""
    if isinstance(value, dict):
        return {name: bare(each) for name, each in value.items() if name != "cache_control"}
    return [bare(each) for each in value] if isinstance(value, list) else value


def marks(value: Any) -> int:
    """How many marks there are in a value."""
    if isinstance(value, dict):
        return ("cache_control" in value) + sum(map(marks, value.values()))
    return sum(map(marks, value)) if isinstance(value, list) else 0


def models() -> ModelTable:
    """The usual table, with a window that made conversations outgrow."""
    known = table()
    small = Model(window=2_500, max_output=500, upstreams={"messages": "text", "chat": "images"}, vision="eyes")
    return ModelTable(known.upstreams, {**known.models, "small": small})


@pytest.mark.parametrize("name", CHAINS)
async def test_wherever_marks_stand_the_same_words_leave(name: str) -> None:
    edited = 0
    for number in range(NAMES.index("messages"), SESSIONS * len(NAMES), len(NAMES)):
        made = numbered(number, seed=3)
        async with StageBench(*CHAINS[name](), models=models(), answers=[NOTES] * 99) as bench:
            for index, message in enumerate(made.messages):
                if message["role"] == "assistant":
                    continue
                left = []
                for seed in range(3):
                    messages = marked(made.messages[: index + 1], random.Random(f"{number} {index} {seed}"))
                    body = {"model": "small", "max_tokens": 16, "messages": messages}
                    exchange = bench.exchange(body, dialect="messages")
                    await bench.request(exchange)
                    assert [note for note in exchange.notes if "undone" in note] == []
                    edited += exchange.conversation.edited
                    sent = bench.sent(exchange)["messages"]
                    # Those of turns that go come together on the text for them.
                    gone = len(messages) - len(sent)
                    assert marks(sent) == marks(messages) or (gone and 1 <= marks(sent) < marks(messages))
                    left.append(bare(sent))
                assert left[0] == left[1] == left[2]
    assert edited > 0
