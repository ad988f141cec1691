"""Streams over real sockets: hang-ups, slow readers, silence, and ends that are not invented."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from wire.faults import turns as loop_turns
from wire.harness import connect, exchange, parse, post, proxying, request
from wire.scripted import SSE, Link, Sent, playing

pytestmark = pytest.mark.anyio

PLAIN = '[pipeline.default]\nstages = ["auth", "token-count", "route", "log"]\n[core]\nextras = false\n'
"""The default way, with nothing added to replies: their bytes are compared."""

BODY = b'{"model":"claude-x","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}'
CHAT = b'{"model":"gpt-x","stream":true,"messages":[{"role":"user","content":"hi"}]}'
START = b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":3}}}\n\n'
PIECE = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"a"}}\n\n'
)
END = (
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":1}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
)
CHUNK = b'data: {"id":"c1","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
STOP = b'data: {"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


async def test_a_client_that_leaves_before_the_first_byte_ends_the_upstream_request(tmp_path: Path) -> None:
    closed = asyncio.Event()

    async def silent(sent: Sent, link: Link) -> None:
        await link.gone()
        closed.set()

    async with playing(silent) as upstream, proxying(tmp_path, upstream.url, pipelines=PLAIN) as proxy:
        _, writer = await connect(proxy.url)
        writer.write(request("POST", "/v1/messages", BODY))
        await upstream.received(1)
        writer.close()
        await asyncio.wait_for(closed.wait(), 5)


async def test_a_client_that_leaves_in_mid_stream_ends_the_upstream_request(tmp_path: Path) -> None:
    closed = asyncio.Event()

    async def begins(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        await link.chunk(START)
        await link.gone()
        closed.set()

    async with playing(begins) as upstream, proxying(tmp_path, upstream.url, pipelines=PLAIN) as proxy:
        reader, writer = await connect(proxy.url)
        writer.write(request("POST", "/v1/messages", BODY))
        await reader.readuntil(b"message_start")
        writer.close()
        await asyncio.wait_for(closed.wait(), 5)


async def test_a_stream_leaves_as_it_came_and_the_connection_serves_the_next(tmp_path: Path) -> None:
    async def streams(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        for frame in (START, PIECE, b": comment\n\n", PIECE, END):
            await link.chunk(frame)
        await link.chunk(b"")

    async with playing(streams) as upstream, proxying(tmp_path, upstream.url, pipelines=PLAIN) as proxy:
        for _ in range(2):
            answer = await post(proxy.url, "/v1/messages", BODY)
            assert answer.status == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.body == START + PIECE + b": comment\n\n" + PIECE + END
        assert len({id(link) for link in upstream.links}) == 1


async def test_a_broken_stream_ends_in_the_dialects_error_and_in_no_end(tmp_path: Path) -> None:
    async def breaks(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        await link.chunk(CHUNK if sent.path.endswith("completions") else START + PIECE)
        link.abort()

    async with playing(breaks) as upstream, proxying(tmp_path, upstream.url, pipelines=PLAIN) as proxy:
        answer = await post(proxy.url, "/v1/messages", BODY)
        assert answer.body.startswith(START + PIECE + b"event: error\ndata: ")
        assert b"message_stop" not in answer.body
        answer = await post(proxy.url, "/v1/chat/completions", CHAT)
        assert answer.body.startswith(CHUNK + b'data: {"error":')
        assert b"[DONE]" not in answer.body


AGAIN = {
    "cline": r"provider returned error",
    "continue": r"premature close|premature end|connection reset|socket hang up|aborted|overloaded",
    "pi": r"connection.?lost|timed? out|overloaded|rate.?limit",
}
"""By which words in an open stream an agent tries again, in its own source."""


@pytest.mark.parametrize("how", ["reset", "end", "silence"])
@pytest.mark.parametrize(("path", "body"), [("/v1/messages", BODY), ("/v1/chat/completions", CHAT)])
async def test_a_broken_stream_is_told_in_words_on_which_agents_try_again(
    tmp_path: Path, how: str, path: str, body: bytes
) -> None:
    async def breaks(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        await link.chunk(CHUNK if sent.path.endswith("completions") else START + PIECE)
        if how == "silence":
            await link.gone()
        elif how == "end":
            await link.chunk(b"")
        else:
            link.abort()

    patient = PLAIN + "".join(f"[upstream.zai-{name}]\nsilence-timeout = 0.05\n" for name in ("chat", "messages"))
    async with playing(breaks) as upstream, proxying(tmp_path, upstream.url, pipelines=patient) as proxy:
        answer = await post(proxy.url, path, body)
        told = json.loads(answer.body.rpartition(b"data: ")[2])["error"]["message"].lower()
        assert {name: bool(re.search(words, told)) for name, words in AGAIN.items()} == dict.fromkeys(AGAIN, True), told


BUN = (
    "ai-sdk/openai-compatible/3.0.37 ai-sdk/provider-utils/5.0.30 runtime/bun/1.3.13",
    "Kilo-Code/7.7.7 ai-sdk/provider-utils/4.0.27 runtime/bun/1.3.14",
)
"""Cline and Kilo: they end on any error behind a text; Bun, below them, asks again where the connection breaks."""


@pytest.mark.parametrize("agent", BUN, ids=["cline", "kilo"])
@pytest.mark.parametrize("how", ["reset", "end", "overloaded", "error"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_client_whose_runtime_asks_again_gets_the_break_itself(
    tmp_path: Path, how: str, agent: str, path: str
) -> None:
    piece, body = (CHUNK, CHAT) if path.endswith("completions") else (START + PIECE, BODY)

    async def breaks(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        await link.chunk(piece)
        await loop_turns()
        if how == "reset":
            link.abort()
        else:
            kind = b"overloaded_error" if how == "overloaded" else b"server_error"
            failed = b'event: error\ndata: {"type":"error","error":{"type":"%s","message":"busy"}}\n\n' % kind
            await link.chunk(b"" if how == "end" else failed)

    async with playing(breaks) as upstream, proxying(tmp_path, upstream.url, pipelines=PLAIN) as proxy:
        reader, writer = await connect(proxy.url)
        writer.write(request("POST", path, body, {"user-agent": agent}))
        if how == "error":
            assert b'"busy"' in await reader.readuntil(b"\r\n0\r\n\r\n")
        else:
            said = await reader.read()
            assert said.endswith(b"\r\n" + piece + b"\r\n")
            # The connection closes behind the booked end; that of an error event leaves before it.
            counters = json.loads((await exchange(proxy.url, "GET", "/health?verbose=1")).body)["counters"]
            assert counters["failed.overloaded" if how == "overloaded" else "failed.upstream"] == 1
        writer.close()


async def test_a_stream_that_stops_without_its_last_events_is_no_end(tmp_path: Path) -> None:
    async def stops(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        await link.chunk(START + PIECE)
        await link.chunk(b"")

    async with playing(stops) as upstream, proxying(tmp_path, upstream.url, pipelines=PLAIN) as proxy:
        answer = await post(proxy.url, "/v1/messages", BODY)
        assert b"event: error" in answer.body
        assert b"message_stop" not in answer.body


async def test_nothing_follows_the_last_event(tmp_path: Path) -> None:
    async def goes_on(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        last = CHUNK + STOP if sent.path.endswith("completions") else START + END
        await link.chunk(last + b": more\n\n")
        await link.chunk(PIECE)
        await link.gone()

    async with playing(goes_on) as upstream, proxying(tmp_path, upstream.url, pipelines=PLAIN) as proxy:
        assert (await post(proxy.url, "/v1/messages", BODY)).body == START + END
        assert (await post(proxy.url, "/v1/chat/completions", CHAT)).body == CHUNK + STOP


async def test_an_error_as_first_event_is_a_plain_http_error(tmp_path: Path) -> None:
    async def fails(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        error = b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}'
        await link.chunk(b": wait\n\nevent: error\ndata: " + error + b"\n\n")
        await link.chunk(b"")

    async with playing(fails) as upstream, proxying(tmp_path, upstream.url, pipelines=PLAIN) as proxy:
        answer = await post(proxy.url, "/v1/messages", BODY)
        assert answer.status == 529
        assert answer.json["error"]["type"] == "overloaded_error"


async def test_a_silent_upstream_gets_pings_and_the_stream_goes_on(tmp_path: Path) -> None:
    seen = asyncio.Event()

    async def waits(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        await seen.wait()
        await link.chunk(START + END)
        await link.chunk(b"")

    serve = PLAIN + "[serve]\nfirst-ping = 0.01\nping-interval = 0.01\n"
    async with playing(waits) as upstream, proxying(tmp_path, upstream.url, pipelines=serve) as proxy:
        reader, writer = await connect(proxy.url)
        writer.write(request("POST", "/v1/messages", BODY, {"connection": "close"}))
        opening = b""
        while opening.count(b"event: ping") < 2:
            opening += await reader.read(4096)
        seen.set()
        answer = parse(opening + await reader.read())
        writer.close()
        assert answer.status == 200
        assert answer.body.replace(b'event: ping\ndata: {"type":"ping"}\n\n', b"") == START + END


async def test_an_upstream_that_never_answers_is_a_timeout(tmp_path: Path) -> None:
    async def silent(sent: Sent, link: Link) -> None:
        await link.gone()

    patient = '[pipeline.default]\nstages = ["route"]\n[upstream.zai-messages]\nfirst-byte-timeout = 0.05\n'
    async with playing(silent) as upstream, proxying(tmp_path, upstream.url, pipelines=patient) as proxy:
        answer = await post(proxy.url, "/v1/messages", BODY)
        assert answer.status == 504
        assert answer.json["error"]["type"] == "timeout_error"
        assert "first byte within 0.05 s" in answer.json["error"]["message"]


async def test_a_slow_reader_slows_the_upstream(tmp_path: Path) -> None:
    piece, pieces = PIECE * 700, 320
    written = 0

    async def floods(sent: Sent, link: Link) -> None:
        nonlocal written
        await link.raw(SSE)
        await link.chunk(START)
        for _ in range(pieces):
            await link.chunk(piece)
            written += 1
        await link.chunk(END)
        await link.chunk(b"")

    async with playing(floods) as upstream, proxying(tmp_path, upstream.url, pipelines=PLAIN) as proxy:
        reader, writer = await connect(proxy.url)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
        writer.write(request("POST", "/v1/messages", BODY, {"connection": "close"}))
        await upstream.received(1)
        before, idle = -1, 0
        while idle < 2000:
            before, idle = written, idle + 1 if written == before else 0
            await asyncio.sleep(0)
        # What the kernel's socket buffers hold on loopback, a few MB of the 31.
        assert written < pieces // 2
        writer.transport.resume_reading()  # type: ignore[attr-defined]  # a transport that reads
        answer = parse(await reader.read())
        assert answer.body == START + piece * pieces + END
        writer.close()
