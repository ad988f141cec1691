"""What the demo prints."""

import pytest

from trimtab.demo.table import Row, cost, row, summary, table
from trimtab.demo.talk import Turn
from trimtab.events import Usage
from trimtab.models import Prices

PRICES = Prices(input=0.60, cached=0.11, output=2.20)
FIRST = Row(
    Turn(Usage(input=2_000, output=10), 5.0, "", ""),
    Turn(Usage(input=2_000, output=10), 8.0, "SAFE", "3.1"),
)
SECOND = Row(
    Turn(Usage(input=1_000, cache_read=2_000, output=12), 5.5, "", ""),
    Turn(Usage(input=700, cache_read=1_800, output=12), 9.5, "CAUTION", "71.4"),
)


def test_a_row_takes_the_median_of_times_and_the_first_of_costs() -> None:
    direct = [FIRST.direct._replace(ms=ms) for ms in (1.0, 2.0, 8.0)]
    proxied = [SECOND.proxied._replace(ms=3.0), FIRST.proxied._replace(ms=9.0), FIRST.proxied._replace(ms=4.0)]
    made = row(direct, proxied)
    assert (made.direct.ms, made.proxied.ms, made.added) == (2.0, 4.0, 2.0)
    assert made.proxied.usage == SECOND.proxied.usage


def test_what_came_from_the_cache_has_its_own_price() -> None:
    assert cost(Usage(input=1_000_000), PRICES) == pytest.approx(0.60)
    assert cost(Usage(cache_read=1_000_000), PRICES) == pytest.approx(0.11)
    assert cost(Usage(cache_write=1_000_000, output=1_000_000), PRICES) == pytest.approx(0.60)


def test_the_table_is_aligned() -> None:
    _, head, *lines = table([FIRST, SECOND], PRICES).splitlines()
    assert {len(line) for line in lines} == {len(head)}
    assert " ".join(head.split()) == "turn direct proxied saved direct proxied direct proxied risk full % all added"
    assert " ".join(lines[1].split()) == "2 3,000 2,500 500 67 72 0.00082 0.00062 CAUTION 71.4 9.5 4.0"


def test_the_table_fits_large_sessions() -> None:
    usage = Usage(input=48_000, cache_read=1_000_000, output=123_456)
    large = Row(Turn(usage, 1.0, "", ""), Turn(usage, 1_234.5, "OVERFLOW", "100.0"))
    lines = table([large], PRICES).splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines[-1].split()) == 12


def test_the_summary_adds_up() -> None:
    assert summary([FIRST, SECOND], PRICES).splitlines() == [
        "2 turns: 500 of 5,000 tokens in saved (10.0 %); cached 40 % direct, 40 % proxied",
        "cost $0.00202 direct, $0.00182 proxied (-10.0 %); risk CAUTION at the end; 3.5 ms added (median)",
    ]


def test_no_tokens_are_no_share() -> None:
    empty = Turn(Usage(), 1.0, "", "")
    assert "(- %)" in summary([Row(empty, empty)], PRICES)
