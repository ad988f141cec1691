"""The demo as a user sees it: real servers, a real client, a table."""

from argparse import Namespace

import pytest

from trimtab.demo import run
from trimtab.server import listen


def test_a_short_session(capsys: pytest.CaptureFixture[str]) -> None:
    run(Namespace(turns=3, port=0))
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert max(map(len, lines)) <= 100
    turns = [line.split() for line in lines if line.strip()[:1].isdigit() and "turns" not in line]
    assert [turn[0] for turn in turns] == ["1", "2", "3"] * 2
    assert [turn[2] == "0" for turn in turns] == [True, False, False] * 2
    assert all(int(turn[4]) > 0 for turn in turns)
    assert sum(line.startswith("3 turns:") for line in lines) == 2
    assert "ANTHROPIC_BASE_URL" in out


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as stopped:
            run(Namespace(turns=1, port=port))
    assert stopped.value.code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
