"""What the demo starts with, and how it refuses."""

from argparse import Namespace
from pathlib import Path

import pytest

from trimtab.config.document import PACKAGED
from trimtab.demo import run
from trimtab.demo.show import configuration


def test_it_takes_the_defaults_whatever_lies_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, folder = tmp_path / "here", tmp_path / "demo"
    here.mkdir()
    folder.mkdir()
    (here / "pipelines.toml").write_text("broken")
    (here / ".env").write_text("PORT=1\n")
    monkeypatch.chdir(here)
    monkeypatch.setenv("TRIMTAB_PIPELINES", str(here / "pipelines.toml"))
    config = configuration(str(folder), 1234)
    assert config.path == PACKAGED
    assert config.serve.port == 5000
    assert {row.base_url for row in config.models.upstreams.values()} >= {"http://127.0.0.1:1234"}
    assert config.store.path == str(folder / "cache")
    assert Path.cwd() == here


def test_a_session_needs_a_turn(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(Namespace(turns=0, port=0))
    assert stopped.value.code == 1
    assert "--turns" in capsys.readouterr().err
