"""Every built-in stage that edits, alone and in the usual order, through the conformance kit.

TRIMTAB_LAWS=10000 makes as many conversations of each dialect, all stages together.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from condensing import NOTES
from trimtab.api import Model, ModelTable
from trimtab.corpus import NAMES
from trimtab.registry import AnyStage
from trimtab.testing import conform, table
from trimtab_stages.auth import Auth, AuthOptions
from trimtab_stages.condense import Condense
from trimtab_stages.condense_options import CondenseOptions
from trimtab_stages.env_dedup import EnvDeduplication, EnvDedupOptions
from trimtab_stages.image_aging import ImageAging, ImageAgingOptions
from trimtab_stages.risk_assess import RiskAssessOptions, RiskAssessor
from trimtab_stages.route import Route, RouteOptions
from trimtab_stages.scale import ScaleOptions, Scaler
from trimtab_stages.token_count import TokenCounter, TokenCountOptions

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
NUMBER = max(12, len(NAMES) * ALL // len(CASES))


def models() -> ModelTable:
    """The usual table, with a window that made conversations outgrow."""
    known = table()
    small = Model(window=3_000, max_output=500, upstreams={"messages": "text", "chat": "images"}, vision="eyes")
    return ModelTable(known.upstreams, {**known.models, "small": small})


@pytest.mark.parametrize("name", CASES)
async def test_each_stage_obeys_the_laws(name: str) -> None:
    case = CASES[name]
    answers = [NOTES] * 10_000 if "condense" in name or name == "image-aging" else ()
    report = await conform(case.make, number=NUMBER, seed=ALL, models=models(), answers=answers)
    assert report.requests > NUMBER
    assert (report.edited > 0) is case.edits
