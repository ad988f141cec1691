"""What changes while requests are under way: the pipelines, and a log that is full. No request is lost."""

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from trimtab.runtime import LOOK_EVERY
from wire.harness import Answer, post, proxying
from wire.scripted import playing

pytestmark = pytest.mark.anyio

CLIENTS, EACH = 8, 6


def chain(folder: Path, turn: int) -> str:
    """A file that differs from one turn to the next, every fourth one broken."""
    if turn % 4 == 3:
        return "[pipeline.default\n"
    stages = ["auth", "token-count", "route", "log"] if turn % 2 else ["auth", "route", "log"]
    bodies = f'[stage.log.upstream]\nfile = "{folder / "bodies.log"}"\nmax-mb = 0.005\nkeep = 0\n'
    return f"[pipeline.default]\nstages = {json.dumps(stages)}\n{bodies}"


def logged(folder: Path) -> tuple[int, set[str]]:
    """How many files of bodies there are, and the ids of the requests in them, rotated and packed ones too."""
    ids, paths = set(), list(folder.glob("bodies*"))
    for path in paths:
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        ids |= {json.loads(line)["id"] for line in text.splitlines()}
    return len(paths), ids


async def test_reloads_and_full_logs_lose_no_request(tmp_path: Path) -> None:
    done = asyncio.Event()

    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=chain(tmp_path, 0)) as proxy:

        async def client(name: int) -> list[Answer]:
            answers = []
            for turn in range(EACH):
                text = f"client {name} turn {turn} " + "x" * 500
                body = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": text}]}
                headers = {"x-request-id": f"c{name}-t{turn}"}
                answers.append(await post(proxy.url, "/v1/messages", json.dumps(body).encode(), headers))
            return answers

        async def edits() -> int:
            turn = 0
            while not done.is_set():
                turn += 1
                proxy.path.write_text(chain(tmp_path, turn))
                proxy.clock.advance(LOOK_EVERY + 1)
                await proxy.runtime.reload()
                await asyncio.sleep(0)
            return turn

        editor = asyncio.create_task(edits())
        found = await asyncio.gather(*map(client, range(CLIENTS)))
        done.set()
        assert await editor > 1
        counters = proxy.runtime.counters.snapshot()
        await proxy.runtime.settled()
    answers = [answer for answers in found for answer in answers]
    assert [answer.status for answer in answers] == [200] * (CLIENTS * EACH)
    assert counters["reloads"] > 0
    files, ids = logged(tmp_path)
    assert files > 1
    assert {f"c{name}-t{turn}" for name in range(CLIENTS) for turn in range(EACH)} <= ids
