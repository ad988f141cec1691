"""Answers of the proxy's own writing, held against the published schemas that llm-comply brings along."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

EVENTS = {
    "message_start": "MessageStartEvent",
    "content_block_start": "ContentBlockStartEvent",
    "content_block_delta": "ContentBlockDeltaEvent",
    "content_block_stop": "ContentBlockStopEvent",
    "message_delta": "MessageDeltaEvent",
    "message_stop": "MessageStopEvent",
    "error": "ErrorResponse",
}
ASKED = {"messages": "CreateMessageParams", "chat": "CreateChatCompletionRequest"}
WHOLE = {"messages": "Message", "chat": "CreateChatCompletionResponse"}
FILES = {"messages": "anthropic.json", "chat": "openai_chat.json"}

# The list of types in that file lacks the one for 413, which Anthropic's page on errors has.
UNLISTED = "request_too_large"

NEWER = ("none", "xhigh", "max")
"""Efforts that OpenAI takes since that file was written, and z.ai's own."""


@cache
def validator(dialect: str, name: str, *, short: bool = False) -> Draft202012Validator:
    """The validator of one schema; with `short` members may be missing, and what is there must fit."""
    spec = json.loads((files("llm_comply") / "specs" / FILES[dialect]).read_text("utf-8"))
    if dialect == "chat":
        _nullable(spec["components"])
    if short:
        _optional(spec["components"])
    return Draft202012Validator({**spec, "$ref": f"#/components/schemas/{name}"})


def _nullable(value: Any) -> None:
    """OpenAPI 3.0's `nullable` as JSON Schema says it: null is a type, and one of the values of an `enum`."""
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _nullable(inner)
    if isinstance(value, dict) and value.pop("nullable", False) is True:
        if isinstance(value.get("type"), str):
            value["type"] = [value["type"], "null"]
        if "$ref" in value:
            value["anyOf"] = [{"$ref": value.pop("$ref")}, {"type": "null"}]
        for several in {"oneOf", "anyOf"} & value.keys():
            value[several] = [*value[several], {"type": "null"}]
        if isinstance(value.get("enum"), list):
            value["enum"] = [*value["enum"], None]


def _optional(value: Any) -> None:
    """No member is required any more, so that several of some forms may fit."""
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _optional(inner)
    if isinstance(value, dict):
        if isinstance(value.get("required"), list):
            del value["required"]
        if isinstance(value.get("oneOf"), list):
            value["anyOf"] = [*value.pop("oneOf"), *value.pop("anyOf", ())]


def told(dialect: str, status: int, body: bytes) -> list[tuple[str, Any]]:
    """What an answer holds, each value with the name of its schema."""
    if status != 200:
        return [("ErrorResponse", json.loads(body))]
    if body[:1] == b"{":
        return [(WHOLE[dialect], json.loads(body))]
    found = []
    for frame in body.decode().split("\n\n"):
        data = next((line[5:].strip() for line in frame.split("\n") if line.startswith("data:")), "")
        if not data or data == "[DONE]":
            continue
        value = json.loads(data)
        if dialect == "chat":
            found.append(("ErrorResponse" if "error" in value else "CreateChatCompletionStreamResponse", value))
        elif value["type"] in EVENTS:
            found.append((EVENTS[value["type"]], value))
    return found


def check(dialect: str, status: int, body: bytes, *, short: bool = False) -> None:
    """Assert that all values of an answer fit their schemas; with `short` members of a reply may be missing."""
    for name, value in told(dialect, status, body):
        if name == "ErrorResponse" and value["error"]["type"] == UNLISTED:
            continue
        faults = [
            error.message[:300] for error in validator(dialect, name, short=short and status == 200).iter_errors(value)
        ]
        assert faults == [], (name, faults, value)


def asked(dialect: str, body: Any) -> None:
    """Assert that a request fits its schema."""
    if dialect == "chat" and body.get("reasoning_effort") in NEWER:
        body = {**body, "reasoning_effort": "high"}
    faults = [error.message[:300] for error in validator(dialect, ASKED[dialect]).iter_errors(body)]
    assert faults == [], body
