"""docs/tutorial-stage.md shows the files of `example`, and they work: built, installed, tested, put into a pipeline."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.pages import ROOT, blocks

PAGE = "tutorial-stage.md"
EXAMPLE = Path(__file__).parent / "example"
FILES = ("pyproject.toml", "trimtab_clip.py", "test_clip.py", "pipelines.toml")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example's wheel installed into it."""
    folder = tmp_path_factory.mktemp("example")
    source = folder / "source"
    source.mkdir()
    for file in FILES:
        (source / file).write_bytes((EXAMPLE / file).read_bytes())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)], folder)
    [wheel] = folder.glob("*.whl")
    run([*pip, "install", "--no-deps", "--no-index", "--target", str(folder / "site"), str(wheel)], folder)
    (folder / "empty").mkdir()
    return folder


def run(command: list[str], cwd: Path, site: Path | None = None, code: int = 0, **environ: str) -> str:
    """What a command prints; its exit code must be `code`."""
    path = {"PYTHONPATH": str(site)} if site is not None else {}
    clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(command, cwd=cwd, env=clean | path | environ, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_page_shows_the_files_as_they_stand() -> None:
    files = {file: (EXAMPLE / file).read_text("utf-8") for file in FILES}
    shown = [*blocks(PAGE, "toml"), *blocks(PAGE, "python")]
    assert [block for block in shown if not any(block in text for text in files.values())] == []
    whole = "".join(shown)
    for file, text in files.items():
        body = text.split("\n", 1)[1] if text.startswith("# mypy") else text
        assert body in whole, f"the page does not show all of {file}"


def test_every_command_of_the_page_is_one_of_ours() -> None:
    lines = [line for block in blocks(PAGE, "sh") for line in block.splitlines()]
    known = ("pip install ", "pytest", "trimtab ")
    assert [line for line in lines if not line.startswith(known)] == []


def test_the_examples_own_test_passes(installed: Path) -> None:
    source, empty = installed / "source" / "test_clip.py", installed / "empty"
    (empty / source.name).write_bytes(source.read_bytes())
    pytest_here = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(empty)]
    told = run([*pytest_here, source.name], empty, installed / "site")
    assert "3 passed" in told


def test_check_prints_what_the_page_shows(installed: Path) -> None:
    command = [sys.executable, "-m", "trimtab", "check", "--config", "pipelines.toml"]
    told = re.sub(r"sha256 \w+", "sha256 ...", run(command, installed / "source", installed / "site"))
    shown = blocks(PAGE, "text")
    assert shown
    assert [block for block in shown if block not in told] == []


def test_the_environment_switches_it_off(installed: Path) -> None:
    command = [sys.executable, "-m", "trimtab", "check", "--config", "pipelines.toml"]
    told = run(command, installed / "source", installed / "site", ENABLE_CLIP="false")
    assert ". clip" not in told
    assert "stage 'clip' is out of every pipeline: environment ENABLE_CLIP is false" in " ".join(told.split())


def test_what_cannot_work_is_refused_as_the_page_says(installed: Path, tmp_path: Path) -> None:
    good = (EXAMPLE / "pipelines.toml").read_text("utf-8")
    for wrong, right, remedy in (
        ('"clp"', '"clip"', "did you mean 'clip'?"),
        ("limt", "limit", "did you mean 'limit'?"),
        ("limit = 1\n", "limit = 8_000\n", "limit must be 2 or more"),
    ):
        (tmp_path / "pipelines.toml").write_text(good.replace(right, wrong))
        command = [sys.executable, "-m", "trimtab", "check"]
        assert remedy in run(command, tmp_path, installed / "site", code=2)


def test_the_example_is_no_part_of_the_project() -> None:
    assert "clip" not in (ROOT / "pyproject.toml").read_text("utf-8")
