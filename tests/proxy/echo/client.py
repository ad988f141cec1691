"""Drive the echo's ASGI application by hand, and read what it sends."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message

from trimtab.echo import Echo, EchoOptions, echo_app


@dataclass
class Answer:
    """The messages of one response."""

    messages: list[Message]

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages[1:])

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One echo and the calls made to it."""

    def __init__(self, **options: Any) -> None:
        self.app: ASGIApp = (app := echo_app(EchoOptions(**options)))
        self.echo: Echo = app.state.echo

    async def post(self, path: str, body: dict[str, Any] | bytes, headers: dict[str, str] | None = None) -> Answer:
        return await self.call("POST", path, body, headers)

    async def call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | bytes = b"",
        headers: dict[str, str] | None = None,
        hang_up_after: int | None = None,
        spec_version: str = "2.1",
    ) -> Answer:
        """Call; the client leaves after so many messages, by an event up to ASGI 2.3 and by an OSError from 2.4."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent: list[Message] = []
        gone = asyncio.Event()
        # In two parts, as servers do with a body of any size.
        parts = [{"body": raw[:7], "more_body": True}, {"body": raw[7:], "more_body": False}]
        if hang_up_after == 0:
            gone.set()

        async def receive() -> Message:
            if parts:
                return {"type": "http.request", **parts.pop(0)}
            await (gone.wait() if spec_version < "2.4" else asyncio.Event().wait())
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if gone.is_set() and spec_version >= "2.4":
                raise OSError
            sent.append(message)
            if len(sent) == hang_up_after:
                gone.set()

        await self.app(scope(method, path, headers or {}, spec_version), receive, send)
        return Answer(sent)


def scope(method: str, path: str, headers: dict[str, str], spec_version: str) -> dict[str, Any]:
    path, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": spec_version},
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }


def sse(chunks: Sequence[bytes]) -> list[tuple[str | None, Any]]:
    """Read events, each of which must be one chunk: (name, value)."""
    events: list[tuple[str | None, Any]] = []
    for chunk in chunks:
        text = chunk.decode()
        assert text.endswith("\n\n")
        lines = text[:-2].split("\n")
        name = lines.pop(0).removeprefix("event: ") if lines[0].startswith("event: ") else None
        assert [line[:6] for line in lines] == ["data: "]
        data = lines[0][6:]
        events.append((name, data if data == "[DONE]" else json.loads(data)))
    return events


def fold_messages(chunks: Sequence[bytes]) -> dict[str, Any]:
    """Fold a stream of the messages dialect into a message, checking its grammar on the way."""
    events = sse(chunks)
    assert all(name == value["type"] for name, value in events)
    names = [str(name) for name, _ in events]
    assert names[:2] == ["message_start", "ping"]
    assert names[-2:] == ["message_delta", "message_stop"]
    message: dict[str, Any] = events[0][1]["message"]
    assert message["content"] == []
    assert message["stop_reason"] is None
    open_block, arguments = None, ""
    for name, value in events[2:-2]:
        blocks = message["content"]
        if name == "content_block_start":
            assert open_block is None
            assert value["index"] == len(blocks)
            blocks.append(value["content_block"])
            open_block, arguments = value["index"], ""
        elif name == "content_block_delta":
            assert value["index"] == open_block
            match value["delta"]:
                case {"type": "text_delta", "text": text}:
                    blocks[-1]["text"] += text
                case {"type": "thinking_delta", "thinking": text}:
                    blocks[-1]["thinking"] += text
                case {"type": "signature_delta", "signature": text}:
                    blocks[-1]["signature"] = text
                case {"type": "input_json_delta", "partial_json": text}:
                    arguments += text
                case delta:
                    raise AssertionError(delta)
        else:
            assert name == "content_block_stop"
            assert value["index"] == open_block
            if arguments:
                blocks[-1]["input"] = json.loads(arguments)
            open_block = None
    assert open_block is None
    end = events[-2][1]
    message.update(end["delta"])
    message["usage"].update(end["usage"])
    return message


def fold_chat(chunks: Sequence[bytes]) -> dict[str, Any]:
    """Fold a stream of the chat dialect, asked for with usage, into a completion."""
    events = [value for name, value in sse(chunks) if name is None]
    assert len(events) == len(chunks)
    assert events.pop() == "[DONE]"
    usage = events.pop()
    assert usage["choices"] == []
    heads = [{key: event[key] for key in ("id", "object", "created", "model")} for event in [*events, usage]]
    assert heads == [heads[0]] * len(heads)
    assert all(event["usage"] is None for event in events)
    assert events[0]["choices"][0]["delta"]["role"] == "assistant"
    assert events[-1]["choices"][0]["delta"] == {}
    message: dict[str, Any] = {"refusal": None}
    for event in events:
        delta = event["choices"][0]["delta"]
        for key in ("content", "reasoning_content"):
            if key in delta:
                message[key] = delta[key] if message.get(key) is None else message[key] + delta[key]
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                assert call.pop("index") == len(message.setdefault("tool_calls", []))
                message["tool_calls"].append(call)
            else:
                message["tool_calls"][call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    finishes = [event["choices"][0]["finish_reason"] for event in events]
    assert finishes[:-1] == [None] * (len(events) - 1)
    choice = {"index": 0, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": finishes[-1]}
    return {**heads[0], "object": "chat.completion", "choices": [choice], "usage": usage["usage"]}
