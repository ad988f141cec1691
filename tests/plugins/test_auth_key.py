"""The client key that a proxy makes for itself when strangers can reach it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from trimtab.api import ConfigError, Credentials, Model, ModelTable, Refused, Upstream
from trimtab.testing import StageBench
from trimtab_stages.auth import Auth, AuthOptions

pytestmark = pytest.mark.anyio

BODY = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
SERVER, OWN, CLIENT = "sk-server-secret", "sk-own-secret", "ck-client-secret"
HOME, AWAY = "127.0.0.1", "203.0.113.9"


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def models(key: str | None = None) -> ModelTable:
    return ModelTable({"a": Upstream(dialect="chat", base_url="http://a.test", key=key)}, {"small": Model()})


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="TRACE", format="{level} {message} {extra}")
    yield lines
    logger.remove(sink)


async def let_in(bench: StageBench, **request: Any) -> Credentials:
    exchange = bench.exchange(BODY, **request)
    await bench.request(exchange)
    found = exchange.get(Credentials)
    assert found is not None
    return found


async def refusal(bench: StageBench, **request: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await let_in(bench, **request)
    return caught.value


def public(folder: Path, **options: Any) -> StageBench:
    stage = Auth(AuthOptions(server_key=SERVER, **options))
    return StageBench(stage, models=models(), directory=str(folder), loopback=False)


async def test_a_public_proxy_makes_one_client_key(tmp_path: Path, said: list[str]) -> None:
    folder = tmp_path / "cache"
    async with public(folder) as bench:
        path = folder / "client-key"
        key = path.read_text().strip()
        assert key.startswith("tt-")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert [line for line in said if key in line] == said[:1]
        found = await let_in(bench, headers=bearer(key), peer=AWAY)
        assert (found.key, found.lent) == (SERVER, True)
        for headers in ({}, bearer(OWN), {"x-upstream-key": OWN}):
            for peer in (AWAY, HOME):
                error = await refusal(bench, headers=headers, peer=peer)
                assert str(path) in error.message
                assert "auth.open" in error.message
                assert key not in error.message
    assert os.listdir(folder) == ["client-key"]


async def test_a_trial_makes_no_key(tmp_path: Path, said: list[str]) -> None:
    stage = Auth(AuthOptions(server_key=SERVER))
    async with StageBench(stage, models=models(), directory=str(tmp_path / "cache"), loopback=False, dry=True):
        pass
    assert (os.listdir(tmp_path), said) == ([], [])


async def test_the_made_key_is_used_again_and_not_shown_again(tmp_path: Path, said: list[str]) -> None:
    async with public(tmp_path):
        pass
    key = (tmp_path / "client-key").read_text().strip()
    (tmp_path / "client-key").chmod(0o644)
    said.clear()
    async with public(tmp_path) as bench:
        assert (await let_in(bench, headers={"x-api-key": key}, peer=AWAY)).key == SERVER
    assert said == []
    assert stat.S_IMODE((tmp_path / "client-key").stat().st_mode) == 0o600


@pytest.mark.parametrize("options", [{"open": True}, {"client_keys": (CLIENT,)}])
async def test_no_key_is_made_where_none_is_wanted(options: dict[str, Any], tmp_path: Path) -> None:
    async with public(tmp_path, **options):
        assert os.listdir(tmp_path) == []


async def test_a_public_proxy_without_a_server_key_has_nothing_to_guard(tmp_path: Path) -> None:
    async with StageBench(Auth(AuthOptions()), models=models(), directory=str(tmp_path), loopback=False) as bench:
        assert (await let_in(bench, headers=bearer(OWN), peer=AWAY)).key == OWN
    assert os.listdir(tmp_path) == []


async def test_another_worker_may_be_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    (tmp_path / "client-key").write_text("tt-made-by-the-other-worker\n")
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    async with public(tmp_path) as bench:
        assert (await let_in(bench, headers=bearer("tt-made-by-the-other-worker"), peer=AWAY)).key == SERVER
    assert said == []
    assert os.listdir(tmp_path) == ["client-key"]


async def test_a_file_system_without_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, target: str) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    async with public(tmp_path):
        assert os.listdir(tmp_path) == ["client-key"]


async def test_a_key_that_cannot_be_kept_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="make the folder writable"):
        await public(tmp_path / "file").__aenter__()
    (tmp_path / "client-key").write_text("")
    with pytest.raises(ConfigError, match="delete the file"):
        await public(tmp_path).__aenter__()
