"""Usage that upstreams tell in part, too early or in odd types: the client always reads a prompt, streamed or not."""

import json
from pathlib import Path
from typing import Any

import pytest

from wire.harness import Answer, post, proxying
from wire.scripted import SSE, Link, Sent, playing
from wire.test_usage import usages

pytestmark = pytest.mark.anyio

PATHS = {"messages": "/v1/messages", "chat": "/v1/chat/completions"}
MODELS = {"messages": "glm-4.6", "chat": "glm-4.6-openai"}
"""By the dialect of the upstream that they lead to."""
ODD: dict[str, list[Any]] = {
    "messages": [
        {"output_tokens": 2},
        {"input_tokens": None, "output_tokens": 2},
        {"input_tokens": 0, "output_tokens": 2},
        {"input_tokens": -1, "output_tokens": -1},
        {"input_tokens": "12", "output_tokens": 2},
        [],
    ],
    "chat": [
        {"completion_tokens": 2},
        {"prompt_tokens": -1, "completion_tokens": -1},
        {"prompt_tokens": "12", "completion_tokens": 2},
        {"prompt_tokens": 12, "completion_tokens": 2, "prompt_tokens_details": []},
        {"prompt_tokens": True},
        "none",
    ],
}
START = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}


def whole(upstream: str, usage: Any) -> bytes:
    if upstream == "chat":
        choice = {"index": 0, "message": {"role": "assistant", "content": "ok fine"}, "finish_reason": "stop"}
        return json.dumps({"id": "c", "model": "m", "choices": [choice], "usage": usage}).encode()
    text = {"type": "text", "text": "ok fine"}
    return json.dumps({**START, "content": [text], "stop_reason": "end_turn", "usage": usage}).encode()


def messages_frames(start: Any, end: Any) -> bytes:
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**START, "usage": start}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ok fine"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end},
        {"type": "message_stop"},
    ]
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def chat_frames(*chunks: Any) -> bytes:
    return b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks) + b"data: [DONE]\n\n"


def chunk(delta: Any, finish: str | None = None, **members: Any) -> Any:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **members}


def streams(upstream: str, usage: Any) -> list[bytes]:
    """The streams that tell this usage: with the finish, behind it, at the start."""
    if upstream == "messages":
        zeros = {"input_tokens": 0, "output_tokens": 1}
        return [messages_frames(zeros, usage), messages_frames(usage, {"output_tokens": 2})]
    text = chunk({"content": "ok fine"})
    behind = {"id": "c", "choices": [], "usage": usage}
    together = chunk({"content": "ok fine"}, "stop", usage=usage)
    return [
        chat_frames(text, chunk({}, "stop", usage=usage)),
        chat_frames(text, chunk({}, "stop"), behind),
        chat_frames(together),
    ]


def asked(client: str, upstream: str, *, stream: bool) -> bytes:
    body: dict[str, Any] = {"model": MODELS[upstream], "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    if stream:
        body["stream"] = True
    if stream and client == "chat":
        body["stream_options"] = {"include_usage": True}
    return json.dumps(body).encode()


@pytest.mark.parametrize("upstream", PATHS)
@pytest.mark.parametrize("client", PATHS)
async def test_the_prompt_is_never_zero(tmp_path: Path, client: str, upstream: str) -> None:
    replies: list[bytes] = []

    async def script(sent: Sent, link: Link) -> None:
        if not json.loads(sent.body).get("stream"):
            await link.json(replies[0])
            return
        await link.raw(SSE)
        await link.chunk(replies[0])
        await link.chunk(b"")

    async def answer(reply: bytes, *, stream: bool) -> Answer:
        replies[:] = [reply]
        # In its own dialect the odd usage passes, but for the prompt.
        odd = client == upstream
        return await post(proxy.url, PATHS[client], asked(client, upstream, stream=stream), odd=odd)

    async with playing(script) as server, proxying(tmp_path, server.url) as proxy:
        for usage in ODD[upstream]:
            told = usages(await answer(whole(upstream, usage), stream=False))[-1]
            assert told["real_input_tokens"] > 5, usage
            assert "ok fine" in (await answer(whole(upstream, usage), stream=False)).body.decode()
            for stream in streams(upstream, usage):
                found = await answer(stream, stream=True)
                assert b"ok fine" in found.body
                last = usages(found)[-1]
                assert last["real_input_tokens"] > 5, (usage, stream)
                if client == "messages":
                    assert int(usages(found)[0]["input_tokens"]) > 5, (usage, stream)
                else:
                    assert int(last["prompt_tokens"]) > 5, (usage, stream)


async def test_a_usage_that_is_told_before_the_finish_gives_way_to_a_later_one(tmp_path: Path) -> None:
    early = {"id": "c", "model": "", "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 0}}
    late = {"id": "c", "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}
    reply = chat_frames(early, chunk({"content": "ok fine"}), chunk({}, "stop"), late)

    async def script(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        await link.chunk(reply)
        await link.chunk(b"")

    async with playing(script) as server, proxying(tmp_path, server.url) as proxy:
        for client, path in PATHS.items():
            found = await post(proxy.url, path, asked(client, "chat", stream=True))
            last = usages(found)[-1]
            assert last["completion_tokens" if client == "chat" else "output_tokens"] == 5
            # The first chunk names no model: the later ones do, and the client reads its own.
            assert b'"model": "m"' not in found.body
