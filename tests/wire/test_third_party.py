"""A wheel of somebody else's stages: built, installed, reordered and disabled by editing a TOML."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from wire.harness import post, proxying
from wire.scripted import playing

pytestmark = pytest.mark.anyio

SOURCE = Path(__file__).parent / "thirdparty"
BODY = b'{"model":"glm-4.6-openai", "messages":[{"role":"user","content":"0123456789", "name":"u"}], "x":1}'
TABLES = '[stage.detour]\nmodel = "glm-4.5"\n[stage.shorten]\nlimit = 4\n[stage.route]\nthinking = false\n'


def chain(*stages: str) -> str:
    """A pipelines.toml with these stages."""
    return f"[pipeline.default]\nstages = [{', '.join(repr(stage) for stage in stages)}]\n{TABLES}"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed into it."""
    folder = tmp_path_factory.mktemp("thirdparty")
    source = folder / "source"
    source.mkdir()
    for file in SOURCE.iterdir():
        if file.is_file():
            (source / file.name).write_bytes(file.read_bytes())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run([*pip, *build], check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    target = folder / "site"
    install = ["install", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run([*pip, *install], check=True, capture_output=True)
    return target


@pytest.fixture
def site(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder on the import path."""
    monkeypatch.syspath_prepend(str(installed))
    return installed


async def test_a_router_is_obeyed_and_an_editor_edits_in_place(tmp_path: Path, site: Path) -> None:
    text = chain("auth", "detour", "shorten", "token-count", "route", "log")
    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=text) as proxy:
        assert (await post(proxy.url, "/v1/chat/completions", BODY)).status == 200
        expected = BODY.replace(b"glm-4.6-openai", b"glm-4.5").replace(b"0123456789", b"0123")
        assert upstream.sent[0].body == expected


async def test_it_is_reordered_and_disabled_by_editing_the_file(tmp_path: Path, site: Path) -> None:
    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=chain("shorten", "route")) as proxy:
        for stages in (("route", "shorten"), ("detour", "route", "shorten"), ("route",), ("detour",)):
            proxy.path.write_text(chain(*stages))
            assert await proxy.runtime.reload()
            await post(proxy.url, "/v1/chat/completions", BODY)
        bodies = [msgspec.json.decode(sent.body) for sent in upstream.sent]
        assert [body["model"] for body in bodies] == ["glm-4.6", "glm-4.5", "glm-4.6", "glm-4.5"]
        assert [body["messages"][0]["content"] for body in bodies] == ["0123", "0123", "0123456789", "0123456789"]


async def test_without_any_stage_the_bytes_pass(tmp_path: Path) -> None:
    empty = '[pipeline.default]\nstages = ["log"]\n'
    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=empty) as proxy:
        body = BODY.replace(b"glm-4.6-openai", b"somebody's")
        assert (await post(proxy.url, "/v1/chat/completions", body)).status == 200
        assert upstream.sent[0].body == body


def test_check_shows_it_in_a_fresh_process(tmp_path: Path, installed: Path) -> None:
    path = tmp_path / "pipelines.toml"
    path.write_text(chain("auth", "detour", "route"))
    result = check(path, installed)
    assert result.returncode == 0, result.stderr
    assert "detour" in result.stdout
    path.write_text(chain("auth", "detor", "route"))
    result = check(path, installed)
    assert result.returncode == 2
    assert "did you mean 'detour'?" in result.stderr


def check(path: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """`trimtab check` with the folder on its import path."""
    command = [sys.executable, "-m", "trimtab", "check", "--config", str(path)]
    return subprocess.run(
        command, capture_output=True, text=True, env={"PYTHONPATH": str(site)}, cwd=path.parent, check=False
    )
