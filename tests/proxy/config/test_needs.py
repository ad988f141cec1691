from collections.abc import Callable
from typing import Any

import pytest

from fake_stages import STAGES, Judge, install
from trimtab.config import Config

Loader = Callable[..., Config]
Failing = Callable[..., tuple[str, ...]]

CHAIN = "[pipeline.default]\nstages = {}\n"


def test_a_need_met_before_is_fine(read: Loader) -> None:
    assert read(CHAIN.format(["token-count", "judge"])).pipelines["default"] == ("token-count", "judge")


def test_a_provider_that_comes_too_late_is_to_be_moved(problems: Failing) -> None:
    assert problems(CHAIN.format(["judge", "token-count"])) == (
        "pipelines.toml: [pipeline.default] stage 'judge' needs Size, which 'token-count' provides: "
        "move 'token-count' before 'judge', or delete 'judge'",
    )


def test_a_provider_that_is_not_listed_is_named(problems: Failing, monkeypatch: pytest.MonkeyPatch) -> None:
    broken: dict[str, Any] = {**STAGES, "broken": ImportError("no such module")}
    install(monkeypatch, **broken)
    (found,) = problems(CHAIN.format(["judge"]))
    assert found.endswith("which 'token-count' provides: write 'token-count' before 'judge', or delete 'judge'")


def test_a_need_that_nobody_meets_leaves_one_remedy(problems: Failing, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, judge=Judge)
    (found,) = problems(CHAIN.format(["judge"]))
    assert found.endswith("needs Size, which no installed stage provides: delete 'judge'")


def test_an_unknown_stage_hides_no_need_it_may_meet(problems: Failing) -> None:
    assert len(problems(CHAIN.format(["token-cuont", "judge"]))) == 1
