from collections.abc import Callable
from pathlib import Path
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


def test_a_provider_that_the_environment_took_out_is_named_with_its_switch(problems: Failing, here: Path) -> None:
    (here / ".env").write_text("ENABLE_TOKEN_COUNT=false\n")
    (found,) = problems(CHAIN.format(["plain", "token-count", "judge"]))
    assert found.endswith(
        "stage 'judge' needs Size, which 'token-count' provides, and 'token-count' is out: ENABLE_TOKEN_COUNT is false "
        "in .env: delete that line, or delete 'judge', too"
    )
    (here / ".env").unlink()
    (found,) = problems(CHAIN.format(["plain", "token-count", "judge"]), ENABLE_TOKEN_COUNT="no")
    assert "'token-count' is out: ENABLE_TOKEN_COUNT is false in the environment" in found
