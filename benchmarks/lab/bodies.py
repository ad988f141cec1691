"""Request bodies, the same at every run: a small one, a stream's, and an agent's with one new message each time."""

import json
import re
from collections.abc import Callable
from functools import partial
from itertools import count
from random import Random
from typing import Any, Literal

Client = Literal["messages", "chat"]
Make = Callable[[], list[bytes]]
"""Makes the next body, in pieces."""

PATHS: dict[Client, str] = {"messages": "/v1/messages", "chat": "/v1/chat/completions"}
MODELS: dict[Client, str] = {"messages": "glm-4.6", "chat": "glm-4.6-openai"}
ROOMY: dict[Client, str] = {"messages": "glm-5.2", "chat": "glm-5.2-openai"}
"""Models whose window holds the huge body, of 290,000 tokens."""
SMALL, LARGE, HUGE = 1_000, 421_000, 1_060_000
MESSAGES, TOOLS = 200, 15
"""Those of the large body; the huge one has twice as many messages."""
WORDS = re.findall(
    r"\w+",
    "path index node value error result stream token cache the of and to in is that for with this from have or one had "
    "by word but what all were when your can said there use each which she do how their will other about out many then",
)


def small(client: Client, *, stream: bool = False, model: str = "") -> Make:
    """A body of 1 KB."""
    head = _head(client, stream=stream, model=model)
    room = SMALL - len(_json(head | _prompt(client, "", "")))
    body = _json(head | _prompt(client, _prose(Random(1), room // 2), _prose(Random(2), room - room // 2)))
    return lambda: [body]


def agent(client: Client, *, model: str = "", size: int = LARGE, number: int = MESSAGES) -> Make:
    """A body of 421 KB with 200 messages (199 for Anthropic) and 15 tools, or of another size and number of messages.

    Only the last message is new each time.
    """
    rng = Random(7)
    tools = [_tool(client, f"tool_{number}", _prose(rng, 500)) for number in range(TOOLS)]
    around = (
        _head(client, stream=False, model=model)
        | {"tools": tools}
        | _prompt(client, _prose(rng, 12_000), _prose(rng, 800))
    )
    first = around.pop("messages")
    room = (size - len(_json(around))) // (number // 2)
    messages = [*first, *_turns(client, rng, room, number - len(first))][: number - 1]
    if messages[-1]["role"] != "assistant":  # the new message is the result of a call
        messages.pop()
    before = _json(around)[:-1] + b',"messages":' + _json(messages)[:-1] + b","
    news, text = count(), _code(rng, room - 300)
    return partial(_next, client, before, news, text, _call_id(messages[-1]))


def _next(client: Client, before: bytes, news: "count[int]", text: str, call: str) -> list[bytes]:
    return [before, _json(_result(client, call, f"# read {next(news)}\n{text}")), b"]}"]


def _turns(client: Client, rng: Random, room: int, number: int) -> list[dict[str, Any]]:
    turns = []
    for index in range(0, number, 2):
        name, path = f"tool_{index % TOOLS}", f"src/{rng.choice(WORDS)}/{rng.choice(WORDS)}_{index}.py"
        turns.append(_call(client, f"call_{index:06d}", name, {"path": path, "line": index}, _prose(rng, 160)))
        turns.append(_result(client, f"call_{index:06d}", _code(rng, room - 500)))
    return turns


def _head(client: Client, *, stream: bool, model: str = "") -> dict[str, Any]:
    head: dict[str, Any] = {"model": model or MODELS[client], "max_tokens": 4096, "stream": stream}
    return head | {"stream_options": {"include_usage": True}} if stream and client == "chat" else head


def _prompt(client: Client, system: str, user: str) -> dict[str, Any]:
    if client == "messages":
        return {"system": system, "messages": [{"role": "user", "content": user}]}
    return {"messages": [{"role": "system", "content": system}, {"role": "user", "content": user}]}


def _tool(client: Client, name: str, description: str) -> dict[str, Any]:
    members = {"path": {"type": "string", "description": "in the workspace"}, "line": {"type": "integer"}}
    schema = {"type": "object", "properties": members, "required": ["path"]}
    if client == "messages":
        return {"name": name, "description": description, "input_schema": schema}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


def _call(client: Client, ident: str, name: str, given: dict[str, Any], said: str) -> dict[str, Any]:
    if client == "messages":
        use = {"type": "tool_use", "id": ident, "name": name, "input": given}
        return {"role": "assistant", "content": [{"type": "text", "text": said}, use]}
    function = {"name": name, "arguments": json.dumps(given)}
    return {
        "role": "assistant",
        "content": said,
        "tool_calls": [{"id": ident, "type": "function", "function": function}],
    }


def _result(client: Client, ident: str, text: str) -> dict[str, Any]:
    if client == "messages":
        return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": ident, "content": text}]}
    return {"role": "tool", "tool_call_id": ident, "content": text}


def _call_id(message: dict[str, Any]) -> str:
    calls = message.get("tool_calls") or message["content"]
    return str(calls[-1]["id"])


def _prose(rng: Random, size: int) -> str:
    text = ""
    while len(text) < size:
        text += " ".join(rng.choices(WORDS, k=12)).capitalize() + ". "
    return text[: max(0, size)]


def _code(rng: Random, size: int) -> str:
    """Lines that take that many bytes in JSON, 3.1 characters to a token (recorded tool results: 2.9 to 4.1)."""
    lines: list[str] = []
    while size > 0:
        one, other = rng.choices(WORDS, k=2)
        lines.append(
            f"    {one}_{other} = self.read({other}, line={rng.randrange(999)})  # the {one} of each “{other}”\n"
        )
        size -= len(_json(lines[-1])) - 2
    return "".join(lines)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
