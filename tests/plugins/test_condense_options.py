"""The options of condense, and what they come to for a window."""

from typing import Any

import pytest

from trimtab_stages.condense_options import CondenseOptions, Sizes


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"emergency": 0}, "emergency and patience are shares"),
        ({"patience": 1.1}, "emergency and patience are shares"),
        ({"keep": 0}, "keep, min-messages and max-messages"),
        ({"timeout": 0}, "timeout and ttl are seconds"),
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CondenseOptions(**wrong)


def test_no_model_is_asked_unless_it_is_switched_on_and_then_for_30_seconds() -> None:
    usual = CondenseOptions()
    assert (usual.strategy, usual.model_rungs, usual.timeout, usual.repeats) == ("smart_truncation", False, 30, False)


def test_sizes_follow_the_window() -> None:
    large, small = (Sizes.of(CondenseOptions(), window) for window in (200_000, 64_000))
    assert (large.step, large.start, large.aim, large.least) == (80_000, 80_000, 120_000, 10_000)
    assert (small.step, small.start, small.aim, small.least) == (25_600, 51_200, 38_400, 3_200)
    assert (large.budget, small.budget, small.floor) == (20_000, 10_666, 32_000)
