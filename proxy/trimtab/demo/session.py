"""The agent's side of a session, in either dialect: what it has said so far, and what it says next."""

import json
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from . import workspace
from .workspace import Offer

Json = dict[str, Any]


class Session(ABC):
    """A tool loop: each answer that calls a tool is followed by the tool's result, and every turn of the user ends with
    a block on the environment."""

    dialect: ClassVar[str]
    path: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, model: str, salt: str) -> None:
        self.model = model
        self.salt = salt
        self.turn = 0
        self.messages = self._opening()

    def body(self) -> bytes:
        """The request for the next turn."""
        return json.dumps(self._request()).encode()

    def answered(self, answer: Json) -> None:
        """Take a reply, in its form without streaming, and append it with the results of its calls."""
        self.turn += 1
        self._append(answer, workspace.file(self.turn, self.salt))

    def _environment(self) -> Json:
        return _text(workspace.environment(self.turn, self.salt))

    def _ident(self, place: int) -> str:
        """The id of a call. A provider's own is a hash of all it read: it would differ each way, by some tokens."""
        return f"call_{self.turn:04d}_{place}"

    @abstractmethod
    def _opening(self) -> list[Json]: ...

    @abstractmethod
    def _request(self) -> Json: ...

    @abstractmethod
    def _append(self, answer: Json, content: str) -> None: ...


class MessagesSession(Session):
    """Anthropic Messages, with cache marks where agents put them."""

    dialect = "messages"
    path = "/v1/messages"
    title = "Anthropic Messages"

    def _opening(self) -> list[Json]:
        return [{"role": "user", "content": [_text(workspace.task()), self._environment()]}]

    def _request(self) -> Json:
        return {
            "model": self.model,
            "max_tokens": 4096,
            "system": [_marked(_text(workspace.system(self.salt)))],
            "messages": [*self.messages[:-1], _with_mark(self.messages[-1])],
            "tools": [_messages_tool(offer) for offer in workspace.offers(self.salt)],
            "stream": True,
        }

    def _append(self, answer: Json, content: str) -> None:
        blocks = [
            {**block, "id": self._ident(place)} if block["type"] == "tool_use" else block
            for place, block in enumerate(answer["content"])
        ]
        self.messages.append({"role": "assistant", "content": blocks})
        results = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": content}
            for block in blocks
            if block["type"] == "tool_use"
        ]
        if results:
            self.messages.append({"role": "user", "content": [*results, self._environment()]})


class ChatSession(Session):
    """OpenAI Chat Completions."""

    dialect = "chat"
    path = "/v1/chat/completions"
    title = "OpenAI Chat Completions"

    def _opening(self) -> list[Json]:
        return [
            {"role": "system", "content": workspace.system(self.salt)},
            {"role": "user", "content": [_text(workspace.task()), self._environment()]},
        ]

    def _request(self) -> Json:
        return {
            "model": self.model,
            "max_tokens": 4096,
            "messages": self.messages,
            "tools": [_chat_tool(offer) for offer in workspace.offers(self.salt)],
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def _append(self, answer: Json, content: str) -> None:
        message = answer["choices"][0]["message"]
        calls = [{**call, "id": self._ident(place)} for place, call in enumerate(message.get("tool_calls") or ())]
        self.messages.append({**message, "tool_calls": calls} if calls else message)
        self.messages += [{"role": "tool", "tool_call_id": call["id"], "content": content} for call in calls]
        if calls:
            self.messages.append({"role": "user", "content": [self._environment()]})


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _marked(block: Json) -> Json:
    return {**block, "cache_control": {"type": "ephemeral"}}


def _with_mark(message: Json) -> Json:
    *blocks, last = message["content"]
    return {**message, "content": [*blocks, _marked(last)]}


def _messages_tool(offer: Offer) -> Json:
    return {"name": offer.name, "description": offer.description, "input_schema": offer.schema}


def _chat_tool(offer: Offer) -> Json:
    function = {"name": offer.name, "description": offer.description, "parameters": offer.schema}
    return {"type": "function", "function": function}
