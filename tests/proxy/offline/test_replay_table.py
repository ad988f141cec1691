"""What `trimtab replay` prints."""

import pytest
from msgspec.structs import replace

from trimtab.caches import Split
from trimtab.models import Terms
from trimtab.offline.replay import Session
from trimtab.offline.replay_table import comparison, data, text
from trimtab.offline.track import Sums

TERMS = Terms("implicit", 0.25, 1.0, 300, 3600, 1024, 2.0, 1.0, quota=False)


def sums(stage: str, cached: int, fresh: int, *, written: int = 0, edited: int = 0, breaks: int = 0) -> Sums:
    splits = (Split(cached, written, fresh),)
    tokens = cached + written + fresh
    return Sums(
        stage=stage, edited=edited, tokens=tokens, breaks=breaks, epochs=breaks, splits=splits, marks=bool(written)
    )


def session(name: str = "one", *, sent: int = 500, terms: Terms | None = None) -> Session:
    return Session(
        name=name,
        dialect="chat",
        requests=2,
        implicit=(sums("client", 1000, 1000), sums("trim", sent, 500, edited=2, breaks=1), sums("log", sent, 500)),
        marks=(
            sums("client", 1000, 0, written=1000),
            sums("trim", 500, 0, written=500),
            sums("log", 500, 0, written=500),
        ),
        targets=(("a", "m"),),
        switches=0,
        terms=terms,
        recorded_edited=False,
        ended=(),
        notes={},
    )


def test_a_session_shows_the_stages_that_changed_something() -> None:
    lines = text([session()], (0.1, 0.5)).splitlines()
    assert lines[0] == "one: chat, 2 requests, to a/m"
    assert lines[2].split() == ["client", "0", "2,000", "0.0", "50.0", "1.000", "1.000", "1.000", "0", "0"]
    assert lines[3].split() == ["trim", "2", "1,000", "50.0", "50.0", "0.500", "0.500", "0.500", "1", "1"]
    assert lines[4] == "  no token changed by: log"
    assert max(map(len, lines)) <= 110


def test_money_is_told_where_the_model_has_prices() -> None:
    told = text([session(terms=TERMS)], (0.1,))
    assert "this target: implicit cache, r=0.25, $2 a million tokens: $0.0025, sent $0.0013" in told
    assert "million" not in text([session()], (0.1,))
    marks = text([session(terms=TERMS._replace(kind="explicit", write=1.25))], (0.1,))
    assert "explicit cache, r=0.25, $2 a million tokens: $0.0030, sent $0.0015" in marks


def test_what_is_no_money_is_said() -> None:
    assert "prices not known" in text([session(terms=TERMS._replace(input=None))], (0.1,))
    told = text([session(terms=TERMS._replace(quota=True))], (0.1,))
    assert "its plan counts prompts, so fewer tokens save no money" in told
    assert "$" not in told


def test_several_sessions_are_added_up() -> None:
    lines = text([session("one"), session("two")], (0.1,)).splitlines()
    row = lines.index("all 2 sessions: 4 requests")
    assert lines[row + 2].split()[:3] == ["client", "0", "4,000"]


NOTED = {"n": 4, **{f"note {number}": 1 for number in range(6)}}


def test_remarks_say_what_the_figures_leave_out() -> None:
    told = text([replace(session(), switches=3, recorded_edited=True, ended=("too long",) * 2, notes=NOTED)], (0.1,))
    for sentence in ("3 times to another model", "log.upstream.received", "2 requests answered by the proxy: too long",
                     "4 times: n", "and 2 other notes"):  # fmt: skip
        assert sentence in told


def test_two_chains_stand_side_by_side() -> None:
    told = comparison(["old.toml", "new.toml"], [[session()], [session(sent=0)]], (0.1,))
    rows = {line.split()[0]: line.split() for line in told.splitlines() if line.strip()}
    assert rows["old.toml"][2:6] == ["1,000", "50.0", "50.0", "0.500"]
    assert rows["new.toml"][2:6] == ["500", "75.0", "0.0", "0.455"]
    assert rows["second"][3] == "0.909"


def test_programs_get_all_of_it() -> None:
    told = data([session(terms=TERMS)], (0.1,))
    (found,) = told["sessions"]
    assert found["dollars"] == {"client": 0.0025, "sent": 0.00125}
    assert [stage["stage"] for stage in found["stages"]] == ["client", "trim", "log"]
    assert found["stages"][1]["saved"] == pytest.approx(0.5)
    assert found["stages"][1]["implicit"]["cost"] == {"0.1": {"fresh_tokens": 550.0, "of_client": 0.5}}
    assert found["stages"][1]["marks"]["cached"] == 0.5
    assert told["total"] == found["stages"]
    assert data([], (0.1,)) == {"sessions": [], "total": []}
