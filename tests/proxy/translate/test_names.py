import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from translating import parsed, user
from trimtab.translate import spelling
from trimtab.translate.names import Ids, call_id, squeezed, tool_name
from trimtab.translate.piece import Call


def test_what_fits_stays() -> None:
    assert call_id("toolu_01-A", "messages") == "toolu_01-A"
    assert call_id("call:1/é", "chat") == "call:1/é"
    assert tool_name("n" * 100, "messages") == "n" * 100


def test_what_does_not_fit_is_squeezed() -> None:
    assert re.fullmatch("call1_[0-9a-f]{12}", call_id("call:1/é", "messages"))
    assert call_id("x" * 65, "chat") == squeezed("x" * 65) == call_id("x" * 65, "messages")
    assert call_id("", "chat") == call_id("", "messages") == "_e3b0c44298fc"
    assert len(tool_name("n" * 65, "chat")) == 53
    assert tool_name("a.b", "chat").startswith("ab_")


@given(st.lists(st.text(max_size=80), unique=True))
def test_no_two_become_one(given_: list[str]) -> None:
    for dialect in ("chat", "messages"):
        for change in (call_id, tool_name):
            made = [change(name, dialect) for name in given_]
            assert len(set(made)) == len(given_)
            assert dialect == "chat" or all(re.fullmatch("[A-Za-z0-9_-]+", name) for name in made)


def test_a_call_that_is_counted_anew_gets_an_id_of_its_own() -> None:
    ids = Ids()
    first = (Call("0", "0"), Call("1", "1"))
    assert ids.own(first) is first
    assert ids.own(first[:1])[0].id == squeezed("0#2")
    third, _ = ids.own(first)
    assert (third.said, third.id) == ("0", squeezed("0#3"))


def test_calls_that_all_bear_one_id_cost_one_name_each(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = squeezed

    def squeeze(name: str) -> str:
        asked.append(name)
        return real(name)

    monkeypatch.setattr("trimtab.translate.names.squeezed", squeeze)
    ids = Ids()
    made = [ids.own((Call("0", "0"),))[0].id for _ in range(1000)]
    assert made == ["0", *(real(f"0#{number}") for number in range(2, 1001))]
    assert len(asked) == 999
    # Who goes on from what was used gives the same.
    assert Ids(ids.used).own((Call("0", "0"),))[0].id == real("0#1001")


def test_the_clients_names_are_known_again() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("a.b", "read")]
    found = spelling(parsed("chat", {"model": "m", "messages": [user("a")], "tools": tools}), "messages")
    assert (found.ids, found.tools) == ({}, {squeezed("a.b"): "a.b"})
