from pathlib import Path

import pytest

from trimtab.config.draft import Draft
from trimtab.config.environment import Value, environment, overrides
from trimtab.errors import ConfigError


def test_an_empty_value_counts_as_not_set(here: Path) -> None:
    (here / ".env").write_text("A=\nB=1\nC\nD=file\n")
    assert environment({"B": "", "D": "real"}) == {"B": Value("1", ".env B"), "D": Value("real", "environment D")}


def test_a_dollar_in_env_is_a_dollar(here: Path) -> None:
    (here / ".env").write_text("SERVER_API_KEY=a${HOME}b\n", encoding="utf-8-sig")
    assert environment({})["SERVER_API_KEY"].text == "a${HOME}b"


def test_env_that_is_no_text_is_refused(here: Path) -> None:
    (here / ".env").write_bytes(b"A=\xff\n")
    with pytest.raises(ConfigError, match=r"^\.env: cannot be read"):
        environment({})


def test_a_name_in_env_that_is_nearly_right_is_a_note(here: Path) -> None:
    (here / ".env").write_text("RATE_LIMIT_PER_MINUT=5\nSOMETHING_ELSE=1\n")
    draft = Draft("pipelines.toml")
    assert overrides(environment({"RATE_LIMIT_PER_MINUTES": "5"}), draft) == []
    assert draft.all_notes() == (".env: unknown name RATE_LIMIT_PER_MINUT, did you mean RATE_LIMIT_PER_MINUTE?",)


def test_a_switch_in_env_that_switches_nothing_is_a_note(here: Path) -> None:
    (here / ".env").write_text("ENABLE_TOKENCOUNT=false\nENABLE_WARP=false\nENABLE_TRIM=false\nWARP=1\n")
    draft = Draft("pipelines.toml")
    assert overrides(environment({"ENABLE_ELSEWHERE": "1"}), draft) == []
    assert draft.all_notes() == (
        ".env: unknown name ENABLE_TOKENCOUNT, did you mean ENABLE_TOKEN_COUNT?",
        ".env: ENABLE_WARP has no effect: there is no such stage or setting",
    )


def test_of_two_spellings_the_first_holds() -> None:
    first, second = "ENV_DEDUPLICATION_STRATEGY", "ENVIRONMENT_DEDUPLICATION_STRATEGY"
    draft = Draft("pipelines.toml")
    (found,) = overrides({first: Value("delta", "x"), second: Value("merge_strategy", "y")}, draft)
    assert (found.name, found.value) == (first, "delta")
    assert draft.all_notes() == (f"{second} has no effect: {first} says otherwise and holds",)
    (found,) = overrides({second: Value("delta", "y")}, Draft("pipelines.toml"))
    assert found.name == second
