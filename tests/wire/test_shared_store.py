"""Processes that share a store: the same bytes from each, and after a restart; a lost store costs one epoch."""

import asyncio
import shutil
import stat
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from condensing import requests, session
from wire.harness import PIPELINES, post
from wire.scripted import REPLIES, Link, Sent, Upstream, playing
from wire.test_command import Command, command

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="signals end it"),
]
WINDOW = """
[model.small]
window = 7_000
max-output = 1_000
upstreams = { messages = "zai-messages" }
[stage.env-dedup]
strategy = "merge"
"""
KEY = {"x-api-key": "sk-own"}
CACHED = REPLIES["/messages"].replace(b'"input_tokens":3', b'"input_tokens":3,"cache_read_input_tokens":9000')
"""The provider's cache has what was predicted: else no epoch would be made but to fit."""
TURNS = 30


def turns() -> list[bytes]:
    """The bodies of a session that outgrows the window at about a third of its way, with blocks of an environment."""
    made = session(TURNS, "messages", size=1_400)
    for number, message in enumerate(made):
        if message["role"] == "user" and number:
            state = f"# Current Time\n{number}\n\n# Recently Modified Files\nsrc/file{number}.py"
            block = f"<environment_details>\n{state}\n</environment_details>"
            message["content"] = [*message["content"], {"type": "text", "text": block}]
    return [
        msgspec.json.encode({"model": "small", "max_tokens": 500, "messages": messages}) for messages in requests(made)
    ]


async def ask(proxy: Command, body: bytes) -> str:
    """What the proxy says of its edit."""
    answer = await post(proxy.url, "/v1/messages", body, KEY)
    assert answer.status == 200, answer.body
    return answer.headers.get("x-trimtab-condensed", "")


def broken(before: bytes, after: bytes) -> bool:
    """Whether what had been sent changed, before the last turn of the request before."""
    one, other = (msgspec.json.decode(body)["messages"] for body in (before, after))
    said: Any = one[
        : max((index + 1 for index, message in enumerate(one) if message["role"] == "assistant"), default=0)
    ]
    return bool(other[: len(said)] != said)


async def answer(_: Sent, link: Link) -> None:
    await link.json(CACHED)


async def test_two_processes_a_restart_and_a_lost_store(tmp_path: Path) -> None:
    (tmp_path / "pipelines.toml").write_text(PIPELINES + WINDOW)
    bodies = turns()

    async with playing(answer) as upstream:
        environ = {
            "UPSTREAM_BASE": upstream.url, "OPENAI_UPSTREAM_BASE": f"{upstream.url}/v1",
            "CACHE_DIR": str(tmp_path / "cache"),
        }  # fmt: skip
        async with command(tmp_path, environ=environ) as one, command(tmp_path, environ=environ) as two:
            edits = [await _both(upstream, one, two, body) for body in bodies[:-5]]
            assert sum("smart_truncation" in told for told in edits) > 5, "epochs of condense"
            assert b"# Earlier events" in upstream.sent[-1].body, "and of merge"
            assert "Traceback" not in await one.end()
            async with command(tmp_path, environ=environ) as restarted:
                for body in bodies[-5:-3]:
                    assert await _both(upstream, restarted, two, body)
                assert "Traceback" not in await restarted.end()
            last = upstream.sent[-1].body
            kept = await _breaks(upstream, two, last, bodies[-3:])
            assert "Traceback" not in await two.end()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "cache").rglob("*")}
        assert modes["cache.db"] == 0o600
        assert {name: mode for name, mode in modes.items() if mode & 0o077} == {}, "files for this user alone"
        shutil.rmtree(tmp_path / "cache")
        async with command(tmp_path, environ=environ) as alone:
            lost = await _breaks(upstream, alone, last, bodies[-3:])
            assert "Traceback" not in await alone.end()
        assert lost <= kept + 1


async def _breaks(upstream: Upstream, proxy: Command, last: bytes, bodies: Sequence[bytes]) -> int:
    """How often a process changes what has been sent, `last` before all."""
    sent = [last]
    for body in bodies:
        await ask(proxy, body)
        sent.append(upstream.sent[-1].body)
    return sum(broken(before, after) for before, after in pairwise(sent))


async def _both(upstream: Upstream, one: Command, two: Command, body: bytes) -> str:
    """What both say, asked at the same time; what they send is the same."""
    told = await asyncio.gather(ask(one, body), ask(two, body))
    assert upstream.sent[-1].body == upstream.sent[-2].body
    assert told[0] == told[1]
    return told[0]
