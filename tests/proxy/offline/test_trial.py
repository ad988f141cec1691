"""What `trimtab check` finds out by a trial."""

import os
from pathlib import Path

import pytest
from loguru import logger
from msgspec.structs import replace

from offline_stages import configured
from trimtab.api import Services, Stage, StageOptions, hookimpl
from trimtab.check import report
from trimtab.config import load
from trimtab.errors import ConfigError
from trimtab.offline.trial import check

OWN = '[upstream.local]\ndialect = "chat"\nbase-url = "http://127.0.0.1:8080"\n'


def test_a_stage_that_cannot_start_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stage 'broken' cannot start: RuntimeError: no disk"):
        check(configured(monkeypatch, tmp_path, "cut", "broken"))


def test_what_a_stage_warns_of_is_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Warns(Stage[StageOptions]):
        name = "cut"

        @hookimpl
        async def start(self, services: Services) -> None:
            logger.warning("an option has no effect")

    config = configured(monkeypatch, tmp_path, "cut")
    config = replace(config, stages={"cut": replace(config.stages["cut"], cls=Warns)})
    found = check(config)
    assert found.said == ("an option has no effect",)
    assert "notes\n  - an option has no effect\n" in report(config, said=found.said)


def test_it_says_where_each_model_goes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelines.toml").write_text('[pipeline.default]\nstages = ["route"]\n' + OWN + "[model.mine]\n")
    config = load(environ={})
    places = check(config).places
    assert places["mine"] == ("local", "local")
    assert places["glm-4.6"] == ("zai-messages", "zai-chat as glm-4.6v")
    assert places["auto"] == ("zai-messages as glm-4.6", "zai-chat as glm-4.6v")
    rows = [line.split() for line in report(config, places=places).splitlines()]
    assert ["mine", "-", "local", "local", "models.toml"] in rows
    assert ["glm-4.6v", "131,072", "zai-chat", "zai-chat", "models.toml"] in rows


def test_dialects_that_part_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    more = OWN + '[upstream.other]\ndialect = "messages"\nbase-url = "http://127.0.0.1:8081"\n[model.mine]\n'
    places = check(configured(monkeypatch, tmp_path, "cut", more=more)).places
    assert places["mine"] == ("chat: local, messages: other",) * 2


def test_it_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    check(load(environ={"SERVER_API_KEY": "sk-secret", "HOST": "0.0.0.0"}))
    assert os.listdir(tmp_path) == []
