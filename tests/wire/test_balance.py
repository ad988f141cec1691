"""Several targets, keys and places over real sockets: who takes over, who waits, and what the client sees of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from wire.harness import PATIENCE, Proxy, connect, exchange, post, proxying, request
from wire.scripted import REPLIES, SSE, Link, Script, Sent, Upstream, plain, playing

pytestmark = pytest.mark.anyio

STAGES = '[pipeline.default]\nstages = ["auth", "env-dedup", "token-count", "risk-assess", "route", "log"]\n'
BODIES: dict[str, dict[str, Any]] = {
    "/v1/messages": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    "/v1/chat/completions": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
}
PATHS = list(BODIES)


def body(path: str, **members: Any) -> bytes:
    return json.dumps({**BODIES[path], **members}).encode()


async def down(sent: Sent, link: Link) -> None:
    await link.json(b'{"error":{"code":"1234","message":"network error"}}', "500 Internal Server Error")


async def quota(sent: Sent, link: Link) -> None:
    await link.json(b'{"error":{"code":"1308","message":"Usage limit reached"}}', "429 Too Many Requests")


async def malformed(sent: Sent, link: Link) -> None:
    await link.json(b'{"error":{"code":"1210","message":"bad parameter"}}', "400 Bad Request")


@asynccontextmanager
async def two(
    folder: Path, script: Script, more: str = "", second: str = "chat"
) -> AsyncIterator[tuple[Proxy, Upstream, Upstream]]:
    """A proxy before a first upstream (messages) and a second one that takes over."""
    async with playing(script) as first, playing() as other:
        tables = f"""
[upstream.first]
dialect = "messages"
base-url = "{first.url}"
[upstream.second]
dialect = "{second}"
base-url = "{other.url}/v1"
auth = "none"
[model.m]
upstreams = {{ messages = "first" }}
fallbacks = [{{ upstream = "second", model = "other" }}]
"""
        async with proxying(folder, first.url, pipelines=STAGES + tables + more) as proxy:
            yield proxy, first, other


@pytest.mark.parametrize("second", ["chat", "messages"])
@pytest.mark.parametrize("path", PATHS)
async def test_the_next_target_takes_over_in_its_own_dialect(tmp_path: Path, path: str, second: str) -> None:
    async with two(tmp_path, down, second=second) as (proxy, first, other):
        for stream in (False, True):
            answer = await post(proxy.url, path, body(path, stream=stream))
            assert answer.status == 200
            assert b"ok" in answer.body
        assert (len(first.sent), len(other.sent)) == (2, 2)
        sent = json.loads(other.sent[0].body)
        assert (sent["model"], other.sent[0].path.endswith(second.replace("chat", "completions"))) == ("other", True)
        counted = proxy.runtime.counters.snapshot()
        assert (counted["fallbacks.server"], proxy.clock.monotonic()) == (2, 0.0)


@pytest.mark.parametrize(("script", "taken"), [(quota, True), (malformed, False)])
async def test_what_no_retry_helps_may_be_served_elsewhere(tmp_path: Path, script: Script, taken: bool) -> None:
    async with two(tmp_path, script) as (proxy, first, other):
        answer = await post(proxy.url, PATHS[0], body(PATHS[0]), {"x-stainless-retry-count": "0"})
        assert (answer.status == 200, len(first.sent), len(other.sent)) == (taken, 1, int(taken))


async def test_the_classes_are_a_setting(tmp_path: Path) -> None:
    async with two(tmp_path, down, '[retry]\nfallback-on = ["quota"]\nattempts = 1\n') as (proxy, first, other):
        assert (await post(proxy.url, PATHS[0], body(PATHS[0]))).status == 500
        assert (len(first.sent), len(other.sent)) == (1, 0)


async def test_where_both_fail_the_last_failure_is_told(tmp_path: Path) -> None:
    async with two(tmp_path, down) as (proxy, first, other):
        other.script = quota
        answer = await post(proxy.url, PATHS[0], body(PATHS[0]))
        assert (answer.status, answer.json["error"]["type"]) == (429, "rate_limit_error")
        assert (len(first.sent), len(other.sent)) == (1, 1)


async def test_an_upstream_that_failed_often_is_passed_over_and_health_says_so(tmp_path: Path) -> None:
    async with two(tmp_path, down, "[retry]\nbreaker = 3\n") as (proxy, first, other):
        for _ in range(6):
            assert (await post(proxy.url, PATHS[0], body(PATHS[0]))).status == 200
        assert (len(first.sent), len(other.sent)) == (3, 6)
        state = (await exchange(proxy.url, "GET", "/health?verbose=1")).json["upstreams"]
        assert (state["first"]["breaker"], state["second"]["breaker"]) == ("open", "closed")
        proxy.clock.advance(15)
        first.script = plain
        assert (await post(proxy.url, PATHS[0], body(PATHS[0]))).status == 200
        assert len(first.sent) == 4
        state = (await exchange(proxy.url, "GET", "/health?verbose=1")).json["upstreams"]
        assert state["first"]["breaker"] == "closed"


async def test_while_the_probe_still_streams_others_are_served(tmp_path: Path) -> None:
    """Its reply may take minutes; that it has begun is what there was to see."""
    go_on = asyncio.Event()

    async def streams(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        await link.chunk(b'data: {"type":"message_start","message":{"id":"msg_1"}}\n\n')
        await go_on.wait()
        await link.chunk(b'data: {"type":"message_stop"}\n\n')
        await link.chunk(b"")

    path, alone = PATHS[0], STAGES + "[retry]\nbreaker = 2\nattempts = 1\n"
    async with playing(down) as upstream, proxying(tmp_path, upstream.url, pipelines=alone) as proxy:
        asks = body(path, model="claude-x")
        assert [(await post(proxy.url, path, asks)).status for _ in range(3)] == [500, 500, 529]
        proxy.clock.advance(15)
        upstream.script = streams
        reader, writer = await connect(proxy.url)
        writer.write(request("POST", path, body(path, model="claude-x", stream=True), {"connection": "close"}))
        await reader.readuntil(b"message_start")
        upstream.script = plain
        assert (await post(proxy.url, path, asks)).status == 200
        go_on.set()
        assert b"message_stop" in await reader.read()
        writer.close()


async def test_without_another_target_an_open_breaker_answers_at_once(tmp_path: Path) -> None:
    alone = STAGES + "[retry]\nbreaker = 2\nattempts = 1\n"
    async with playing(down) as upstream, proxying(tmp_path, upstream.url, pipelines=alone) as proxy:
        path = PATHS[0]
        answers = [await post(proxy.url, path, body(path, model="claude-x")) for _ in range(3)]
        assert ([answer.status for answer in answers], len(upstream.sent)) == ([500, 500, 529], 2)
        assert answers[-1].headers["retry-after"] == "15"
        assert "failed 2 times in a row" in answers[-1].json["error"]["message"]


def keyed(*keys: str, more: str = "") -> str:
    return f"{STAGES}[upstream.zai-messages]\nkeys = {json.dumps(keys)}\n{more}\n"


async def test_a_key_that_is_refused_rests_and_another_serves(tmp_path: Path) -> None:
    async def by_key(sent: Sent, link: Link) -> None:
        await (quota if sent.headers["x-api-key"] == "sk-a" else plain)(sent, link)

    pipelines = keyed("sk-a", "sk-b")
    async with playing(by_key) as upstream, proxying(tmp_path, upstream.url, pipelines=pipelines) as proxy:
        for number in range(8):
            messages = [{"role": "user", "content": f"session {number}"}]
            answer = await post(proxy.url, PATHS[0], body(PATHS[0], model="claude-x", messages=messages))
            assert answer.status == 200
        used = [sent.headers["x-api-key"] for sent in upstream.sent]
        assert (used.count("sk-a"), used.count("sk-b")) == (1, 8)
        state = (await exchange(proxy.url, "GET", "/health?verbose=1")).json["upstreams"]["zai-messages"]
        assert state["resting_keys"] == 1


async def test_who_waits_for_a_place_does_not_get_the_key_that_was_just_refused(tmp_path: Path) -> None:
    arrived, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def by_key(sent: Sent, link: Link) -> None:
        arrived.release()
        await go_on.wait()
        await (quota if sent.headers["x-api-key"] == "sk-a" else plain)(sent, link)

    pipelines = keyed("sk-a", "sk-b", more="max-parallel = 1")
    async with playing(by_key) as upstream, proxying(tmp_path, upstream.url, pipelines=pipelines) as proxy:
        talks = [[{"role": "user", "content": f"session {number}"}] for number in range(6)]
        asked = [
            asyncio.create_task(post(proxy.url, PATHS[0], body(PATHS[0], model="claude-x", messages=talk)))
            for talk in talks
        ]
        await arrived.acquire()
        await arrived.acquire()
        await until(lambda: proxy.runtime.lanes.state("zai-messages")["waiting"] == 4)
        go_on.set()
        assert {answer.status for answer in await asyncio.gather(*asked)} == {200}
        assert [sent.headers["x-api-key"] for sent in upstream.sent].count("sk-a") == 1


class Held:
    """An upstream that answers when it is let."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.most = self.now = 0

    async def __call__(self, sent: Sent, link: Link) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.free.wait()
        self.now -= 1
        await link.json(REPLIES["/messages"])


async def test_no_more_than_so_many_requests_are_under_way(tmp_path: Path) -> None:
    held = Held()
    pipelines = keyed(more="max-parallel = 3")
    async with playing(held) as upstream, proxying(tmp_path, upstream.url, pipelines=pipelines) as proxy:
        asked = [asyncio.create_task(post(proxy.url, PATHS[0], body(PATHS[0], model="claude-x"))) for _ in range(10)]
        await upstream.received(3)
        await until(lambda: proxy.runtime.lanes.state("zai-messages")["waiting"] == 7)
        held.free.set()
        answers = await asyncio.gather(*asked)
        assert ({answer.status for answer in answers}, held.most, len(upstream.sent)) == ({200}, 3, 10)
        assert sum("queue;dur=" in answer.headers["server-timing"] for answer in answers) == 7
        assert proxy.runtime.counters.snapshot()["queued.zai-messages"] == 7


async def test_who_waits_too_long_gets_a_status_and_no_stream(tmp_path: Path) -> None:
    held = Held()
    pipelines = (
        keyed(more="max-parallel = 1\nqueue-timeout = 0.05") + "[serve]\nfirst-ping = 0.01\nping-interval = 0.01\n"
    )
    async with playing(held) as upstream, proxying(tmp_path, upstream.url, pipelines=pipelines) as proxy:
        first = asyncio.create_task(post(proxy.url, PATHS[0], body(PATHS[0], model="claude-x")))
        await upstream.received(1)
        answer = await post(proxy.url, PATHS[0], body(PATHS[0], model="claude-x", stream=True))
        assert (answer.status, answer.headers["retry-after"]) == (429, "5")
        assert answer.json["error"]["type"] == "rate_limit_error"
        held.free.set()
        assert (await first).status == 200
        assert len(upstream.sent) == 1


async def test_a_client_that_leaves_the_queue_frees_its_place(tmp_path: Path) -> None:
    held = Held()
    pipelines = keyed(more="max-parallel = 1")
    async with playing(held) as upstream, proxying(tmp_path, upstream.url, pipelines=pipelines) as proxy:
        lanes = proxy.runtime.lanes
        first = asyncio.create_task(post(proxy.url, PATHS[0], body(PATHS[0], model="claude-x")))
        await upstream.received(1)
        _, writer = await connect(proxy.url)
        writer.write(request("POST", PATHS[0], body(PATHS[0], model="claude-x", stream=True)))
        await until(lambda: lanes.state("zai-messages")["waiting"] == 1)
        writer.close()
        await writer.wait_closed()
        await until(lambda: lanes.state("zai-messages")["waiting"] == 0)
        held.free.set()
        assert (await first).status == 200
        await until(lambda: lanes.state("zai-messages")["under_way"] == 0)
        assert len(upstream.sent) == 1


async def until(holds: Any) -> None:
    """Go round the loop until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  # what is waited for tells nobody
            await asyncio.sleep(0)


async def test_a_stream_holds_its_place_until_its_end(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def streams(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        await link.chunk(b'data: {"type":"message_start","message":{"id":"msg_1"}}\n\n')
        await go_on.wait()
        await link.chunk(b'data: {"type":"message_stop"}\n\n')
        await link.chunk(b"")

    pipelines = keyed(more="max-parallel = 1")
    async with playing(streams) as upstream, proxying(tmp_path, upstream.url, pipelines=pipelines) as proxy:
        one = asyncio.create_task(post(proxy.url, PATHS[0], body(PATHS[0], model="claude-x", stream=True)))
        await upstream.received(1)
        other = asyncio.create_task(post(proxy.url, PATHS[0], body(PATHS[0], model="claude-x", stream=True)))
        await until(lambda: proxy.runtime.lanes.state("zai-messages")["waiting"] == 1)
        assert len(upstream.sent) == 1
        go_on.set()
        assert {(await one).status, (await other).status} == {200}
