"""Stages that break while a proxy serves; auth, which never fails open; and a package that is broken."""

from pathlib import Path
from typing import Any

import pytest

from trimtab.config import load
from trimtab.errors import ConfigError
from trimtab.pipeline import Pipeline
from wire.harness import Proxy, exchange, post, proxying
from wire.scripted import playing

pytestmark = pytest.mark.anyio

BODY = b'{"model":"claude-x","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'
CHAIN = '[pipeline.default]\nstages = ["auth", "token-count", "route", "log"]\n[core]\nstage-failures = 2\n'


def sabotage(proxy: Proxy, name: str, call: Any) -> None:
    """Put another `request` in the place of a running stage's."""
    pipelines = proxy.runtime.current.pipelines
    old = pipelines["default"]
    hooks = tuple(bound._replace(call=call) if bound.stage.name == name else bound for bound in old.chain.request)
    pipelines["default"] = Pipeline(old.name, old.chain._replace(request=hooks), old.services, old.guard)


async def test_a_broken_stage_is_left_out_and_health_says_so(tmp_path: Path, logged: list[str]) -> None:
    async def breaks(exchange: Any) -> None:
        raise RuntimeError("no")

    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=CHAIN) as proxy:
        sabotage(proxy, "token-count", breaks)
        for _ in range(3):
            assert (await post(proxy.url, "/v1/messages", BODY)).status == 200
        assert (await exchange(proxy.url, "GET", "/health")).json == {"status": "ok", "left_out": ["token-count"]}
        verbose = (await exchange(proxy.url, "GET", "/health?verbose=1")).json
        assert verbose["left_out"]["token-count"]["failures"] == 2
        assert verbose["counters"]["stage_bypassed.token-count"] == 1
        assert len([line for line in logged if "is left out for" in line]) == 1


async def test_auth_that_breaks_lets_nobody_in(tmp_path: Path) -> None:
    async def breaks(exchange: Any) -> None:
        raise RuntimeError("no")

    environ = {"PROXY_API_KEYS": "tt-good", "SERVER_API_KEY": "sk-server"}
    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=CHAIN, environ=environ) as proxy:
        sabotage(proxy, "auth", breaks)
        for _ in range(8):
            answer = await post(proxy.url, "/v1/messages", BODY, {"x-api-key": "tt-good"})
            assert (answer.status, answer.json["error"]["type"]) == (500, "api_error")
            assert "stage 'auth' failed: RuntimeError" in answer.json["error"]["message"]
        assert upstream.sent == []


def package(folder: Path, text: str, value: str = "broken_stages:Broken") -> Path:
    """A package on the path whose entry point is `value`, and whose module says `text`."""
    (folder / "broken_stages.py").write_text(text)
    info = folder / "broken_stages-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-stages\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[trimtab]\nbroken = {value}\n")
    return folder


@pytest.mark.parametrize(
    "text", ["raise RuntimeError('no')", "import nowhere_at_all", "this is no Python", "raise SystemExit(3)"]
)
async def test_a_broken_package_stops_nobody_unless_it_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.syspath_prepend(str(package(tmp_path, text)))
    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=CHAIN) as proxy:
        assert (await post(proxy.url, "/v1/messages", BODY)).status == 200
    path = tmp_path / "listed.toml"
    path.write_text('[pipeline.default]\nstages = ["auth", "broken"]\n')
    with pytest.raises(ConfigError, match="stage 'broken' cannot be loaded from broken_stages:Broken"):
        load(path, {})
