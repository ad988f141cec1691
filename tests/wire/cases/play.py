"""Plays one case of protocol.md section 3: a client, the proxy, and an upstream with a script, over real sockets."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import published
import responding
from laws.samples import REPLIES
from trimtab.dialects.sse import Framer, parse
from wire.harness import PATIENCE, PIPELINES, Answer, connect, post, proxying, request
from wire.harness import parse as read
from wire.scripted import SSE, Link, Sent, playing

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
GLM, GLM_CHAT = "glm-4.6", "glm-4.6-openai"
"""Names that lead to the upstream of `messages`, and to that of `chat`, which has z.ai's quirks."""

DEFAULT = PIPELINES.replace('"image-aging", ', "")
"""The default chain, but for what asks models by itself."""

ANY = DEFAULT + '[upstream.zai-chat]\ntool-choice = "any"\njson-schema = true\nfiles = true\n'
"""A chat upstream that takes what OpenAI takes."""

ALONE = "[retry]\nattempts = 1\n"
"""Added to every pipelines.toml."""

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # one pixel


def data(value: Any) -> bytes:
    """A frame of chat, or the last word."""
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def event(value: dict[str, Any]) -> bytes:
    """A frame of messages."""
    return f"event: {value['type']}\n".encode() + data(value)


DONE = data(b"[DONE]")


class Played(NamedTuple):
    """What the client got, and what the upstream was sent."""

    answer: Answer
    sent: list[Sent]

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.answer.status

    @property
    def body(self) -> Any:
        """The first body that went upstream."""
        return json.loads(self.sent[0].body)

    @property
    def frames(self) -> list[Any]:
        """The client's events, decoded; the last word as bytes."""
        found = [parse(frame).data for frame in Framer().feed(self.answer.body)]
        return [line if line == b"[DONE]" else json.loads(line) for line in found if line is not None]

    def text(self) -> str:
        """All visible text of a stream."""
        if b"event: message_start" in self.answer.body:
            return "".join(frame.get("delta", {}).get("text", "") for frame in self.frames)
        return "".join(str(delta.get("content") or "") for delta in self.deltas)

    @property
    def deltas(self) -> list[dict[str, Any]]:
        """The deltas of a chat stream."""
        return [
            choice["delta"] for frame in self.frames if isinstance(frame, dict) for choice in frame.get("choices", ())
        ]

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """The blocks of a messages stream put together, whose grammar is checked on the way."""
        return blocks(self.frames)


async def play(
    folder: Path,
    path: str,
    body: dict[str, Any],
    *answers: bytes | Sequence[bytes],
    pipelines: str = DEFAULT,
    status: str = "200 OK",
    bytewise: bool = False,
    once: bool = False,
    seen: bytes = b"",
    headers: Mapping[str, str] | None = None,
    alone: bool = True,
) -> Played:
    """One request. Each answer is a whole body, or the pieces of a stream; the last one stands for all later requests.

    `status` is that of whole answers, with `once` of the first only. With `bytewise` a stream comes byte by byte. The
    proxy does not try again by itself, unless `alone` is false. With `seen` the second piece of a stream waits until
    the client has read that.
    """
    given, reached = list(answers), asyncio.Event()

    async def script(sent: Sent, link: Link) -> None:
        answer = given.pop(0) if len(given) > 1 else given[0]
        if isinstance(answer, bytes):
            await link.json(answer, "200 OK" if once and len(upstream.sent) > 1 else status)
            return
        await link.raw(SSE)
        for at_, piece in enumerate(answer):
            if at_ == 1 and seen:
                await reached.wait()
            for part in (piece[at : at + 1] for at in range(len(piece))) if bytewise else (piece,):
                await link.chunk(part)
        await link.chunk(b"")

    async with (
        playing(script) as upstream,
        proxying(folder, upstream.url, pipelines=pipelines + ALONE * alone) as proxy,
    ):
        asked = json.dumps(body).encode()
        fields = {"x-api-key": "k", **(headers or {})}
        answer = await (_read(proxy.url, path, asked, seen, reached) if seen else post(proxy.url, path, asked, fields))
    played = Played(answer, upstream.sent)
    _check(path.partition("?")[0], played)
    return played


async def _read(url: str, path: str, body: bytes, seen: bytes, reached: asyncio.Event) -> Answer:
    """One request; `reached` is set when some bytes of its answer have come."""
    reader, writer = await connect(url)
    async with asyncio.timeout(PATIENCE):
        writer.write(request("POST", path, body, {"connection": "close", "x-api-key": "k"}))
        opening = b""
        while seen not in opening:
            opening += await reader.readexactly(1)
        reached.set()
        answer = read(opening + await reader.read())
    writer.close()
    return answer


def _check(path: str, played: Played) -> None:
    """Hold requests and answers of the proxy's own writing against the published schemas.

    What passes in the same dialect is the client's or the upstream's, and may be as short as its script.
    """
    for sent in played.sent:
        told = MESSAGES if sent.path.endswith(MESSAGES) else CHAT
        if told != path and not sent.path.endswith("/count_tokens"):
            published.asked("messages" if told == MESSAGES else "chat", json.loads(sent.body))
    if path == RESPONSES:
        if played.status == 200 and played.answer.body[:1] == b"{":
            responding.whole(played.answer.json)
        return
    if played.status != 200 or (played.sent and not played.sent[0].path.endswith(path)):
        published.check("messages" if path == MESSAGES else "chat", played.status, played.answer.body)


async def sent(folder: Path, path: str, body: dict[str, Any], pipelines: str = DEFAULT) -> Any:
    """The body that goes upstream; the same whether the client streams or not."""
    dialect = "openai" if body["model"] == GLM_CHAT or body["model"].endswith("v") else "anthropic"
    whole = await play(folder, path, body, REPLIES[dialect].body, pipelines=pipelines)
    streamed = await play(folder, path, {**body, "stream": True}, [REPLIES[dialect].stream], pipelines=pipelines)
    assert (whole.status, streamed.status) == (200, 200), (whole.answer.body, streamed.answer.body)
    first, second = whole.body, streamed.body
    assert second.pop("stream") is True
    second.pop("stream_options", None)
    first.pop("stream", None)
    assert first == second
    return first


def blocks(frames: Sequence[Any]) -> list[dict[str, Any]]:
    """Blocks of a messages stream. Asserts its grammar: well nested, no gap in the indices, exactly one end."""
    found: list[dict[str, Any]] = []
    opened: int | None = None
    kinds = [frame["type"] for frame in frames if frame["type"] != "ping"]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    assert (kinds.count("message_start"), kinds.count("message_delta"), kinds.count("message_stop")) == (1, 1, 1)
    for frame in frames:
        kind = frame["type"]
        if kind == "content_block_start":
            assert opened is None
            assert frame["index"] == len(found)
            opened = frame["index"]
            found.append({**frame["content_block"], "json": ""})
        elif kind == "content_block_delta":
            assert frame["index"] == opened
            _grow(found[-1], frame["delta"])
        elif kind == "content_block_stop":
            assert frame["index"] == opened
            opened = None
    assert opened is None
    return [_closed(block) for block in found]


def _grow(block: dict[str, Any], delta: dict[str, Any]) -> None:
    for name in ("text", "thinking", "signature"):
        if name in delta:
            block[name] = block.get(name, "") + delta[name]
    block["json"] += delta.get("partial_json", "")


def _closed(block: dict[str, Any]) -> dict[str, Any]:
    written = block.pop("json")
    if block["type"] == "tool_use" and written:
        block["input"] = json.loads(written)
    return block


def user(*content: Any) -> dict[str, Any]:
    """A turn of the user."""
    return {"role": "user", "content": content[0] if len(content) == 1 and isinstance(content[0], str) else [*content]}


def use(id_: str, name: str = "read", **given: Any) -> dict[str, Any]:
    """A call, in messages."""
    return {"type": "tool_use", "id": id_, "name": name, "input": given}


def result(id_: str, content: Any = None, **more: Any) -> dict[str, Any]:
    """The result of a call, in messages."""
    said = {} if content is None else {"content": content}
    return {"type": "tool_result", "tool_use_id": id_, **said, **more}


def call(id_: str, name: str = "read", arguments: str = "{}") -> dict[str, Any]:
    """A call, in chat."""
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def called(*calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A turn of the assistant with calls, in chat."""
    return {"role": "assistant", "content": None, "tool_calls": [*calls], **more}


def answered(id_: str, content: Any) -> dict[str, Any]:
    """The result of a call, in chat."""
    return {"role": "tool", "tool_call_id": id_, "content": content}


def text(said: str, **more: Any) -> dict[str, Any]:
    """A text, in either dialect."""
    return {"type": "text", "text": said, **more}


def assistant(*content: Any) -> dict[str, Any]:
    """A turn of the assistant, in messages."""
    return {"role": "assistant", "content": [*content]}


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
IMAGE_URL = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}


def tool(name: str, schema: Any = None, **more: Any) -> dict[str, Any]:
    """A tool on offer, in messages."""
    given = {"type": "object", "properties": {"a": {"type": "string"}}} if schema is None else schema
    return {"name": name, "description": f"does {name}", "input_schema": given, **more}
