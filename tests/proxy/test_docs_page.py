"""The page at /docs."""

import json
import re
from html import unescape
from pathlib import Path

import pytest

from asgi import running
from trimtab.config import Config, load
from trimtab.docs_page import page
from trimtab.openapi import document

TEXT = """
[pipeline.default]
stages = ["auth", "route", "log-quiet"]
[pipeline.second]
stages = ["route"]
[stage.log-quiet]
use = "log"
[upstream.hidden]
dialect = "chat"
base-url = "http://secret.test"
[stage.route]
text-endpoint = "openai"
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelines.toml").write_text(TEXT)
    return load(environ={})


def test_it_needs_no_network_and_names_every_endpoint(config: Config) -> None:
    text = page(config, "proxy.test")
    assert text.startswith("<!doctype html>")
    assert re.findall(r"<script|<link|<img|@import|url\(|(?:src|href)=\"(?!/)", text) == []
    for path in document()["paths"]:
        assert f"<code>{path}</code>" in text


def test_examples_can_be_pasted(config: Config) -> None:
    blocks = [unescape(block) for block in re.findall(r"<pre>(.*?)</pre>", page(config, "proxy.test:5000"), re.DOTALL)]
    curls = [block for block in blocks if block.startswith("curl ")]
    assert len(curls) >= 3
    for block in curls:
        found = re.search(r"-d '(.*)'", block)
        assert found is not None
        assert json.loads(found.group(1))["model"] in config.models.models
    assert curls[0].startswith("curl http://proxy.test:5000/v1/chat/completions ")


def test_pipelines_show_their_stages_in_order_and_nothing_private(config: Config) -> None:
    text = page(config, "proxy.test")
    assert re.findall(r"<h3>(.*?)</h3>", text) == [
        "default, at <code>/v1</code>", "second, at <code>/p/second/v1</code>"
    ]  # fmt: skip
    assert re.findall(r"<tr><td>(auth|route|log-quiet)</td>", text) == ["auth", "route", "log-quiet", "route"]
    assert "<td>log: Takes what a line needs" in text
    assert "hidden" not in text
    assert "secret" not in text


def test_a_host_cannot_write_into_the_page(config: Config) -> None:
    assert "<b>" not in page(config, "<b>x</b>")


@pytest.mark.anyio
async def test_it_is_served() -> None:
    async with running() as proxy:
        shown = await proxy.get("/docs", {"host": "127.0.0.1:5001"})
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert b"curl http://127.0.0.1:5001/v1/messages" in shown.body
