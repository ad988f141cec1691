"""A conversation that was never seen goes on while it is counted, where the count cannot matter."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trimtab import tokens
from trimtab.tokens import Tokenizer
from wire.harness import Answer, post, proxying
from wire.scripted import Link, Sent, plain, playing

pytestmark = pytest.mark.anyio
PATIENCE = 20.0


class Gated(Tokenizer):
    """A token a letter; in threads it loads and counts when the gate is open."""

    def __init__(self, *, cold: bool) -> None:
        super().__init__("cl100k_base", None if cold else len)  # type: ignore[arg-type]  # only whether it is there
        self.gate, self.waiting = threading.Event(), threading.Event()

    def _wait(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            self.waiting.set()
            assert self.gate.wait(PATIENCE)

    def load(self) -> None:
        self._wait()

    def claim(self) -> None:
        pass

    def count(self, text: str, *, beside: bool = False) -> int:
        self._wait()
        return len(text)


@pytest.fixture(params=[True, False], ids=["cold", "warm"])
def gated(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gated]:
    made = Gated(cold=request.param)
    monkeypatch.setitem(tokens._tokenizers, "cl100k_base", made)
    yield made
    made.gate.set()


def body(size: int) -> bytes:
    said = [{"role": "user", "content": "a" * size}]
    return json.dumps({"model": "glm-4.6", "max_tokens": 64, "stream": False, "messages": said}).encode()


def used(answer: Answer) -> int:
    assert answer.status == 200
    return int(answer.headers["x-context-used"])


@pytest.mark.parametrize("gated", [True], indirect=True)
async def test_the_first_request_is_answered_before_the_table_is_there(gated: Gated, tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE), playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        first = await post(proxy.url, "/v1/messages", body(400))
        assert first.headers["x-context-estimated"] == "true"
        assert 100 <= used(first) < 150
        gated.gate.set()
        again = await post(proxy.url, "/v1/messages", body(400_000))
        assert "x-context-estimated" not in again.headers
        second = await post(proxy.url, "/v1/messages", body(400))
        assert 400 < used(second) < 420
        assert "x-context-estimated" not in second.headers


@pytest.mark.parametrize("gated", [False], indirect=True)
async def test_a_large_one_is_sent_at_once_and_its_answer_tells_the_count(gated: Gated, tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE), playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        asking = asyncio.create_task(post(proxy.url, "/v1/messages", body(60_000)))
        await upstream.received(1)
        gated.gate.set()
        answer = await asking
    assert 60_000 < used(answer) < 60_020
    assert "x-context-estimated" not in answer.headers


async def test_one_that_may_not_fit_waits_for_its_count(gated: Gated, tmp_path: Path) -> None:
    opened: list[bool] = []

    async def script(sent: Sent, link: Link) -> None:
        opened.append(gated.gate.is_set())
        await plain(sent, link)

    async with asyncio.timeout(PATIENCE), playing(script) as upstream, proxying(tmp_path, upstream.url) as proxy:
        asking = asyncio.create_task(post(proxy.url, "/v1/messages", body(120_000)))
        assert await asyncio.to_thread(gated.waiting.wait, PATIENCE)
        for _ in range(200):
            await asyncio.sleep(0)
        assert not opened
        gated.gate.set()
        assert 120_000 < used(await asking) < 120_020
    assert opened == [True]
