"""P34 to P39: streams of chat upstreams for messages clients, and the same streams for chat clients."""

import json
from pathlib import Path
from typing import Any

import pytest

import responding
from wire.cases.play import CHAT, DONE, GLM_CHAT, MESSAGES, RESPONSES, Played, call, data, play, user

pytestmark = pytest.mark.anyio

BYTEWISE = pytest.mark.parametrize("bytewise", [False, True], ids=["frames", "bytes"])


def asked(path: str, stream: bool = True) -> dict[str, Any]:
    return {"model": GLM_CHAT, "max_tokens": 9, "stream": stream, "messages": [user("hi")]}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    return data(
        {"id": "c1", "model": "glm-4.6", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}
    )


def piece(index: int, arguments: str | None = None, **more: Any) -> dict[str, Any]:
    name = {"name": more.pop("name")} if "name" in more else {}
    said = {} if arguments is None else {"arguments": arguments}
    return {"index": index, **more, "function": {**name, **said}}


def calls(*pieces: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"tool_calls": [*pieces], **more}


USAGE = {"prompt_tokens": 30, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 10}}
END = [chunk({}, "tool_calls", usage=USAGE), DONE]
START = chunk({"role": "assistant", "content": ""})


async def streamed(folder: Path, *frames: bytes, bytewise: bool = False) -> Played:
    return await play(folder, MESSAGES, asked(MESSAGES), [START, *frames], bytewise=bytewise)


def stop_reason(played: Played) -> str:
    return str(next(frame["delta"]["stop_reason"] for frame in played.frames if frame["type"] == "message_delta"))


@BYTEWISE
async def test_P34_white_space_beside_a_call_loses_no_call(tmp_path: Path, bytewise: bool) -> None:
    whole = calls(piece(0, '{"a":"b"}', id="t1", name="read"), content="\n")
    played = await streamed(tmp_path, chunk(whole), *END, bytewise=bytewise)
    found = [block for block in played.blocks if block["type"] == "tool_use"]
    assert [(block["id"], block["name"], block["input"]) for block in found] == [("t1", "read", {"a": "b"})]
    assert stop_reason(played) == "tool_use"
    message = {"role": "assistant", "content": "\n", "tool_calls": [call("t1", arguments='{"a":"b"}')]}
    reply = data({"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": USAGE})[6:]
    answer = (await play(tmp_path, MESSAGES, asked(MESSAGES, stream=False), reply)).answer.json
    assert [block["input"] for block in answer["content"] if block["type"] == "tool_use"] == [{"a": "b"}]
    assert answer["stop_reason"] == "tool_use"


@BYTEWISE
async def test_P35_a_call_that_comes_whole_starts_and_gives_its_input_at_once(tmp_path: Path, bytewise: bool) -> None:
    played = await streamed(tmp_path, chunk(calls(piece(0, '{"a":1}', id="t1", name="read"))), *END, bytewise=bytewise)
    kinds = [frame["type"] for frame in played.frames]
    start = kinds.index("content_block_start")
    assert kinds[start : start + 3] == ["content_block_start", "content_block_delta", "content_block_stop"]
    assert played.frames[start]["content_block"]["input"] == {}
    assert played.frames[start + 1]["delta"] == {"type": "input_json_delta", "partial_json": '{"a":1}'}


@BYTEWISE
@pytest.mark.parametrize("later", ["read", "", None])
async def test_P36_a_name_told_again_starts_no_second_call(tmp_path: Path, later: str | None, bytewise: bool) -> None:
    pieces = [piece(0, '{"a"', id="t1", name="read"), piece(0, ":1}", id="t1", name=later)]
    played = await streamed(tmp_path, *(chunk(calls(one)) for one in pieces), *END, bytewise=bytewise)
    assert [(block["name"], block["input"]) for block in played.blocks] == [("read", {"a": 1})]
    late = [piece(0, None, id="t1", name=""), piece(0, '{"a":1}', name="read")]
    played = await streamed(tmp_path, *(chunk(calls(one)) for one in late), *END, bytewise=bytewise)
    assert [(block["name"], block["input"]) for block in played.blocks] == [("read", {"a": 1})]


@BYTEWISE
@pytest.mark.parametrize("arguments", ["", None])
async def test_P37_a_call_without_arguments_has_an_empty_input(
    tmp_path: Path, arguments: str | None, bytewise: bool
) -> None:
    played = await streamed(tmp_path, chunk(calls(piece(0, arguments, id="t1", name="read"))), *END, bytewise=bytewise)
    assert [block["input"] for block in played.blocks] == [{}]
    assert "null" not in [frame.get("delta", {}).get("partial_json") for frame in played.frames]
    function = {"name": "read", **({} if arguments is None else {"arguments": arguments})}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "t1", "type": "function", "function": function}],
    }
    whole = data({"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": USAGE})[6:]
    answer = (await play(tmp_path, MESSAGES, asked(MESSAGES, stream=False), whole)).answer.json
    assert (answer["content"][0]["input"], answer["stop_reason"]) == ({}, "tool_use")


@BYTEWISE
async def test_P38_a_stop_behind_calls_means_the_calls(tmp_path: Path, bytewise: bool) -> None:
    frames = [chunk(calls(piece(0, "{}", id="t1", name="read"))), chunk({}, "stop", usage=USAGE), DONE]
    assert stop_reason(await streamed(tmp_path, *frames, bytewise=bytewise)) == "tool_use"
    message = {"role": "assistant", "content": None, "tool_calls": [call("t1")]}
    whole = data({"choices": [{"message": message, "finish_reason": "stop"}], "usage": USAGE})[6:]
    answer = (await play(tmp_path, MESSAGES, asked(MESSAGES, stream=False), whole)).answer.json
    assert answer["stop_reason"] == "tool_use"
    played = await play(tmp_path, CHAT, asked(CHAT), [START, *frames], bytewise=bytewise)
    finishes = [choice["finish_reason"] for frame in played.frames[:-1] for choice in frame["choices"]]
    assert [finish for finish in finishes if finish] == ["tool_calls"]
    answer = (await play(tmp_path, CHAT, asked(CHAT, stream=False), whole)).answer.json
    assert answer["choices"][0]["finish_reason"] == "tool_calls"


MIXED = [
    chunk({"reasoning_content": "hm"}),
    chunk({"content": "I look"}),
    chunk(calls(piece(0, '{"a"', id="t1", name="read"))),
    chunk(calls(piece(1, '{"b"', id="t2", name="list"))),
    chunk(calls(piece(0, ":1}", name=""))),
    chunk(calls(piece(2, None, name="late"))),
    chunk(calls(piece(1, ":2}"), piece(2, '{"c":3}'))),
    chunk({"content": "text behind the calls"}),
    chunk({}, "stop"),
    data({"id": "c1", "choices": [], "usage": USAGE}),
    DONE,
]
"""Calls whose pieces are mixed, one of them without an id, and named late or again; a text behind them; late usage."""


@BYTEWISE
async def test_P34_to_P39_mixed_pieces_come_out_one_by_one_for_a_client_of_responses(
    tmp_path: Path, bytewise: bool
) -> None:
    body = {"model": GLM_CHAT, "stream": True, "input": "hi"}
    played = await play(tmp_path, RESPONSES, body, [START, *MIXED], bytewise=bytewise)
    last = responding.check(responding.told(played.answer.body))
    kinds = [item["type"] for item in last["output"]]
    assert kinds == ["reasoning", "message", *["function_call"] * 2, "message", "function_call"]
    made = [item for item in last["output"] if item["type"] == "function_call"]
    assert [(item["name"], json.loads(item["arguments"])) for item in made] == [
        ("read", {"a": 1}),
        ("list", {"b": 2}),
        ("late", {"c": 3}),
    ]
    assert all(item["call_id"] for item in made)
    assert (last["status"], last["usage"]["input_tokens"]) == ("completed", 30)
    assert last["usage"]["input_tokens_details"]["cached_tokens"] == 10


@BYTEWISE
async def test_P39_a_finish_on_every_chunk_is_told_once_and_at_the_end(tmp_path: Path, bytewise: bool) -> None:
    frames = [chunk({"content": said}, "stop") for said in ("one", " two", " three")]
    played = await streamed(tmp_path, *frames, chunk({}, "stop", usage=USAGE), DONE, bytewise=bytewise)
    assert [block["text"] for block in played.blocks] == ["one two three"]
    assert stop_reason(played) == "end_turn"


@BYTEWISE
async def test_calls_whose_pieces_are_mixed_come_out_one_by_one(tmp_path: Path, bytewise: bool) -> None:
    played = await streamed(tmp_path, *MIXED, bytewise=bytewise)
    found = played.blocks
    assert [block["type"] for block in found] == ["thinking", "text", *["tool_use"] * 2, "text", "tool_use"]
    assert [block["input"] for block in found if block["type"] == "tool_use"] == [{"a": 1}, {"b": 2}, {"c": 3}]
    assert all(block["id"] for block in found if block["type"] == "tool_use")
    assert found[0]["signature"]
    end = next(frame for frame in played.frames if frame["type"] == "message_delta")
    assert (end["usage"]["input_tokens"], end["usage"]["cache_read_input_tokens"]) == (20, 10)


async def test_usage_in_a_chunk_behind_the_finish_is_taken(tmp_path: Path) -> None:
    guess = {"prompt_tokens": 1, "completion_tokens": 1}
    for first in (None, guess):
        frames = [
            chunk({"content": "a"}),
            chunk({}, "stop", usage=first),
            data({"id": "c1", "choices": [], "usage": USAGE}),
            DONE,
        ]
        played = await streamed(tmp_path, *frames)
        end = next(frame for frame in played.frames if frame["type"] == "message_delta")
        assert (end["usage"]["input_tokens"], end["usage"]["output_tokens"]) == (20, 4)


async def test_a_stream_that_breaks_off_inside_a_call_leaves_it_open(tmp_path: Path) -> None:
    cut = [chunk(calls(piece(0, '{"path":"a', id="t1", name="write")))]
    played = await streamed(tmp_path, *cut)
    kinds = [frame["type"] for frame in played.frames]
    assert kinds[-1] == "error"
    assert not {"content_block_stop", "message_delta", "message_stop"} & set(kinds)
    played = await play(tmp_path, CHAT, asked(CHAT), [START, *cut])
    assert "error" in played.frames[-1]
    assert DONE not in played.answer.body
    assert not any(choice.get("finish_reason") for frame in played.frames for choice in frame.get("choices", ()))


@BYTEWISE
async def test_P12_a_stream_opens_with_our_count_and_ends_with_the_true_numbers(tmp_path: Path, bytewise: bool) -> None:
    played = await streamed(tmp_path, chunk({"content": "a"}), chunk({}, "stop", usage=USAGE), DONE, bytewise=bytewise)
    opened = played.frames[0]["message"]["usage"]
    assert opened["input_tokens"] > 0
    end = next(frame["usage"] for frame in played.frames if frame["type"] == "message_delta")
    assert (end["input_tokens"], end["cache_read_input_tokens"], end["output_tokens"]) == (20, 10, 4)
