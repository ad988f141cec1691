"""Replies say how full the context is, and a stream never opens with zeros (protocol.md, case P12)."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from wire.harness import PIPELINES, post, proxying
from wire.scripted import SSE, Link, Sent, playing

pytestmark = pytest.mark.anyio

BODY = b'{"model":"glm-4.6","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"how are you today"}]}'
ZEROS = b'{"type":"message_start","message":{"id":"m","odd":[ 1],"usage":{"input_tokens":0,"output_tokens":0}}}'
TEXT = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"fine"}}'
TRUE = (
    b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":40,'
    b'"cache_read_input_tokens":60,"output_tokens":2}}'
)
QUIET = b'{"type":"message_delta","delta":{"stop_reason":"end_turn"}}'
STOP = b'{"type":"message_stop"}'


def frames(*data: bytes) -> bytes:
    """Events of the messages dialect."""
    return b"".join(b"event: " + msgspec.json.decode(d)["type"].encode() + b"\ndata: " + d + b"\n\n" for d in data)


async def answered(folder: Path, *data: bytes, pipelines: str = PIPELINES) -> list[Any]:
    """The data of the events a client gets for those of an upstream."""

    async def streams(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        await link.chunk(frames(*data))
        await link.chunk(b"")

    async with playing(streams) as upstream, proxying(folder, upstream.url, pipelines=pipelines) as proxy:
        answer = await post(proxy.url, "/v1/messages", BODY)
        return [msgspec.json.decode(line[6:]) for line in answer.body.split(b"\n") if line.startswith(b"data: ")]


async def test_P12_zeros_at_the_start_become_our_count_and_the_end_tells_the_truth(tmp_path: Path) -> None:
    start, text, delta, stop = await answered(tmp_path, ZEROS, TEXT, TRUE, STOP)
    assert start["message"]["odd"] == [1]
    assert 5 < start["message"]["usage"]["input_tokens"] < 40
    assert start["message"]["usage"]["estimated"] is True
    assert text == msgspec.json.decode(TEXT)
    usage = delta["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (40, 60, 2)
    assert (usage["real_input_tokens"], usage["endpoint_type"], usage["context_limit"]) == (100, "anthropic", 204_800)
    assert delta["context_info"]["cache_hit_ratio"] == 0.6
    assert delta["context_info"]["risk_level"] == "SAFE"
    assert stop == {"type": "message_stop"}


async def test_only_events_that_clients_know(tmp_path: Path) -> None:
    kinds = [event["type"] for event in await answered(tmp_path, ZEROS, TEXT, TRUE, STOP)]
    assert kinds == ["message_start", "content_block_delta", "message_delta", "message_stop"]


async def test_switched_off_nothing_is_added(tmp_path: Path) -> None:
    off = PIPELINES + "[core]\nextras = false\n"
    start, _, delta, _ = await answered(tmp_path, ZEROS, TEXT, TRUE, STOP, pipelines=off)
    assert start["message"]["usage"]["input_tokens"] > 0
    assert delta == msgspec.json.decode(TRUE)


async def test_without_a_count_nothing_is_made_up(tmp_path: Path) -> None:
    bare = '[pipeline.default]\nstages = ["route"]\n'
    start, *_ = await answered(tmp_path, ZEROS, TEXT, TRUE, STOP, pipelines=bare)
    assert start == msgspec.json.decode(ZEROS)


async def test_a_chat_client_of_a_silent_upstream_gets_a_marked_estimate(tmp_path: Path) -> None:
    async def streams(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        await link.chunk(frames(ZEROS, TEXT, QUIET, STOP))
        await link.chunk(b"")

    body = BODY.replace(b'"max_tokens":9', b'"stream_options":{"include_usage":true}')
    async with playing(streams) as upstream, proxying(tmp_path, upstream.url) as proxy:
        answer = await post(proxy.url, "/v1/chat/completions", body)
        *_, last = [line[6:] for line in answer.body.split(b"\n") if line.startswith(b"data: {")]
        told = msgspec.json.decode(last)
        assert told["usage"]["prompt_tokens"] > 0
        assert told["usage"]["completion_tokens"] == 1
        assert "estimated" in told["context_info"]["note"]
