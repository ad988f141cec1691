"""The demo as a user sees it: real servers, a real client, a table."""

import re
from argparse import Namespace
from typing import NamedTuple

import msgspec
import pytest

from trimtab.config import Config
from trimtab.demo import run, show
from trimtab.demo.show import configuration
from trimtab.server import listen


class Line(NamedTuple):
    """A line of the table."""

    turn: int
    direct: int
    proxied: int
    saved: int
    cached: tuple[int, int]
    costs: tuple[float, float]
    risk: str


def lines(text: str) -> list[Line]:
    rows = [line.replace(",", "").split() for line in text.splitlines() if re.match(r" +\d+ +[\d,]+ ", line)]
    return [_line(*cells[:9]) for cells in rows]


def _line(turn: str, direct: str, proxied: str, saved: str, *rest: str) -> Line:
    cached, costs = (int(rest[0]), int(rest[1])), (float(rest[2]), float(rest[3]))
    return Line(int(turn), int(direct), int(proxied), int(saved), cached, costs, rest[4])


def test_a_short_session(capsys: pytest.CaptureFixture[str]) -> None:
    run(Namespace(turns=3, port=0))
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 100
    found = lines(out)
    assert [line.turn for line in found] == [1, 2, 3] * 2
    assert {line.risk for line in found} == {"SAFE"}
    for line in found:
        assert line.saved == line.direct - line.proxied
        if line.turn == 1:
            assert (line.saved, line.cached) == (0, (0, 0))
        else:
            assert line.saved > 0
            assert min(line.cached) > 0
            assert line.costs[1] < line.costs[0]
    assert sum(line.startswith("3 turns:") for line in out.splitlines()) == 2
    assert "translated to the Anthropic upstream and back" in out
    assert "ANTHROPIC_BASE_URL" in out


def test_nothing_but_edits_saves(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without env-dedup both ways cost the same to the token; translated, but for what frames the other form."""

    def unedited(folder: str, upstream: int) -> Config:
        config = configuration(folder, upstream)
        stages = tuple(name for name in config.pipelines["default"] if name != "env-dedup")
        return msgspec.structs.replace(config, pipelines={"default": stages})

    monkeypatch.setattr(show, "configuration", unedited)
    run(Namespace(turns=3, port=0))
    found = lines(capsys.readouterr().out)
    assert [line.saved for line in found[:3]] == [0] * 3
    assert all(line.cached[0] == line.cached[1] and line.costs[0] == line.costs[1] for line in found[:3])
    assert all(abs(line.saved) <= 2 * line.turn for line in found[3:])


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as stopped:
            run(Namespace(turns=1, port=port))
    assert stopped.value.code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
