"""How runs of agents are judged and told; the runs themselves are made by hand (tests/README.md)."""

from pathlib import Path
from typing import Any

import pytest

from suites.agents import MODELS, Results, cells
from suites.agents_told import DIRECT, Cell, markdown, outcome, table, verdict


def told(code: int | None = 0, *, wrote: bool = False, late: bool = False) -> dict[str, Any]:
    """What run_client.py prints of a run."""
    return {"exit": code, "tool_executed": wrote, "timed_out": late}


@pytest.mark.parametrize(
    ("printed", "written", "expected"),
    [
        (told(wrote=True), "hello from mock\n", "ok"),
        (told(), None, "lost"),
        (told(1), None, "failed"),
        (told(1, wrote=True), "hello from mock\n", "failed"),
        (told(-9, late=True), None, "hang"),
        (told(-9, wrote=True, late=True), "hello from mock\n", "hang"),
        (told(), "hello fr", "wrong-file"),
        (told(1), "hello fr", "wrong-file"),
        (told(), "", "wrong-file"),
    ],
)
def test_an_outcome_is_the_file_and_then_the_exit_code(
    printed: dict[str, Any], written: str | None, expected: str
) -> None:
    assert outcome(printed, written, "pi") == expected


def test_the_empty_file_that_aider_is_given_is_not_its_work() -> None:
    assert outcome(told(), "", "aider:anthropic") == "lost"
    assert outcome(told(), "hello fr", "aider:anthropic") == "wrong-file"


@pytest.mark.parametrize(
    ("direct", "proxied", "expected"),
    [
        (("ok", 3.0), ("failed", 3.0), "worse"),
        (("failed", 3.0), ("lost", 3.0), "worse"),
        (("lost", 3.0), ("failed", 3.0), "better"),
        (("failed", 3.0), ("wrong-file", 3.0), "worse"),
        (("failed", 3.0), ("ok", 90.0), "better"),
        (("ok", 3.0), ("ok", 33.0), "same"),
        (("ok", 3.0), ("ok", 33.1), "slower"),
        (("ok", 40.0), ("ok", 80.0), "same"),
        (("ok", 40.0), ("ok", 80.1), "slower"),
    ],
)
def test_a_verdict_is_the_outcome_and_then_the_time(
    direct: tuple[str, float], proxied: tuple[str, float], expected: str
) -> None:
    rows = [{"outcome": found, "seconds": seconds} for found, seconds in (direct, proxied)]
    assert verdict(*rows) == expected


def test_runs_without_the_proxy_and_in_the_own_dialect_come_first() -> None:
    own, translated = Cell("pi", "glm-4.6-openai", "cut"), Cell("pi", "glm-4.6", "cut")
    assert cells(["pi"], MODELS, ["cut"]) == [Cell("pi", DIRECT, "cut"), own, translated]


def test_an_interrupted_matrix_goes_on_and_the_last_run_of_a_cell_holds(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first = Results(path)
    cell = Cell("pi", DIRECT, "cut")
    for found in ("failed", "ok"):
        first.add(cell, {"outcome": found, "seconds": 2.0, "hits": 1})
    first.add(cell._replace(way="glm-4.6"), {"outcome": "failed", "seconds": 2.0, "hits": 1})
    again = Results(path)
    assert again.of == first.of
    text, worse = table(again.of, ["pi"], ["glm-4.6", "glm-4.6-openai"], ["cut"])
    assert text.splitlines()[1].split() == ["pi", "cut", *("ok", "2", "s"), *("failed", "2", "s", "worse"), "-", "?"]
    assert worse == ["pi glm-4.6 cut: worse"]


def test_a_run_that_met_no_fault_says_nothing() -> None:
    runs = {
        Cell("pi", way, "cut"): {"outcome": "ok", "seconds": 2.0, "hits": way == DIRECT} for way in (DIRECT, *MODELS)
    }
    assert table(runs, ["pi"], MODELS, ["cut"])[0].splitlines()[1].split().count("?") == 2


def test_the_table_of_the_page_shows_what_is_not_well_and_counts_the_rest() -> None:
    runs = {
        Cell("pi", way, fault): {"outcome": found, "seconds": 2.0, "hits": 1}
        for way, fault, found in [
            (DIRECT, "cut", "lost"),
            ("glm-4.6", "cut", "ok"),
            (DIRECT, "429", "ok"),
            ("glm-4.6", "429", "ok"),
        ]
    }
    assert markdown(runs, ["pi"], MODELS, ["cut", "429"]).splitlines()[2:] == [
        "| cut | pi | lost | ok | - |",
        "",
        "2 runs through the proxy, compared with those without: 1 same, 1 better, 0 slower, 0 worse; 2 not run.",
    ]
