"""What requests leave in memory: nothing that waits for the garbage collector, and tables of a bounded size."""

import asyncio
import gc
import json
import tracemalloc
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from wire.harness import PATIENCE, connect, echoing, post, proxying, request
from wire.scripted import plain, playing

pytestmark = pytest.mark.anyio

ASKED: dict[str, Any] = {"model": "glm-4.6", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
KINDS: dict[str, bytes] = {
    "whole": request("POST", "/v1/messages", json.dumps(ASKED).encode()),
    "a stream": request("POST", "/v1/messages", json.dumps({**ASKED, "stream": True}).encode()),
    "translated": request("POST", "/v1/chat/completions", json.dumps(ASKED).encode()),
    "responses": request("POST", "/v1/responses", json.dumps({"model": "glm-4.6", "input": "hi"}).encode()),
    "a count": request("POST", "/v1/messages/count_tokens", json.dumps(ASKED).encode()),
    "refused": request("POST", "/v1/messages", b"{"),
    "without max_tokens": request("POST", "/v1/messages", json.dumps({**ASKED, "max_tokens": None}).encode()),
    "bad content": request(
        "POST", "/v1/messages", json.dumps({**ASKED, "messages": [{"role": "user", "content": 5}]}).encode()
    ),
    "a bad tool": request("POST", "/v1/chat/completions", json.dumps({**ASKED, "tools": [[]]}).encode()),
    "no method": b"FOO /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
    "no path": request("POST", "/v1/nothing", b"{}"),
    "a bad head": b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: x\r\n\r\n",
}


async def ask(url: str, raw: bytes, *, leave: bool) -> None:
    """Send a request; read its answer on a connection that could serve more, or `leave` before it has come."""
    reader, writer = await connect(url)
    writer.write(raw)
    if leave:
        writer.write_eof()
    async with asyncio.timeout(PATIENCE):
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b"transfer-encoding: chunked" in head:
                await reader.readuntil(b"\r\n0\r\n\r\n")
            else:
                await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    writer.close()


@pytest.mark.parametrize("leave", [False, True], ids=["stays", "leaves"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_request_leaves_nothing_for_the_garbage_collector(tmp_path: Path, kind: str, leave: bool) -> None:
    async with echoing() as (upstream, _), proxying(tmp_path, upstream) as proxy:
        await ask(proxy.url, KINDS[kind], leave=leave)
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(5):
                await ask(proxy.url, KINDS[kind], leave=leave)
            await proxy.runtime.settled()
            # Tasks that were told to end do so in the next rounds of the loop.
            for _ in range(20):
                await asyncio.sleep(0)
            gc.collect()
            left = Counter(type(one).__qualname__ for one in gc.garbage if type(one).__module__.startswith("trimtab."))
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    # The upstream is hypercorn with our connections too; it is served by the same code.
    assert not left


def strange(number: int) -> tuple[str, bytes]:
    """A request that nothing of was seen before: 60 KB of names, texts and tools of its own."""
    text = f"{number} " + "word " * 4000
    tool = {"type": "function", "name": f"tool_{number}", "description": text, "parameters": {"type": "object"}}
    if number % 2:
        asked = {"model": f"m{number}", "input": text, "instructions": text, "tools": [tool], "user": f"u{number}"}
        return "/v1/responses", json.dumps(asked).encode()
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]
    more = {"max_tokens": 9, "metadata": {"user_id": f"u{number}"}, "system": text}
    return "/v1/messages", json.dumps({"model": f"m{number}", "messages": turns, **more}).encode()


async def test_what_is_kept_of_requests_is_bounded(tmp_path: Path) -> None:
    chain = 'stages = ["auth", "env-dedup", "image-aging", "token-count", "risk-assess", "condense", "route", "log"]'
    pipelines = f'[pipeline.default]\n{chain}\n[core]\nmemo-mb = 1\nmemo-entries = 100\n[stage.log]\nlevel = "ERROR"\n'
    async with playing(plain) as upstream, proxying(tmp_path, upstream.url, pipelines=pipelines) as proxy:
        tracemalloc.start()
        try:
            held = []
            for number in range(400):
                found = await post(proxy.url, *strange(number))
                assert found.status == 200, found.body
                upstream.sent.clear()
                upstream.links.clear()
                if number in (199, 399):
                    await proxy.runtime.settled()
                    gc.collect()
                    held.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    # 10 MB came in between.
    assert held[1] - held[0] < 1_000_000
