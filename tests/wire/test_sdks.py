"""The official SDKs against the proxy on a real server, with the embedded upstream behind it."""

import base64
import struct
import zlib
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from wire.harness import echoing, proxying

pytestmark = pytest.mark.anyio

TOOL_SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
SEEING = """
[pipeline.default]
stages = ["auth", "token-count", "route", "log"]
[upstream.zai-messages]
images = true
[model.seeing]
images = true
upstreams = { messages = "zai-messages", chat = "zai-chat" }
"""


def png(width: int, height: int) -> bytes:
    """A black picture."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (width + 1) * height)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b"")


PICTURE = base64.b64encode(png(8, 8)).decode()


async def test_anthropic_answers_streams_and_counts(tmp_path: Path) -> None:
    async with echoing() as (url, echo), proxying(tmp_path, url) as proxy:
        async with anthropic.AsyncAnthropic(base_url=proxy.url, api_key="k", max_retries=0) as client:
            ask: Any = {"model": "glm-4.6", "max_tokens": 99, "messages": [{"role": "user", "content": "good day"}]}
            whole = await client.messages.create(**ask)
            async with client.messages.stream(**ask) as stream:
                streamed = await stream.get_final_message()
            counted = await client.messages.count_tokens(model="glm-4.6", messages=ask["messages"])
            assert "good day" in whole.content[0].text
            assert streamed.to_dict()["content"][0]["text"] == whole.to_dict()["content"][0]["text"]  # type: ignore[index]
            assert whole.usage.input_tokens == streamed.usage.input_tokens == counted.input_tokens
            names = [model.id async for model in client.models.list()]
            assert "glm-4.6" in names
            assert (await client.models.retrieve("glm-4.6")).display_name == "GLM-4.6"
        assert {sent.headers.get("x-api-key") for sent in echo.requests} == {"k"}


async def test_anthropic_runs_a_tool_loop(tmp_path: Path) -> None:
    async with echoing() as (url, echo), proxying(tmp_path, url) as proxy:
        async with anthropic.AsyncAnthropic(base_url=proxy.url, api_key="k", max_retries=0) as client:
            messages: list[Any] = [{"role": "user", "content": "read it"}]
            tools: Any = [{"name": "read", "description": "reads", "input_schema": TOOL_SCHEMA}]
            reasons = []
            for _ in range(3):
                async with client.messages.stream(
                    model="glm-4.6", max_tokens=99, messages=messages, tools=tools
                ) as stream:
                    reply = await stream.get_final_message()
                reasons.append(reply.stop_reason)
                messages.append({"role": "assistant", "content": reply.content})
                calls = [block for block in reply.content if block.type == "tool_use"]
                results = [{"type": "tool_result", "tool_use_id": call.id, "content": "text"} for call in calls]
                messages.append({"role": "user", "content": results})
            assert reasons == ["tool_use", "tool_use", "end_turn"]
            assert len(echo.requests) == 3


async def test_anthropic_sends_an_image(tmp_path: Path) -> None:
    async with echoing() as (url, _), proxying(tmp_path, url, pipelines=SEEING) as proxy:
        async with anthropic.AsyncAnthropic(base_url=proxy.url, api_key="k", max_retries=0) as client:
            source: Any = {"type": "base64", "media_type": "image/png", "data": PICTURE}
            content: Any = [{"type": "image", "source": source}, {"type": "text", "text": "what is it"}]
            reply = await client.messages.create(
                model="seeing", max_tokens=9, messages=[{"role": "user", "content": content}]
            )
            assert "1 images" in reply.content[0].text  # type: ignore[union-attr]  # the echo answers with text


async def test_openai_answers_streams_and_sees(tmp_path: Path) -> None:
    async with echoing() as (url, _), proxying(tmp_path, url) as proxy:
        async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="k", max_retries=0) as client:
            ask: Any = {"model": "glm-4.6-openai", "messages": [{"role": "user", "content": "good day"}]}
            whole = await client.chat.completions.create(**ask)
            chunks = await client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
            parts = [chunk async for chunk in chunks]
            text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
            assert text == whole.choices[0].message.content
            assert "good day" in text
            assert parts[-1].usage is not None
            assert whole.usage is not None
            assert parts[-1].usage.prompt_tokens == whole.usage.prompt_tokens
            url_part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
            seen = await client.chat.completions.create(
                model="glm-4.6-openai",
                messages=[{"role": "user", "content": [url_part]}],  # type: ignore[list-item,misc]  # a plain dict
            )
            assert "1 images" in (seen.choices[0].message.content or "")
            assert seen.model == "glm-4.6-openai"
            assert "glm-4.6" in [model.id async for model in client.models.list()]


async def test_openai_runs_a_tool_loop(tmp_path: Path) -> None:
    async with echoing() as (url, _), proxying(tmp_path, url) as proxy:
        async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="k", max_retries=0) as client:
            messages: list[Any] = [{"role": "user", "content": "read it"}]
            tools: Any = [{"type": "function", "function": {"name": "read", "parameters": TOOL_SCHEMA}}]
            reasons = []
            for _ in range(3):
                async with client.chat.completions.stream(
                    model="glm-4.6-openai", messages=messages, tools=tools
                ) as stream:
                    reply = (await stream.get_final_completion()).choices[0]
                reasons.append(reply.finish_reason)
                messages.append(reply.message.model_dump(exclude_none=True, exclude={"parsed"}))
                calls = reply.message.tool_calls or ()
                messages += [{"role": "tool", "tool_call_id": call.id, "content": "text"} for call in calls]
            assert reasons == ["tool_calls", "tool_calls", "stop"]


async def test_errors_are_the_sdks_own_classes(tmp_path: Path) -> None:
    async with echoing() as (url, _), proxying(tmp_path, url) as proxy:
        async with anthropic.AsyncAnthropic(base_url=proxy.url, api_key="k", max_retries=0) as client:
            with pytest.raises(anthropic.BadRequestError):
                await client.messages.create(model="", max_tokens=1, messages=[{"role": "user", "content": "x"}])
            with pytest.raises(anthropic.NotFoundError, match="glm-4"):
                await client.models.retrieve("glm-4.66")
        async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="k", max_retries=0) as other:
            with pytest.raises(openai.BadRequestError, match="one answer at a time"):
                await other.chat.completions.create(model="glm-4.6", n=2, messages=[{"role": "user", "content": "x"}])
