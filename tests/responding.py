"""Helpers for tests of Responses: streams as events, their grammar, and the published schemas they must fit."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from trimtab.conversation import Conversation
from trimtab.dialects import DIALECTS
from trimtab.dialects.responses import Responses
from trimtab.dialects.sse import Framer, parse
from trimtab.memo import MessageTable

ENDS = ("response.completed", "response.incomplete", "response.failed")
_SCHEMAS = {
    "created": "Created",
    "in_progress": "InProgress",
    "completed": "Completed",
    "incomplete": "Incomplete",
    "failed": "Failed",
    "output_item.added": "OutputItemAdded",
    "output_item.done": "OutputItemDone",
    "content_part.added": "ContentPartAdded",
    "content_part.done": "ContentPartDone",
    "output_text.delta": "OutputTextDelta",
    "output_text.done": "OutputTextDone",
    "function_call_arguments.delta": "FunctionCallArgumentsDelta",
    "function_call_arguments.done": "FunctionCallArgumentsDone",
    "reasoning_summary_text.delta": "ReasoningSummaryDelta",
    "reasoning_summary_text.done": "ReasoningSummaryDone",
    "reasoning_summary_part.added": "ReasoningSummaryPartAdded",
    "reasoning_summary_part.done": "ReasoningSummaryPartDone",
}
_OPEN_ITEMS = ("message", "function_call", "reasoning", "compaction")
"""The kinds of items that the open schema knows; OpenAI's own knows them all."""
_SDK: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def request(**members: Any) -> Conversation:
    """A parsed request."""
    body = json.dumps({"model": "m", "input": "hi", **members}).encode()
    return DIALECTS["responses"].parse(body, MessageTable(10**7))


def replying(**members: Any) -> Responses:
    """The dialect for the replies to a request; its ids and its clock stand still."""
    return Responses(lambda: "0" * 24, lambda: 1_000.0).bound(request(**members))


def told(raw: bytes) -> list[dict[str, Any]]:
    """The events of a stream, whose names are their types."""
    framer, found = Framer(), []
    for frame in framer.feed(raw):
        name, data = parse(frame)
        if data is not None:
            found.append(json.loads(data))
            assert name is not None
            assert name.decode() == found[-1]["type"]
    assert not framer.rest.strip()
    return found


def kinds(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """Their types without `response.`."""
    return [str(event["type"]).removeprefix("response.") for event in events]


def check(events: Sequence[Mapping[str, Any]], *, schema: bool = True) -> dict[str, Any]:
    """Hold a whole stream against the grammar and the schemas; its last response object."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert kinds(events)[:2] == ["created", "in_progress"]
    assert [event["type"] in ENDS for event in events] == [False] * (len(events) - 1) + [True]
    assert len({event["response"]["id"] for event in events if "response" in event}) == 1
    done = _items(events)
    last: dict[str, Any] = dict(events[-1]["response"])
    assert last["output"] == done
    for event in events if schema else ():
        fits(event)
    return last


def _items(events: Sequence[Mapping[str, Any]]) -> list[Any]:
    """One item at a time, each added, grown and done under one id and number."""
    opened: tuple[int, str] | None = None
    added, done, text = 0, [], ""
    for event in events[2:-1]:
        kind = str(event["type"]).removeprefix("response.")
        if kind == "output_item.added":
            assert opened is None
            assert event["output_index"] == added
            opened, text = (added, event["item"]["id"]), ""
            added += 1
        elif kind == "output_item.done":
            assert opened == (event["output_index"], event["item"]["id"])
            opened = None
            done.append(event["item"])
        else:
            assert opened == (event["output_index"], event["item_id"])
            text += event["delta"] if kind.endswith(".delta") else ""
            if kind.endswith(("text.done", "arguments.done", "input.done")):
                assert text == event.get("text", event.get("arguments", event.get("input")))
    return done


def fits(event: Mapping[str, Any]) -> None:
    """Hold an event against OpenAI's own types, and against the open schema where that knows its parts."""
    _SDK.validate_python(_listed(event))
    kind = str(event["type"]).removeprefix("response.")
    item = event.get("item", {}).get("type", "message")
    output = [made["type"] for made in event.get("response", {}).get("output", ())]
    tools = [tool.get("type") for tool in event.get("response", {}).get("tools", ())]
    known = {*output, item} <= set(_OPEN_ITEMS) and set(tools) <= {"function"} and not _by_schema(event.get("response"))
    if kind in _SCHEMAS and known:
        schema(f"Response{_SCHEMAS[kind]}StreamingEvent", _plain(event))


def _listed(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """With a code that OpenAI's types list: those on which Codex acts (context_length_exceeded, insufficient_quota) are
    not among them, and the open schema takes any."""
    error = (event.get("response") or {}).get("error")
    if not error:
        return event
    assert isinstance(error["code"], str)
    return {**event, "response": {**event["response"], "error": {**error, "code": "server_error"}}}


def whole(body: Mapping[str, Any]) -> None:
    """Hold a response object against both."""
    Response.model_validate(body)
    plain = not _by_schema(body) and not body["tools"]
    if plain and {item["type"] for item in body["output"]} <= set(_OPEN_ITEMS):
        schema("ResponseResource", _plain(body))


def _by_schema(response: Mapping[str, Any] | None) -> bool:
    """Whether JSON by a schema was asked for: the open schema wants the `schema` of a format to be null."""
    return bool(response) and ((response or {}).get("text") or {}).get("format", {}).get("type") == "json_schema"


def _plain(value: Any) -> Any:
    """Without the description of a function that told none: the open schema wants a text."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if not (key == "description" and inner is None)} | (
            {"description": ""} if value.get("type") == "function" and value.get("description") is None else {}
        )
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def schema(name: str, value: Any) -> None:
    """Hold a value against a schema of the open specification, which comes with llm-comply."""
    _validator(name).validate(value)


@cache
def _validator(name: str) -> Draft202012Validator:
    text = (files("llm_comply") / "specs" / "openresponses.json").read_text("utf-8")
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", **json.loads(text)})
