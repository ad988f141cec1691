"""Clients of one dialect before upstreams of the other, over real sockets."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import openai
import pytest

import published
from laws.samples import REPLIES
from translating import IMAGE, PART, assistant, called, check, result, text, tool, use, user
from trimtab.dialects.sse import Framer, parse
from wire.faults import turns as loop_turns
from wire.harness import Answer, Proxy, echoing, post, proxying
from wire.scripted import SSE, Link, Sent, Upstream, playing
from wire.test_sdks import TOOL_SCHEMA

pytestmark = pytest.mark.anyio

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


class Way(NamedTuple):
    """A client's path, and the name that leads to an upstream of the other dialect."""

    path: str
    model: str
    upstream: str
    other: str
    reply: str


# z.ai's own forms: zeros at the start of a stream there, no `object` here.
WAYS = {
    "chat": Way(CHAT, "glm-4.6", "messages", MESSAGES, "anthropic"),
    "messages": Way(MESSAGES, "glm-4.6-openai", "chat", CHAT, "zai-chat"),
}
PARAMETERS = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@asynccontextmanager
async def between(folder: Path, reply: str, *, stream: bool) -> AsyncIterator[tuple[Proxy, Upstream]]:
    """A proxy before an upstream that answers with a sample."""

    async def script(sent: Sent, link: Link) -> None:
        if stream:
            await link.raw(SSE)
            await link.chunk(REPLIES[reply].stream)
            await link.chunk(b"")
        else:
            await link.json(REPLIES[reply].body)

    async with playing(script) as upstream, proxying(folder, upstream.url) as proxy:
        yield proxy, upstream


async def asked(proxy: Proxy, way: Way, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer, all of whose bodies and events fit the published schemas."""
    answer = await post(proxy.url, way.path, body, headers)
    published.check("chat" if way.path == CHAT else "messages", answer.status, answer.body)
    return answer


def said(way: Way, **more: Any) -> bytes:
    return json.dumps({"model": way.model, "max_tokens": 99, "messages": [user("hi")], **more}).encode()


def frames(answer: Answer) -> list[Any]:
    found = [parse(frame).data for frame in Framer().feed(answer.body)]
    return [json.loads(data) for data in found if data not in (None, b"[DONE]")]


@PARAMETERS
async def test_a_whole_reply_comes_in_the_clients_words(tmp_path: Path, way: Way) -> None:
    async with between(tmp_path, way.reply, stream=False) as (proxy, upstream):
        answer = await asked(proxy, way, said(way), {"x-api-key": "k", "anthropic-beta": "x"})
    sent = upstream.sent[0]
    assert sent.path.endswith(way.other.removeprefix("/v1"))
    assert "anthropic-beta" not in sent.headers
    assert json.loads(sent.body)["model"] == "glm-4.6"
    check(way.upstream, json.loads(sent.body))
    assert (answer.status, answer.json["model"]) == (200, way.model)
    if way.path == CHAT:
        message = answer.json["choices"][0]["message"]
        assert answer.json["object"] == "chat.completion"
        assert message["reasoning_content"] == "Let me see é."
        assert message["tool_calls"][0]["id"] == "toolu_1"
        assert answer.json["choices"][0]["finish_reason"] == "tool_calls"
        assert answer.json["usage"]["prompt_tokens"] == 25
        assert answer.json["usage"]["prompt_tokens_details"]["cached_tokens"] == 5
    else:
        kinds = [block["type"] for block in answer.json["content"]]
        assert (answer.json["type"], kinds) == ("message", ["thinking", "tool_use"])
        assert answer.json["content"][0]["signature"].startswith("p1.")
        assert (answer.json["stop_reason"], answer.json["content"][1]["input"]) == ("tool_use", {"path": 1})
        assert (answer.json["usage"]["input_tokens"], answer.json["usage"]["cache_read_input_tokens"]) == (20, 5)


@PARAMETERS
async def test_a_stream_comes_in_the_clients_words(tmp_path: Path, way: Way) -> None:
    async with between(tmp_path, way.reply, stream=True) as (proxy, upstream):
        answer = await asked(proxy, way, said(way, stream=True))
    assert json.loads(upstream.sent[0].body)["stream"] is True
    found = frames(answer)
    if way.path == CHAT:
        assert answer.body.endswith(b"data: [DONE]\n\n")
        deltas = [chunk["choices"][0]["delta"] for chunk in found]
        assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "Let me see é."
        assert "".join(delta.get("content", "") for delta in deltas) == 'I\'ll "look" at it 🚢.\n'
        calls = [delta["tool_calls"][0]["function"] for delta in deltas if "tool_calls" in delta]
        assert json.loads("".join(call["arguments"] for call in calls)) == {"path": "a.txt"}
        assert found[-1]["choices"][0]["finish_reason"] == "tool_calls"
        assert not any(chunk.get("usage") for chunk in found)
        assert {chunk["model"] for chunk in found} == {way.model}
    else:
        assert json.loads(upstream.sent[0].body)["stream_options"] == {"include_usage": True}
        assert found[0]["message"]["model"] == way.model
        starts = [frame["content_block"]["type"] for frame in found if frame["type"] == "content_block_start"]
        assert starts == ["thinking", "tool_use"]
        assert found[-2]["usage"]["input_tokens"] == 20
        assert found[-1] == {"type": "message_stop"}


async def test_a_chat_client_sees_usage_when_it_asks(tmp_path: Path) -> None:
    way = WAYS["chat"]
    async with between(tmp_path, way.reply, stream=True) as (proxy, _):
        body = said(way, stream=True, stream_options={"include_usage": True})
        found = frames(await asked(proxy, way, body))
    assert found[-1]["choices"] == []
    assert found[-1]["usage"]["prompt_tokens"] == 25


@PARAMETERS
@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_of_the_other_form_than_asked(tmp_path: Path, way: Way, stream: bool) -> None:
    async with between(tmp_path, way.reply, stream=not stream) as (proxy, _):
        answer = await asked(proxy, way, said(way, stream=stream))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream") is stream
    assert b"toolu_1" in answer.body or b'"c1"' in answer.body


@PARAMETERS
async def test_what_could_not_be_passed_is_told(tmp_path: Path, way: Way) -> None:
    async with between(tmp_path, way.reply, stream=False) as (proxy, _):
        answer = await asked(proxy, way, said(way, top_k=5, logprobs=True))
    assert answer.headers["x-trimtab-dropped"] == "top_k,logprobs"


ERRORS: Mapping[str, tuple[bytes, bytes]] = {
    "chat": (
        b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8"}}',
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n',
    ),
    "messages": (
        b'{"error":{"code":"1261","message":"Prompt exceeds max length"}}',
        b'data: {"error":{"code":"1305","message":"busy"}}\n\n',
    ),
}


@PARAMETERS
async def test_a_refusal_is_told_in_the_clients_words(tmp_path: Path, way: Way) -> None:
    name = "chat" if way.path == CHAT else "messages"

    async def script(sent: Sent, link: Link) -> None:
        await link.json(ERRORS[name][0], "400 Bad Request")

    async with playing(script) as upstream, proxying(tmp_path, upstream.url) as proxy:
        answer = await asked(proxy, way, said(way, stream=True))
    assert answer.status == 400
    if way.path == CHAT:
        assert answer.json["error"]["code"] == "context_length_exceeded"
    else:
        assert answer.json["error"]["type"] == "invalid_request_error"
        assert answer.json["type"] == "error"


@PARAMETERS
@pytest.mark.parametrize("late", [True, False])
async def test_a_failure_inside_a_stream_is_told_in_the_clients_words(tmp_path: Path, way: Way, late: bool) -> None:
    name = "chat" if way.path == CHAT else "messages"
    begun = REPLIES[way.reply].stream.split(b"\n\n")[: 5 if late else 0]

    async def script(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        if begun:
            await link.chunk(b"".join(frame + b"\n\n" for frame in begun))
            await loop_turns()
        await link.chunk(ERRORS[name][1])
        await link.chunk(b"")

    async with playing(script) as upstream, proxying(tmp_path, upstream.url) as proxy:
        answer = await asked(proxy, way, said(way, stream=True))
    assert answer.status == (200 if late else 503 if way.path == CHAT else 529)
    told = frames(answer)[-1] if late else answer.json
    assert told["error"]["message"] == "busy"
    assert told["error"]["type"] == ("server_error" if way.path == CHAT else "overloaded_error")
    assert b"[DONE]" not in answer.body
    assert b"message_stop" not in answer.body


async def test_the_client_hears_its_own_names_of_calls_and_tools(tmp_path: Path) -> None:
    long = "mcp__" + "n" * 80
    sent: list[Any] = []

    async def script(asked: Sent, link: Link) -> None:
        sent.append(json.loads(asked.body))
        call = sent[-1]["messages"][1]["tool_calls"][0]
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        reply = {"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
        await link.json(json.dumps(reply).encode())

    turns = [user("go"), assistant(use("i" * 70, long)), user(result("i" * 70, "r"))]
    tools = [{"name": long, "input_schema": TOOL_SCHEMA}]
    async with playing(script) as upstream, proxying(tmp_path, upstream.url) as proxy:
        answer = await asked(proxy, WAYS["messages"], said(WAYS["messages"], messages=turns, tools=tools))
    told = sent[0]["messages"][1]["tool_calls"][0]
    assert len(told["id"]) <= 64
    assert told["function"]["name"] == sent[0]["tools"][0]["function"]["name"] != long
    assert (answer.json["content"][0]["id"], answer.json["content"][0]["name"]) == ("i" * 70, long)


async def test_images_and_results_arrive(tmp_path: Path) -> None:
    async with between(tmp_path, "zai-chat", stream=False) as (proxy, upstream):
        turns = [user("go"), assistant(use("a")), user(result("a", text("shot"), IMAGE))]
        assert (await asked(proxy, WAYS["messages"], said(WAYS["messages"], messages=turns))).status == 200
    body = json.loads(upstream.sent[0].body)
    assert body["model"] == "glm-4.6v"
    assert body["messages"][-1]["content"][1] == PART
    async with between(tmp_path, "anthropic", stream=False) as (proxy, upstream):
        turns = [user("go"), called(("a", "{}")), tool("a", "r"), user("on")]
        assert (await asked(proxy, WAYS["chat"], said(WAYS["chat"], messages=turns))).status == 200
    assert json.loads(upstream.sent[0].body)["messages"][-1] == user(result("a", "r"), text("on"))


async def test_openai_runs_a_tool_loop_before_an_anthropic_upstream(tmp_path: Path) -> None:
    async with echoing() as (url, echo), proxying(tmp_path, url) as proxy:
        async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="k", max_retries=0) as client:
            turns: list[Any] = [user("read it")]
            tools: Any = [{"type": "function", "function": {"name": "read", "parameters": TOOL_SCHEMA}}]
            reasons = []
            for _ in range(3):
                ask: Any = {"model": "glm-4.6", "messages": turns, "tools": tools, "reasoning_effort": "low"}
                async with client.chat.completions.stream(**ask, stream_options={"include_usage": True}) as stream:
                    reply = await stream.get_final_completion()
                whole = await client.chat.completions.create(**ask)
                message = reply.choices[0].message
                assert (whole.choices[0].message.content or "") == message.content
                assert reply.model == whole.model == "glm-4.6"
                assert reply.usage is not None
                assert reply.usage.prompt_tokens > 0
                reasons.append(reply.choices[0].finish_reason)
                turns.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
                turns += [tool(call.id, "text") for call in message.tool_calls or ()]
            assert reasons == ["tool_calls", "tool_calls", "stop"]
            assert turns[1]["reasoning_content"]
    assert {sent.path for sent in echo.requests} == {"/v1/messages"}


async def test_anthropic_runs_a_tool_loop_before_a_chat_upstream(tmp_path: Path) -> None:
    async with echoing() as (url, echo), proxying(tmp_path, url) as proxy:
        async with anthropic.AsyncAnthropic(base_url=proxy.url, api_key="k", max_retries=0) as client:
            turns: list[Any] = [user("read it")]
            tools: Any = [{"name": "read", "description": "reads", "input_schema": TOOL_SCHEMA}]
            thinking: Any = {"type": "enabled", "budget_tokens": 1024}
            reasons = []
            for _ in range(3):
                ask: Any = {"model": "glm-4.6-openai", "max_tokens": 2000, "messages": turns, "tools": tools}
                async with client.messages.stream(**ask, thinking=thinking) as stream:
                    reply = await stream.get_final_message()
                whole = await client.messages.create(**ask, thinking=thinking)
                assert [block.type for block in whole.content] == [block.type for block in reply.content]
                assert reply.content[0].type == "thinking"
                assert reply.usage.input_tokens > 0
                reasons.append(reply.stop_reason)
                turns.append({"role": "assistant", "content": reply.content})
                calls = [block for block in reply.content if block.type == "tool_use"]
                turns.append(user(*(result(call.id, "text") for call in calls)))
            assert reasons == ["tool_use", "tool_use", "end_turn"]
    assert {sent.path for sent in echo.requests} == {"/v1/chat/completions"}
