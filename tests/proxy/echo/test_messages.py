"""Replies in the dialect of Messages."""

from typing import Any

import msgspec
import pytest
from anthropic.types import Message, ModelInfo, RawMessageStreamEvent
from pydantic import TypeAdapter

from proxy.echo.client import fold_messages, sse
from proxy.echo.test_chat import REPLIES
from trimtab.echo import messages
from trimtab.echo.faults import Fault
from trimtab.echo.nouns import Reply
from trimtab.echo.prompt import Request

REQUIRED = {
    "message": "id type role content model stop_reason stop_sequence stop_details usage container",
    "usage": "input_tokens output_tokens cache_creation_input_tokens cache_read_input_tokens cache_creation "
    "output_tokens_details server_tool_use service_tier inference_geo",
    "delta": "container stop_details stop_reason stop_sequence",
    "delta usage": "cache_creation_input_tokens cache_read_input_tokens input_tokens output_tokens "
    "output_tokens_details server_tool_use",
    "text": "citations text type",
    "tool_use": "caller id input name type",
    "thinking": "signature thinking type",
}


def whole(reply: Reply) -> dict[str, Any]:
    answer: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(messages.answer(reply)))
    return answer


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_the_folded_stream_is_the_answer(reply: Reply, chunk: int) -> None:
    assert fold_messages(list(messages.events(reply, chunk, usage=False))) == whole(reply)


@pytest.mark.parametrize("reply", REPLIES)
def test_the_official_sdk_reads_it(reply: Reply) -> None:
    Message.model_validate_json(msgspec.json.encode(messages.answer(reply)), strict=True)
    adapter: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
    for name, event in sse(list(messages.events(reply, 7, usage=False))):
        if name != "ping":
            adapter.validate_python(event)


@pytest.mark.parametrize("reply", REPLIES)
def test_every_required_key_is_there(reply: Reply) -> None:
    events = [event for _, event in sse(list(messages.events(reply, 7, usage=False)))]
    for message in (whole(reply), events[0]["message"]):
        assert message.keys() == set(REQUIRED["message"].split())
        assert message["usage"].keys() == set(REQUIRED["usage"].split())
    assert events[-2]["delta"].keys() == set(REQUIRED["delta"].split())
    assert events[-2]["usage"].keys() == set(REQUIRED["delta usage"].split())
    starts = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    for block in [*whole(reply)["content"], *starts]:
        assert block.keys() == set(REQUIRED[block["type"]].split())


def test_usage_is_that_of_a_provider() -> None:
    usage = messages.answer(REPLIES[0])["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (44, 256)
    assert usage["cache_creation_input_tokens"] == 0
    assert usage["output_tokens"] == 40
    start = sse(list(messages.events(REPLIES[0], 9, usage=False)))[0][1]["message"]["usage"]
    assert (start["input_tokens"], start["cache_read_input_tokens"], start["output_tokens"]) == (44, 256, 1)


def test_the_arguments_come_in_pieces() -> None:
    events = [event for _, event in sse(list(messages.events(REPLIES[2], 20, usage=False)))]
    assert sum(event["type"] == "content_block_delta" for event in events) > 5


@pytest.mark.parametrize(
    ("kind", "expected"), [(None, False), ("enabled", True), ("adaptive", True), ("disabled", False)]
)
def test_when_it_thinks(kind: str | None, expected: bool) -> None:
    assert messages.thinks(Request("m", [], thinking={"type": kind} if kind else None)) is expected


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
    ],
)
def test_an_error_has_the_type_of_its_status(status: int, kind: str) -> None:
    assert messages.error(Fault(status, "no"), "req_1") == {
        "type": "error",
        "error": {"type": kind, "message": "no"},
        "request_id": "req_1",
    }


def test_an_overflow_says_what_clients_look_for() -> None:
    assert messages.overflow(101, 100) == "prompt is too long: 101 tokens > 100 maximum"


def test_models_are_listed() -> None:
    listed = messages.models(["a", "b"], 1000)
    assert [ModelInfo.model_validate(model).id for model in listed["data"]] == ["a", "b"]
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, "a", "b")
    assert messages.models([], 1000)["first_id"] is None
