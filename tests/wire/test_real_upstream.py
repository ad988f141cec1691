"""A real inference server (llama.cpp's own) behind the proxy: tool loops, true usage, and slots freed by a hang-up."""

import asyncio
import os
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import openai
import pytest

from wire.harness import Proxy, connect, exchange, post, proxying, request

REAL = os.environ.get("REAL_UPSTREAM", "")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not REAL, reason="needs a running inference server: REAL_UPSTREAM=URL, see tests/README.md"),
]

TURNS = 14
SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
PIPELINES = """
[pipeline.default]
stages = ["auth", "token-count", "route", "log"]
[model.tiny]
upstreams = { messages = "zai-messages", chat = "zai-chat" }
[upstream.zai-messages]
accepts = []
[upstream.zai-chat]
accepts = []
"""


def served(folder: Path) -> Any:
    """The proxy in front of the server."""
    return proxying(folder, REAL, pipelines=PIPELINES)


async def slots(busy: int) -> None:
    """Wait until `busy` of the server's slots are at work."""
    async with asyncio.timeout(10):
        while sum(slot["is_processing"] for slot in (await exchange(REAL, "GET", "/slots")).json) != busy:
            pass


async def direct(path: str, body: Any) -> Any:
    """The server's own answer, without the proxy."""
    return (await post(REAL, path, msgspec.json.encode(body))).json


@pytest.mark.parametrize("model", ["tiny", "tiny-openai"], ids=["same dialect", "translated"])
async def test_a_tool_loop_over_messages(tmp_path: Path, model: str) -> None:
    async with served(tmp_path) as proxy:
        async with anthropic.AsyncAnthropic(base_url=proxy.url, api_key="k", max_retries=0) as client:
            tools: Any = [{"name": "read_file", "description": "Reads a file.", "input_schema": SCHEMA}]
            messages: list[Any] = [{"role": "user", "content": "Read the files, one after another."}]
            for turn in range(TURNS):
                ask: Any = {"model": model, "max_tokens": 200, "messages": messages, "tools": tools}
                async with client.messages.stream(**ask) as stream:
                    reply = await stream.get_final_message()
                usage = reply.usage
                counted = await direct("/v1/messages/count_tokens", {**ask, "model": "tiny"})
                assert usage.input_tokens + (usage.cache_read_input_tokens or 0) == counted["input_tokens"]
                assert usage.output_tokens > 0
                whole = reply.stop_reason != "max_tokens"
                # A reply cut off inside its thoughts says nothing yet; the translation leaves such a turn out.
                content = [block for block in reply.content if whole or block.type == "text"]
                calls = [block for block in content if block.type == "tool_use"]
                assert (reply.stop_reason == "tool_use") == bool(calls)
                kept = [block.model_dump(exclude_none=True) for block in content]
                messages.append({"role": "assistant", "content": kept or "..."})
                results = [{"type": "tool_result", "tool_use_id": call.id, "content": f"text {turn}"} for call in calls]
                messages.append({"role": "user", "content": results or "Go on."})


@pytest.mark.parametrize("model", ["tiny-openai", "tiny"], ids=["same dialect", "translated"])
async def test_a_tool_loop_over_chat(tmp_path: Path, model: str) -> None:
    async with served(tmp_path) as proxy:
        async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="k", max_retries=0) as client:
            tools: Any = [{"type": "function", "function": {"name": "read_file", "parameters": SCHEMA}}]
            messages: list[Any] = [{"role": "user", "content": "Read the files, one after another."}]
            for turn in range(TURNS):
                ask: Any = {"model": model, "max_tokens": 200, "messages": messages, "tools": tools}
                chunks = await client.chat.completions.create(
                    **ask, stream=True, stream_options={"include_usage": True}
                )
                text, calls, usage, reason = await folded(chunks)
                again = await direct("/v1/chat/completions", {**ask, "model": "tiny", "max_tokens": 1})
                assert usage.prompt_tokens == again["usage"]["prompt_tokens"]
                assert usage.completion_tokens > 0
                if reason == "length":
                    calls = []
                for call in calls:
                    msgspec.json.decode(call["function"]["arguments"])
                messages.append(
                    {"role": "assistant", "content": text or "..."} | ({"tool_calls": calls} if calls else {})
                )
                messages += [{"role": "tool", "tool_call_id": call["id"], "content": f"text {turn}"} for call in calls]
                if not calls:
                    messages.append({"role": "user", "content": "Go on."})


async def folded(chunks: Any) -> tuple[str, list[Any], Any, str]:
    """The text, tool calls, usage and finish reason of a stream."""
    text, usage, reason = "", None, ""
    calls: dict[int, Any] = {}
    async for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
            for part in choice.delta.tool_calls or ():
                call = calls.setdefault(
                    part.index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
                )
                call["id"] = part.id or call["id"]
                call["function"]["name"] += part.function.name or ""
                call["function"]["arguments"] += part.function.arguments or ""
    return text, list(calls.values()), usage, reason


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
async def test_a_hang_up_frees_the_slot(tmp_path: Path, path: str) -> None:
    body = {"model": "tiny-openai", "max_tokens": 20_000, "stream": True, "ignore_eos": True}
    body |= {"messages": [{"role": "user", "content": "Go on for ever."}]}
    if path.endswith("messages"):
        body["model"] = "tiny"
    async with served(tmp_path) as proxy:
        await hung_up(proxy, path, msgspec.json.encode(body))
        async with asyncio.timeout(1):
            await slots(0)


async def hung_up(proxy: Proxy, path: str, body: bytes) -> None:
    """Start a stream and close the connection in its middle."""
    reader, writer = await connect(proxy.url)
    writer.write(request("POST", path, body))
    await reader.readuntil(b"data: ")
    await slots(1)
    writer.close()
