"""Attempts against an upstream with a script: what is waited for, counted and booked. The clock stands still."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from asgi import NOWHERE, running
from trimtab.events import Usage
from trimtab.exchange import Exchange
from trimtab.hookspecs import Stage, StageOptions, hookimpl
from wire.scripted import REPLIES, Link, Script, Sent, playing

pytestmark = pytest.mark.anyio

BODIES = {
    "/v1/chat/completions": b'{"model":"gpt-x","messages":[{"role":"user","content":"hi"}]}',
    "/v1/messages": b'{"model":"claude-x","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}',
}
PATHS = list(BODIES)
BUSY = dict(zip(PATHS, (503, 529), strict=True))
"""How each dialect says so."""
SDK = {"x-stainless-retry-count": "0"}
OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}'


class Keeping(Stage[StageOptions]):
    """Keeps the exchanges that are over."""

    name = "keeping"

    def __init__(self, options: StageOptions, label: str | None = None) -> None:
        super().__init__(options, label)
        self.over: list[Exchange] = []

    @hookimpl
    def done(self, exchange: Exchange) -> None:
        self.over.append(exchange)


def over(proxy: Any) -> Exchange:
    exchange = proxy.runtime.current.stages["keeping"].over[-1]
    assert isinstance(exchange, Exchange)
    return exchange


def failing(times: int, fail: Callable[[Link], Any]) -> Script:
    """A script that fails so often, and then answers."""
    left = [times]

    async def script(sent: Sent, link: Link) -> None:
        left[0] -= 1
        if left[0] >= 0:
            await fail(link)
        else:
            await link.json(next(body for end, body in REPLIES.items() if sent.path.endswith(end)))

    return script


async def overloaded(link: Link) -> None:
    await link.json(OVERLOADED, "529 Overloaded")


async def resets(link: Link) -> None:
    link.abort()


@pytest.mark.parametrize("path", PATHS)
async def test_an_overloaded_upstream_is_asked_again_after_a_while(path: str) -> None:
    async with playing(failing(2, overloaded)) as upstream, running(upstream.url, Keeping) as proxy:
        proxy.runtime.chance = lambda: 0.0
        answer = await proxy.post(path, BODIES[path])
        outcome, counted = over(proxy).outcome, proxy.runtime.counters.snapshot()
        assert (answer.status, len(upstream.sent)) == (200, 3)
        assert proxy.runtime.clock.monotonic() == 1.5
        assert len({sent.body for sent in upstream.sent}) == 1
    assert (outcome.attempts, outcome.retried, outcome.backoff_s) == (3, ["overloaded", "overloaded"], 1.5)
    assert (outcome.usage, outcome.error, counted["retries.overloaded"]) == (Usage(input=3, output=1), None, 2)
    assert "retry;dur=1500.00" in answer.headers["server-timing"]


@pytest.mark.parametrize("path", PATHS)
async def test_the_last_failure_is_told(path: str) -> None:
    async with playing(failing(9, overloaded)) as upstream, running(upstream.url, Keeping) as proxy:
        answer = await proxy.post(path, BODIES[path])
        assert (len(upstream.sent), over(proxy).outcome.attempts) == (3, 3)
        assert proxy.runtime.counters.snapshot()["failed.overloaded"] == 1
    assert (answer.status, answer.message, answer.headers["retry-after"]) == (BUSY[path], "busy", "5")


@pytest.mark.parametrize("path", PATHS)
async def test_a_client_that_tries_again_by_itself_is_told_at_once(path: str) -> None:
    async with playing(failing(9, overloaded)) as upstream, running(upstream.url, Keeping) as proxy:
        answer = await proxy.post(path, BODIES[path], SDK)
        assert (len(upstream.sent), proxy.runtime.clock.monotonic()) == (1, 0.0)
    assert (answer.status, answer.headers["retry-after"]) == (BUSY[path], "5")


@pytest.mark.parametrize("path", PATHS)
async def test_a_connection_is_tried_once_more_for_every_client(path: str) -> None:
    async with playing(failing(1, resets)) as upstream, running(upstream.url, Keeping) as proxy:
        answer = await proxy.post(path, BODIES[path], SDK)
        assert (answer.status, len(upstream.sent), proxy.runtime.clock.monotonic()) == (200, 2, 0.0)
    async with playing(failing(9, resets)) as upstream, running(upstream.url, Keeping) as proxy:
        answer = await proxy.post(path, BODIES[path], SDK)
        assert (answer.status >= 500, len(upstream.sent)) == (True, 2)


async def test_the_time_that_the_upstream_names_is_waited_for() -> None:
    async def asks(link: Link) -> None:
        await link.json(b"{}", "429 Too Many Requests", extra="retry-after: 12\r\n")

    async with playing(failing(1, asks)) as upstream, running(upstream.url) as proxy:
        proxy.runtime.chance = lambda: 0.0
        assert (await proxy.post("/v1/messages", BODIES["/v1/messages"])).status == 200
        assert proxy.runtime.clock.monotonic() == 12.0


async def test_who_is_to_wait_longer_than_we_do_is_told() -> None:
    async def asks(link: Link) -> None:
        await link.json(b"{}", "429 Too Many Requests", extra="retry-after: 120\r\n")

    async with playing(failing(1, asks)) as upstream, running(upstream.url) as proxy:
        answer = await proxy.post("/v1/messages", BODIES["/v1/messages"])
        assert (answer.status, answer.headers["retry-after"], len(upstream.sent)) == (429, "120", 1)


async def test_all_requests_together_have_a_budget() -> None:
    async with playing(failing(999, overloaded)) as upstream, running(upstream.url) as proxy:
        for _ in range(50):
            await proxy.post("/v1/messages", BODIES["/v1/messages"])
        assert len(upstream.sent) <= 50 + 10 + 5


async def test_a_client_that_leaves_while_it_waits_ends_it_all() -> None:
    waits, leaves = asyncio.Event(), asyncio.Event()

    async with playing(failing(9, overloaded)) as upstream, running(upstream.url, Keeping) as proxy:

        async def sleep(seconds: float) -> None:
            leaves.set()
            await waits.wait()

        proxy.runtime.clock.sleep = sleep  # type: ignore[method-assign]  # a fake
        answer = await proxy.post("/v1/messages", BODIES["/v1/messages"], hang_up_after=leaves)
        assert (answer.messages, len(upstream.sent)) == ([], 1)
        assert (over(proxy).outcome.client_gone, over(proxy).outcome.error) == (True, None)
        assert proxy.runtime.forwarder.state("text")["open"] == 0


async def test_nobody_there_is_tried_three_times() -> None:
    async with running(NOWHERE, Keeping) as proxy:
        answer = await proxy.post("/v1/messages", BODIES["/v1/messages"])
        assert (answer.status, over(proxy).outcome.retried) == (500, ["connect", "connect"])
