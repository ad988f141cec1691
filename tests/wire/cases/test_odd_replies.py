"""Replies that few servers give and clients must get right all the same, each streamed and not."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from responding import told
from wire.cases.play import CHAT, DONE, GLM, GLM_CHAT, MESSAGES, RESPONSES, Played, data, event, play

pytestmark = pytest.mark.anyio
MODES = pytest.mark.parametrize("stream", [True, False])
CLIENTS = pytest.mark.parametrize("path", [MESSAGES, RESPONSES])
USAGE = {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19}


def chat(stream: bool, finish: str, *deltas: dict[str, Any], **message: Any) -> Any:
    """A reply of chat: its deltas, or as one body its message."""
    head = {"id": "chatcmpl-1", "model": "m", "created": 1}
    if not stream:
        choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}
        return json.dumps({**head, "object": "chat.completion", "choices": [choice], "usage": USAGE}).encode()
    said = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    chunks = [*said, {"index": 0, "delta": {}, "finish_reason": finish}]
    frames = [data({**head, "object": "chat.completion.chunk", "choices": [chunk]}) for chunk in chunks]
    return [*frames, data({**head, "choices": [], "usage": USAGE}), DONE]


async def heard(folder: Path, path: str, model: str, answer: Any, *, stream: bool) -> Played:
    """What a client gets for one question."""
    said: dict[str, Any] = {"input": "hi"} if path == RESPONSES else {"messages": [{"role": "user", "content": "hi"}]}
    limit = {"max_tokens": 99} if path == MESSAGES else {}
    played = await play(folder, path, {"model": model, "stream": stream, **said, **limit}, answer)
    assert played.status == 200
    return played


def reply(path: str, played: Played, *, stream: bool) -> Any:
    """The whole reply: the blocks and the reason of messages, or the response object."""
    if path == RESPONSES:
        return told(played.answer.body)[-1]["response"] if stream else played.answer.json
    if not stream:
        return played.answer.json
    end = next(frame for frame in played.frames if frame["type"] == "message_delta")
    return {"content": played.blocks, "stop_reason": end["delta"]["stop_reason"]}


def calls(path: str, whole: Any) -> list[tuple[str, str, Any]]:
    """Id, name and input of the calls."""
    if path == RESPONSES:
        items = [item for item in whole["output"] if item["type"] == "function_call"]
        return [(item["call_id"], item["name"], json.loads(item["arguments"])) for item in items]
    return [(block["id"], block["name"], block["input"]) for block in whole["content"] if block["type"] == "tool_use"]


@CLIENTS
@MODES
async def test_a_call_of_the_time_of_functions_is_a_call(tmp_path: Path, path: str, stream: bool) -> None:
    halves = {"name": "read", "arguments": '{"a":'}, {"arguments": "1}"}
    deltas = [{"function_call": half} for half in halves]
    answer = chat(stream, "function_call", *deltas, function_call={"name": "read", "arguments": '{"a":1}'})
    whole = reply(path, await heard(tmp_path, path, GLM_CHAT, answer, stream=stream), stream=stream)
    [(id_, name, given)] = calls(path, whole)
    assert (id_.startswith("call_"), name, given) == (True, "read", {"a": 1})
    assert whole.get("stop_reason", "tool_use") == "tool_use"


@CLIENTS
@MODES
async def test_two_calls_of_one_id_are_told_apart(tmp_path: Path, path: str, stream: bool) -> None:
    made = [
        {"index": at, "id": "same", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for at, name in enumerate(("read", "list"))
    ]
    answer = chat(stream, "tool_calls", *({"tool_calls": [call]} for call in made), tool_calls=made)
    whole = reply(path, await heard(tmp_path, path, GLM_CHAT, answer, stream=stream), stream=stream)
    (first, _, _), (second, name, _) = calls(path, whole)
    assert (first, name) == ("same", "list")
    assert second.startswith("call_")


@MODES
async def test_an_odd_id_is_plain_letters_for_a_client_of_messages(tmp_path: Path, stream: bool) -> None:
    call = {"index": 0, "id": "functions.read:0", "type": "function", "function": {"name": "read", "arguments": "{}"}}
    answer = chat(stream, "tool_calls", {"tool_calls": [call]}, tool_calls=[call])
    whole = reply(MESSAGES, await heard(tmp_path, MESSAGES, GLM_CHAT, answer, stream=stream), stream=stream)
    [(id_, _, _)] = calls(MESSAGES, whole)
    assert re.fullmatch("[A-Za-z0-9_-]+", id_)


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
@MODES
async def test_two_blocks_of_one_id_are_told_apart(tmp_path: Path, path: str, stream: bool) -> None:
    uses: list[dict[str, Any]] = [
        {"type": "tool_use", "id": "same", "name": name, "input": {}} for name in ("read", "list")
    ]
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
    usage = {"input_tokens": 3, "output_tokens": 2}
    start = {"type": "message_start", "message": {**head, "content": [], "stop_reason": None, "usage": usage}}
    frames: list[dict[str, Any]] = [start]
    for at, use in enumerate(uses):
        frames += [{"type": "content_block_start", "index": at, "content_block": use}]
        frames += [{"type": "content_block_stop", "index": at}]
    frames += [
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": usage},
        {"type": "message_stop"},
    ]
    body = json.dumps({**head, "content": uses, "stop_reason": "tool_use", "usage": usage}).encode()
    answer = [event(frame) for frame in frames] if stream else body
    played = await heard(tmp_path, path, GLM, answer, stream=stream)
    if path == RESPONSES:
        ids = [id_ for id_, _, _ in calls(path, reply(path, played, stream=stream))]
    elif stream:
        ids = [call["id"] for delta in played.deltas for call in delta.get("tool_calls", ()) if "id" in call]
    else:
        ids = [call["id"] for call in played.answer.json["choices"][0]["message"]["tool_calls"]]
    assert ids[0] == "same"
    assert ids[1].startswith("call_")


@MODES
async def test_a_thought_in_details_only_is_a_thought(tmp_path: Path, stream: bool) -> None:
    details: list[Any] = [{"type": "reasoning.text", "text": "so"}, {"type": "reasoning.summary", "summary": "!"}, 5]
    deltas: list[dict[str, Any]] = [{"reasoning_details": details}, {"content": "ok"}]
    answer = chat(stream, "stop", *deltas, reasoning_details=details, content="ok")
    whole = reply(MESSAGES, await heard(tmp_path, MESSAGES, GLM_CHAT, answer, stream=stream), stream=stream)
    assert [(block["type"], block.get("thinking") or block.get("text")) for block in whole["content"]] == [
        ("thinking", "so!"),
        ("text", "ok"),
    ]


@CLIENTS
@MODES
async def test_a_refusal_is_told_as_one(tmp_path: Path, path: str, stream: bool) -> None:
    answer = chat(stream, "stop", {"refusal": "I will "}, {"refusal": "not"}, refusal="I will not")
    whole = reply(path, await heard(tmp_path, path, GLM_CHAT, answer, stream=stream), stream=stream)
    if path == MESSAGES:
        assert (whole["stop_reason"], whole["content"][0]["text"]) == ("refusal", "I will not")
    else:
        assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})
        assert whole["output"][0]["content"][0]["text"] == "I will not"
