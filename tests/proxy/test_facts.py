"""What stages tell each other."""

import msgspec
import pytest

from trimtab.facts import Credentials, Fact, TokenCount
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
        count.total = 4  # type: ignore[misc]


def test_third_parties_define_their_own() -> None:
    class Weather(Fact, frozen=True):
        rain: bool

    exchange = StageBench().exchange({"model": "small", "messages": []})
    exchange.put(Weather(rain=False))
    exchange.put(Weather(rain=True))
    assert exchange.need(Weather).rain
    assert exchange.get(Fact) is None


def test_a_key_is_not_lent_unless_somebody_says_so() -> None:
    assert msgspec.structs.asdict(Credentials(key="k")) == {"key": "k", "client": "anonymous", "lent": False}
