"""`trimtab serve` as a user starts it: a process in a folder of its own."""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from wire.harness import PATIENCE, exchange, post
from wire.scripted import playing

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="signals end and reload it"),
]

BODY = b'{"model":"claude-x","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'
CHAIN = '[pipeline.default]\nstages = ["auth", "route", "log"]\n'
LISTENS = re.compile(r"trimtab listens on (http://127\.0\.0\.1:\d+)")


async def start(folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> Process:
    """The command in `folder`, with nothing in its environment but what is given."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "PYTHONPATH") if name in os.environ}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "trimtab", "serve", *arguments,
        cwd=folder, env={**kept, **(environ or {})}, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip


async def refused(folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> str:
    """What a command that cannot start says on stderr; it exits with 2 and says nothing else."""
    process = await start(folder, *arguments, environ=environ)
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert b"Traceback" not in err
    return err.decode()


class Command(NamedTuple):
    """The command while it serves."""

    url: str
    process: Process
    lines: list[str]
    """What it has logged, as far as it was read."""

    async def says(self, text: str) -> str:
        """Read its log up to a line with `text`."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            while line := await self.process.stderr.readline():
                self.lines.append(line.decode())
                if text in self.lines[-1]:
                    return self.lines[-1]
        raise AssertionError(f"it ended without saying {text!r}: {''.join(self.lines)}")

    async def end(self) -> str:
        """SIGTERM, and all that it wrote to stderr."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            out, err = await self.process.communicate()
        assert out == b""
        return "".join(self.lines) + err.decode()


@asynccontextmanager
async def command(folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> AsyncIterator[Command]:
    """The command on a free port, killed at the end if it has not ended itself."""
    process = await start(folder, "--port", "0", *arguments, environ=environ)
    running = Command("", process, [])
    try:
        found = LISTENS.search(await running.says("trimtab listens on"))
        assert found is not None
        yield running._replace(url=found[1])
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_it_serves_from_an_empty_folder_and_ends_on_sigterm(tmp_path: Path) -> None:
    secrets = {"SERVER_API_KEY": "sk-server-7", "PROXY_API_KEYS": "tt-client-7", "LOG_LEVEL": "DEBUG"}
    async with playing() as upstream:
        environ = {"UPSTREAM_BASE": upstream.url, "OPENAI_UPSTREAM_BASE": f"{upstream.url}/v1", **secrets}
        async with command(tmp_path, environ=environ) as running:
            answer = await post(running.url, "/v1/messages", BODY, {"x-api-key": "tt-client-7"})
            assert (answer.status, answer.json["content"][0]["text"]) == (200, "ok")
            assert (await post(running.url, "/v1/messages", BODY, {"x-api-key": "tt-wrong-7"})).status == 401
            assert upstream.sent[0].headers["x-api-key"] == "sk-server-7"
            log = await running.end()
            assert running.process.returncode == 0
    assert "Traceback" not in log
    assert "stopped\n" in log
    assert [word for word in ("sk-server-7", "tt-client-7", "tt-wrong-7") if word in log] == []


async def test_sighup_takes_a_changed_file_over_and_keeps_a_good_one(tmp_path: Path) -> None:
    file = tmp_path / "pipelines.toml"
    file.write_text(CHAIN)
    async with command(tmp_path) as running:
        assert (await exchange(running.url, "POST", "/p/second/v1/messages", BODY)).status == 404
        file.write_text(CHAIN + '[pipeline.second]\nstages = ["route"]\n')
        running.process.send_signal(signal.SIGHUP)
        assert "pipelines.toml and .env" in await running.says("reloaded")
        assert (await exchange(running.url, "POST", "/p/second/v1/messages", b"{}")).status == 400
        file.write_text("[pipeline.default]\nstages = 7\n")
        running.process.send_signal(signal.SIGHUP)
        assert "stages" in await running.says("the new pipelines.toml is not used")
        assert (await exchange(running.url, "GET", "/health")).status == 200
        assert "Traceback" not in await running.end()
        assert running.process.returncode == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[pipeline.default\n", "pipelines.toml"),
        ('[pipeline.default]\nstages = ["atuh"]\n', "did you mean 'auth'?"),
        (CHAIN + "[serve]\nprot = 1\n", "unknown option 'prot', did you mean 'port'?"),
    ],
)
async def test_a_broken_file_is_told_and_nothing_starts(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "pipelines.toml").write_text(text)
    assert problem in await refused(tmp_path, "--port", "0")


async def test_an_upstream_of_ones_own_is_no_reason_to_warn(tmp_path: Path) -> None:
    upstream = '[upstream.local]\ndialect = "chat"\nbase-url = "http://127.0.0.1:9"\n'
    (tmp_path / "pipelines.toml").write_text(CHAIN + upstream)
    async with command(tmp_path) as running:
        [told] = [line for line in running.lines if "models without a row go to upstream.local" in line]
        assert "INFO" in told
        assert "WARNING" not in "".join(running.lines)


async def test_keys_that_are_neither_forwarded_nor_there(tmp_path: Path) -> None:
    told = await refused(tmp_path, "--port", "0", environ={"FORWARD_CLIENT_KEY": "false"})
    assert told.count("\n") == 1
    assert "auth" in told


async def test_a_second_one_on_the_same_port(tmp_path: Path) -> None:
    async with command(tmp_path) as running:
        port = running.url.rpartition(":")[2]
        assert f"cannot listen on 127.0.0.1:{port}" in await refused(tmp_path, "--port", port)
        assert (await exchange(running.url, "GET", "/health")).status == 200
