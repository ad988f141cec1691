"""What the demo prints."""

from trimtab.demo.table import Row, row, summary, table
from trimtab.events import Usage

FIRST = Row(Usage(input=1_900, output=10), total=8.0, direct=5.0)
SECOND = Row(Usage(input=300, cache_read=1_792, output=12), total=9.5, direct=5.5)


def test_a_row_takes_medians() -> None:
    made = row(Usage(), [3.0, 9.0, 4.0], [1.0, 2.0, 8.0])
    assert (made.total, made.direct, made.added) == (4.0, 2.0, 2.0)


def test_the_table_is_aligned() -> None:
    lines = table([FIRST, SECOND]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["turn", "tokens", "in", "cached", "%", "tokens", "out", "ms", "of", "it", "added"]
    assert lines[2].split() == ["2", "2,092", "1,792", "86", "12", "9.5", "4.0"]


def test_the_table_fits_large_sessions() -> None:
    large = Row(Usage(input=48_000, cache_read=1_000_000, output=123_456), total=12_345.6, direct=1.0)
    assert max(map(len, table([large]).splitlines())) <= 90


def test_the_summary_adds_up() -> None:
    assert summary([FIRST, SECOND]) == (
        "2 turns: 3,992 tokens in, 45 % of them cached, 22 out; 3.5 ms added to a turn (median)"
    )


def test_no_tokens_are_no_share() -> None:
    assert "- %" in summary([Row(Usage(), 1.0, 1.0)])
