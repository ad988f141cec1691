"""z.ai's codes."""

from datetime import UTC, datetime

import pytest

from trimtab.dialects.codes import ZAI, reset_in
from trimtab.dialects.problems import PROBLEMS

NOW = datetime(2026, 9, 11, 14, 45, 20, tzinfo=UTC)


def test_who_may_try_again_agrees_with_the_table_of_causes() -> None:
    """A code may forbid what its cause allows, never the other way round."""
    assert [code for code, means in ZAI.items() if means.retry and not PROBLEMS[means.cause].retry] == []
    assert all(means.wait is None or 0 < means.wait[0] <= means.wait[1] for means in ZAI.values())
    assert all(means.retry for means in ZAI.values() if means.wait)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("[1308][Usage limit reached for 5 hour. Your limit will reset at 2026-09-12 00:35:41][2026]", 6622),
        ("Weekly Limit Exhausted. It will reset at 2026-09-11T15:45:20Z", 3601),
        ("... Resets at 2026-09-11T17:45:20+02:00", 3601),
        ("Your limit will reset at 2026-09-11 22:45:20", None),
        ("Your limit will reset at 2026-13-45 00:00:00", None),
        ("Your limit will reset soon", None),
    ],
)
def test_when_a_limit_is_reset(text: str, seconds: int | None) -> None:
    assert reset_in(text, NOW) == seconds
