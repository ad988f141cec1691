"""A folder of its own for each test, and small stages installed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fake_stages import STAGES, install
from trimtab.config import Config, load
from trimtab.errors import ConfigError

Loader = Callable[..., Config]
Failing = Callable[..., tuple[str, ...]]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return install(monkeypatch, **STAGES)


@pytest.fixture
def read(here: Path) -> Loader:
    """Read a text as ./pipelines.toml, with an environment; a chain of `plain` unless the text has one."""

    def reading(text: str = "", **environ: str) -> Config:
        chain = "" if "[pipeline" in text else '[pipeline.default]\nstages = ["plain"]\n'
        (here / "pipelines.toml").write_text(chain + text)
        return load(environ=environ)

    return reading


@pytest.fixture
def problems(read: Loader) -> Failing:
    """The problems of a text that cannot work."""

    def failing(text: str = "", **environ: str) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            read(text, **environ)
        return caught.value.problems

    return failing
