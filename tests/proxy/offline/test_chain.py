"""The chain without a server."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from offline_stages import configured
from trimtab.config import Config
from trimtab.errors import ConfigError
from trimtab.offline.chain import Offline, RunClock, Walk

pytestmark = pytest.mark.anyio

BODY = {"model": "glm-4.6", "messages": [{"role": "user", "content": "said again"}]}


async def walked(config: Config, body: dict[str, Any] | None = None) -> Walk:
    async with Offline(config) as offline:
        return await offline.walk(offline.parse("chat", msgspec.json.encode(body or BODY)))


async def test_each_stage_tells_what_it_did(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    walk = await walked(configured(monkeypatch, tmp_path, "cut", "ask"))
    cut, ask = walk.steps
    assert (cut.stage, [edit.reason for edit in cut.edits], cut.notes) == ("cut", ["said"], ())
    assert cut.before is walk.exchange.received
    assert ask.before is ask.after is cut.after
    assert msgspec.json.decode(walk.sent.render())["messages"][0]["content"] == "said"


async def test_no_model_is_asked_and_who_asks_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    walk = await walked(configured(monkeypatch, tmp_path, "ask"))
    assert walk.steps[0].notes == ("stage 'ask' undone: offline: no model is asked",)
    assert walk.ended is None


async def test_it_says_where_the_request_goes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    walk = await walked(configured(monkeypatch, tmp_path, "cut"), {**BODY, "model": "auto"})
    assert walk.target is not None
    assert (walk.target.upstream.name, walk.target.model.name) == ("zai-messages", "glm-4.6")
    assert walk.sent.model == "glm-4.6"


async def test_nobody_shows_a_key_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    walk = await walked(configured(monkeypatch, tmp_path, "guard", "cut"))
    assert walk.steps[0].notes == ("stage 'guard' refuses: show a key (offline the request goes on)",)
    assert walk.steps[1].edits
    assert walk.target is not None


async def test_another_refusal_is_an_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    walk = await walked(configured(monkeypatch, tmp_path, "full", "cut"))
    assert (walk.ended, walk.target) == ("stage 'full' refuses: too long", None)
    assert [step.stage for step in walk.steps] == ["full"]


async def test_records_are_counted_and_gone_with_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = configured(monkeypatch, tmp_path, "count")
    turn = {"role": "user", "content": "x"}
    body = {**BODY, "messages": [turn, {"role": "assistant", "content": "y"}] * 3}
    assert [(await walked(config, body)).steps[0].records for _ in range(2)] == [1, 1]
    assert os.listdir(tmp_path) == ["pipelines.toml"]


async def test_a_pipeline_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no pipeline 'fast' \(known: default\)"):
        Offline(configured(monkeypatch, tmp_path, "cut"), "fast")


def test_the_clock_shows_what_it_is_told_and_never_goes_back() -> None:
    clock = RunClock()
    begun = clock.now()
    clock.to(begun + 5)
    clock.to(begun)
    assert (clock.now(), clock.monotonic()) == (begun + 5, 5)
