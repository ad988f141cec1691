"""What stages tell each other."""

import msgspec
import pytest

from trimtab.facts import Credentials, Fact, Risk, RiskLevel, Scale, TokenCount
from trimtab.testing import StageBench


def test_the_text_of_credentials_never_shows_a_key() -> None:
    credentials = Credentials(key="sk-secret", client="ab12")
    for text in (repr(credentials), str(credentials), f"{credentials}", f"{[credentials]}"):
        assert "sk-secret" not in text
        assert "ab12" in text
    assert "none" in repr(Credentials(key=None))


def test_a_fact_never_changes() -> None:
    count = TokenCount(total=3)
    with pytest.raises(AttributeError):
        count.total = 4  # type: ignore[misc]  # frozen


def test_third_parties_define_their_own() -> None:
    class Weather(Fact, frozen=True):
        rain: bool

    exchange = StageBench().exchange({"model": "small", "messages": []})
    exchange.put(Weather(rain=False))
    exchange.put(Weather(rain=True))
    assert exchange.need(Weather).rain
    assert exchange.get(Fact) is None


def test_a_key_is_not_lent_unless_somebody_says_so() -> None:
    made = msgspec.structs.asdict(Credentials(key="k"))
    assert made == {"key": "k", "client": "anonymous", "lent": False, "lendable": False}


def test_a_calibrated_count_stands_beside_the_plain_one() -> None:
    assert (TokenCount(total=100).calibrated, TokenCount(total=100, ratio=1.126).calibrated) == (100, 113)


def test_levels_of_risk_compare_and_print_as_words() -> None:
    assert [str(level) for level in sorted(RiskLevel)] == ["SAFE", "CAUTION", "WARNING", "CRITICAL", "OVERFLOW"]
    assert f"{RiskLevel.WARNING}" == "WARNING"
    assert Risk(level=RiskLevel.SAFE, used=60, reserve=10, limit=100).utilization == 0.7
    assert Risk(level=RiskLevel.SAFE, used=60, reserve=10).utilization == 0.0


def test_a_scale_rounds_and_never_loses_all() -> None:
    scale = Scale(told=2, real=3)
    assert [scale(tokens) for tokens in (0, 1, 2, 3, 300)] == [0, 1, 1, 2, 200]
