"""Helpers for tests of translation: rows, short ways in, and the rules that bodies of each dialect must obey."""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

import published
import trimtab
from trimtab.conversation import Conversation
from trimtab.dialects import DIALECTS
from trimtab.memo import MessageTable
from trimtab.models import Model, Target, Upstream
from trimtab.translate import translate

SHIPPED = tomllib.loads((Path(trimtab.__file__).parent / "models.toml").read_text("utf-8"))


def row(name: str, **changes: Any) -> Upstream:
    """A shipped upstream."""
    return msgspec.structs.replace(msgspec.convert(SHIPPED["upstream"][name], Upstream), name=name, **changes)


def model(name: str) -> Model:
    """A shipped model."""
    return msgspec.structs.replace(msgspec.convert(SHIPPED["model"][name], Model), name=name)


GLM = model("glm-4.6")
ZAI_CHAT = Target(row("zai-chat"), GLM)
ZAI_MESSAGES = Target(row("zai-messages"), GLM)
CHAT = Target(Upstream(name="c", dialect="chat", base_url="http://c.test"), Model(name="m"))
MESSAGES = Target(Upstream(name="a", dialect="messages", base_url="http://a.test"), Model(name="m"))
CHECKED = Target(msgspec.structs.replace(MESSAGES.upstream, signatures="checked"), MESSAGES.model)
SPREAD = Target(row("zai-chat", reasoning="spread"), GLM)


def parsed(dialect: str, body: Mapping[str, Any] | bytes, table: MessageTable | None = None) -> Conversation:
    """A conversation out of a body."""
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return DIALECTS[dialect].parse(raw, MessageTable(10**8) if table is None else table)


class Result(msgspec.Struct):
    """A translated body, decoded, and what was dropped."""

    body: dict[str, Any]
    dropped: tuple[str, ...]
    stop_words: tuple[str, ...] = ()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Its messages."""
        found: list[dict[str, Any]] = self.body["messages"]
        return found


def from_messages(target: Target, *messages: Any, **head: Any) -> Result:
    """A messages request at a chat upstream."""
    return sent("messages", {"model": "x", "max_tokens": 9, "messages": list(messages), **head}, target)


def from_chat(target: Target, *messages: Any, **head: Any) -> Result:
    """A chat request at a messages upstream."""
    return sent("chat", {"model": "x", "messages": list(messages), **head}, target)


def sent(dialect: str, body: Mapping[str, Any], target: Target) -> Result:
    """A request as it leaves; its body obeys the rules of its dialect."""
    found = translate(parsed(dialect, body), target)
    decoded = json.loads(found.body)
    if target.dialect != dialect:
        assert decoded["model"] == target.model.name
        check(target.dialect, decoded)
    return Result(decoded, found.dropped, found.stop_words)


def user(*content: Any) -> dict[str, Any]:
    """A user's turn: one string, or blocks."""
    return {"role": "user", "content": content[0] if content and isinstance(content[0], str) else list(content)}


def assistant(*content: Any) -> dict[str, Any]:
    """An assistant's turn."""
    return {**user(*content), "role": "assistant"}


def text(said: str, **more: Any) -> dict[str, Any]:
    """A block of text."""
    return {"type": "text", "text": said, **more}


def use(id_: str, name: str = "read", **given: Any) -> dict[str, Any]:
    """A call, in messages."""
    return {"type": "tool_use", "id": id_, "name": name, "input": given}


def result(id_: str, *content: Any, **more: Any) -> dict[str, Any]:
    """A result, in messages."""
    inner = {"content": content[0] if isinstance(content[0], str) else list(content)} if content else {}
    return {"type": "tool_result", "tool_use_id": id_, **inner, **more}


def called(*calls: tuple[str, str], **more: Any) -> dict[str, Any]:
    """An assistant's message with calls (id, arguments), in chat."""
    made = [{"id": i, "type": "function", "function": {"name": "read", "arguments": a}} for i, a in calls]
    return {"role": "assistant", "content": None, "tool_calls": made, **more}


def tool(id_: str, content: Any, **more: Any) -> dict[str, Any]:
    """A result, in chat."""
    return {"role": "tool", "tool_call_id": id_, "content": content, **more}


PNG = "iVBORw0KGgo="
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
PART = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}


def check(dialect: str, body: Mapping[str, Any], *, schema: bool = True) -> None:
    """Hold a body against the rules of its dialect, and against the published schema, which takes a while."""
    if schema:
        published.asked(dialect, body)
    (check_chat if dialect == "chat" else check_messages)(body["messages"])
    if dialect == "messages":
        assert body["max_tokens"] > 0
        assert body.get("system") != []
        assert all(block["text"].strip() for block in body.get("system", ()))
        assert json.dumps(body).count('"cache_control"') <= 4


_ID = re.compile(r"[a-zA-Z0-9_-]+")


def check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    """Roles alternate, calls are answered at once and first, ids fit, nothing is empty, no thought ends a turn."""
    assert [message["role"] for message in messages] == ["user", "assistant"] * (len(messages) // 2) + ["user"] * (
        len(messages) % 2
    )
    asked: list[str] = []
    seen: set[str] = set()
    for message in messages:
        blocks = message["content"]
        assert blocks
        _check_blocks(blocks)
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        assert results == asked
        assert [block["type"] for block in blocks[: len(results)]] == ["tool_result"] * len(results)
        asked = [block["id"] for block in blocks if block["type"] == "tool_use"]
        assert all(_ID.fullmatch(id_) for id_ in asked)
        assert not seen & set(asked)
        assert len(set(asked)) == len(asked)
        seen |= set(asked)
        if message["role"] == "assistant":
            assert blocks[-1]["type"] != "thinking"
        else:
            assert not asked
    assert not asked


def _check_blocks(blocks: Iterable[Mapping[str, Any]]) -> None:
    for block in blocks:
        match block["type"]:
            case "text":
                assert block["text"].strip()
            case "thinking":
                assert block["signature"]
            case "tool_use":
                assert isinstance(block["input"], dict)
                assert re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", block["name"])
            case "tool_result":
                if isinstance(block["content"], list):
                    assert block["content"]
                    _check_blocks(block["content"])
            case kind:
                assert kind in ("image", "document")


def check_chat(messages: Sequence[Mapping[str, Any]]) -> None:
    """Calls are answered at once, in their order and by text; no cache marks; nothing is empty but a result."""
    asked: list[str] = []
    assert messages
    assert '"cache_control"' not in json.dumps([_outside(message) for message in messages])
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] == asked.pop(0)
            assert isinstance(message["content"], str)
            continue
        assert not asked
        content = message["content"]
        calls = message.get("tool_calls", [])
        assert content or calls
        if isinstance(content, list):
            assert message["role"] == "user"
            assert {part["type"] for part in content} <= {"text", "image_url", "file"}
            assert all(part["text"] for part in content if part["type"] == "text")
        for call in calls:
            assert isinstance(call["function"]["arguments"], str)
            assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", call["function"]["name"])
        asked = [call["id"] for call in calls]
        assert all(0 < len(id_) <= 64 for id_ in asked)
        assert len(set(asked)) == len(asked)
    assert not asked


def _outside(message: Mapping[str, Any]) -> Any:
    """A message without what may hold any text."""
    return (
        [part if part["type"] != "text" else "" for part in message["content"] if isinstance(part, dict)]
        if (isinstance(message["content"], list))
        else {key: value for key, value in message.items() if key not in ("content", "tool_calls", "reasoning_content")}
    )
