"""Every limit over real sockets: the right status in the client's dialect, the option named, the next one served."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from wire.harness import PATIENCE, Answer, Proxy, connect, exchange, parse, post, proxying, request
from wire.scripted import Link, Sent, plain, playing

pytestmark = pytest.mark.anyio

PATHS = ["/v1/messages", "/v1/chat/completions"]


def chain(**serve: Any) -> str:
    lines = "".join(f"{name.replace('_', '-')} = {json.dumps(value)}\n" for name, value in serve.items())
    return f'[pipeline.default]\nstages = ["auth", "route", "log"]\n[serve]\n{lines}'


def body(*contents: Any, **head: Any) -> bytes:
    messages = [{"role": "user", "content": content} for content in contents or ("hi",)]
    return json.dumps({"model": "claude-x", "max_tokens": 1, "messages": messages, **head}).encode()


def image(dialect_path: str, width: int) -> dict[str, Any]:
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4, "big") + (1000).to_bytes(4, "big") + b"\0" * 20
    data = base64.b64encode(head).decode()
    if dialect_path.endswith("completions"):
        return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = {"a": value}
    return value


def told(answer: Answer, path: str) -> str:
    if path.endswith("completions"):
        assert set(answer.json["error"]) == {"message", "type", "param", "code"}
    else:
        assert answer.json["type"] == "error"
    return str(answer.json["error"]["message"])


async def serves(proxy: Proxy) -> None:
    assert (await post(proxy.url, "/v1/messages", body())).status == 200


@pytest.mark.parametrize("path", PATHS)
async def test_what_a_request_says_is_limited(tmp_path: Path, path: str) -> None:
    limits = chain(max_messages=3, max_nesting=20, max_images=2, max_image_mp=5, max_values=200, max_tools=2)
    cases = [
        (body("a", "b", "c", "d"), 413, "serve.max-messages"),
        (body(tools=[{"name": f"t{n}", "input_schema": {}} for n in range(3)]), 413, "serve.max-tools"),
        (body(metadata=[1] * 250), 413, "serve.max-values"),
        (body("," * 250), 200, ""),
        (body(metadata=nested(30)), 400, "serve.max-nesting"),
        (body([{"type": "text", "text": "x", "y": nested(30)}]), 400, "serve.max-nesting"),
        (body([image(path, 1), image(path, 1), image(path, 1)]), 400, "serve.max-images"),
        (body([image(path, 6000)]), 413, "serve.max-image-mp"),
    ]
    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=limits) as proxy:
        for raw, status, option in cases:
            answer = await post(proxy.url, path, raw)
            assert answer.status == status, option
            assert status == 200 or option in told(answer, path)
        assert len(upstream.sent) == 1
        await serves(proxy)


@pytest.mark.parametrize("path", PATHS)
async def test_a_large_head_is_refused_in_the_dialect(tmp_path: Path, path: str) -> None:
    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=chain(max_header_kb=1)) as proxy:
        answer = await post(proxy.url, path, body(), {"x-large": "y" * 1500})
        assert (answer.status, "serve.max-header-kb" in told(answer, path)) == (431, True)
        await serves(proxy)


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_that_does_not_come_is_given_up(tmp_path: Path, path: str) -> None:
    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=chain(body_timeout=0.05)) as proxy:
        reader, writer = await connect(proxy.url)
        writer.write(request("POST", path, body())[:-5])
        async with asyncio.timeout(PATIENCE):
            answer = parse(await reader.read())
        writer.close()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert "serve.body-timeout" in told(answer, path)
        assert upstream.sent == []


@pytest.mark.parametrize("path", PATHS)
async def test_bodies_under_way_fill_the_room_and_leave_it(tmp_path: Path, path: str) -> None:
    go = asyncio.Event()

    async def waits(sent: Sent, link: Link) -> None:
        await go.wait()
        await plain(sent, link)

    large = body("x" * 700_000)
    async with (
        playing(waits) as upstream,
        proxying(tmp_path, upstream.url, pipelines=chain(max_inflight_mb=1)) as proxy,
    ):
        first = asyncio.create_task(post(proxy.url, "/v1/messages", large))
        await upstream.received(1)
        answer = await post(proxy.url, path, large)
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert "serve.max-inflight-mb" in told(answer, path)
        assert answer.headers["x-should-retry"] == "true"
        go.set()
        assert (await first).status == 200
        assert proxy.runtime.room.bytes == 0
        assert (await post(proxy.url, "/v1/messages", large)).status == 200


@pytest.mark.parametrize("path", PATHS)
async def test_only_our_own_names_lead_to_this_machine(tmp_path: Path, path: str) -> None:
    async with (
        playing() as upstream,
        proxying(tmp_path, upstream.url, pipelines=chain(hosts=["home.example"])) as proxy,
    ):
        answer = await post(proxy.url, path, body(), {"host": "evil.example:5000"})
        assert (answer.status, "serve.hosts" in told(answer, path)) == (421, True)
        assert (await exchange(proxy.url, "GET", "/v1/models", headers={"host": "evil.example"})).status == 421
        assert (await exchange(proxy.url, "GET", "/health", headers={"host": "evil.example"})).status == 421
        assert upstream.sent == []
        assert (await post(proxy.url, "/v1/messages", body(), {"host": "home.example"})).status == 200
        assert (await post(proxy.url, "/v1/messages", body(), {"host": "localhost:1"})).status == 200


@pytest.mark.parametrize("path", PATHS)
async def test_a_client_has_its_requests_a_minute_and_its_streams(tmp_path: Path, path: str) -> None:
    go = asyncio.Event()

    async def waits(sent: Sent, link: Link) -> None:
        await go.wait()
        await plain(sent, link)

    limits = chain() + "[stage.auth]\nper-minute = 2\nmax-streams = 1\n"
    key = {"authorization": "Bearer sk-one"}
    async with playing(waits) as upstream, proxying(tmp_path, upstream.url, pipelines=limits) as proxy:
        first = asyncio.create_task(post(proxy.url, "/v1/messages", body(), key))
        await upstream.received(1)
        answer = await post(proxy.url, path, body(), key)
        assert (answer.status, answer.headers["retry-after"]) == (429, "5")
        assert "auth.max-streams" in told(answer, path)
        go.set()
        assert (await first).status == 200
        assert (await post(proxy.url, path, body(), key)).status == 200
        answer = await post(proxy.url, path, body(), key)
        assert (answer.status, answer.headers["retry-after"]) == (429, "60")
        assert "2 requests per minute" in told(answer, path)
        counted = await post(proxy.url, "/v1/messages/count_tokens", body(), key)
        assert counted.status != 429
        assert (await post(proxy.url, path, body(), {"authorization": "Bearer sk-two"})).status == 200
