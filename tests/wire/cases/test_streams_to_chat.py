"""P40 to P42: streams of messages upstreams for chat clients, and how streams are spelled."""

from pathlib import Path
from typing import Any

import pytest

from wire.cases.play import CHAT, DONE, GLM, GLM_CHAT, MESSAGES, blocks, data, event, play, user

pytestmark = pytest.mark.anyio

ASKED: dict[str, Any] = {"model": GLM, "stream": True, "messages": [user("hi")]}
HEAD: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "glm-4.6",
    "content": [],
    "stop_reason": None,
}
USAGE = {"input_tokens": 20, "cache_read_input_tokens": 5, "output_tokens": 1}


def block(index: int, opened: dict[str, Any], *deltas: dict[str, Any]) -> list[bytes]:
    frames = [event({"type": "content_block_start", "index": index, "content_block": opened})]
    frames += [event({"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas]
    return [*frames, event({"type": "content_block_stop", "index": index})]


START = event({"type": "message_start", "message": {**HEAD, "usage": USAGE}})
TEXT = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "hello"})
END = [
    event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}),
    event({"type": "message_stop"}),
]


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": True}])
@pytest.mark.parametrize("upstream", ["messages", "chat"])
async def test_P40_usage_is_told_in_a_chunk_of_its_own_to_those_who_ask(
    tmp_path: Path, options: dict[str, Any] | None, upstream: str
) -> None:
    asked = {**ASKED, **({} if options is None else {"stream_options": options})}
    frames = [START, *TEXT, *END]
    if upstream == "chat":
        # An upstream that tells its usage only when asked, as the proxy does for its own books.
        asked["model"] = GLM_CHAT
        choice = {"index": 0, "delta": {"content": "hello"}, "finish_reason": None}
        counted = {"prompt_tokens": 25, "completion_tokens": 7, "total_tokens": 32}
        frames = [
            data({"id": "c", "choices": [choice]}),
            data({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
            *([data({"id": "c", "choices": [], "usage": counted})] if options == {"include_usage": True} else []),
            DONE,
        ]
    played = await play(tmp_path, CHAT, asked, frames)
    counts = [frame["usage"] for frame in played.frames[:-1] if frame.get("usage")]
    assert played.frames[-1] == b"[DONE]"
    assert played.text() == "hello"
    if options != {"include_usage": True}:
        assert counts == []
        return
    assert [count["prompt_tokens"] for count in counts] == [25]
    assert (played.frames[-2]["choices"], played.frames[-2]["usage"]["completion_tokens"]) == ([], 7)
    assert played.frames[-3]["choices"][0]["finish_reason"] == "stop"


async def test_P41_thoughts_are_reasoning_and_signatures_nothing(tmp_path: Path) -> None:
    thought = block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "let me "},
        {"type": "thinking_delta", "thinking": "see"},
        {"type": "signature_delta", "signature": "c2ln"},
    )
    hidden = block(1, {"type": "redacted_thinking", "data": "eHh4"})
    said = block(2, {"type": "text", "text": ""}, {"type": "text_delta", "text": "done"})
    played = await play(tmp_path, CHAT, ASKED, [START, *thought, *hidden, *said, *END])
    assert [delta["reasoning_content"] for delta in played.deltas if "reasoning_content" in delta] == ["let me ", "see"]
    assert played.text() == "done"
    assert b"c2ln" not in played.answer.body
    assert b"eHh4" not in played.answer.body
    content = [
        {"type": "thinking", "thinking": "let me see", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "eHh4"},
        {"type": "text", "text": "done"},
    ]
    whole = {**HEAD, "content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": USAGE}
    answer = (await play(tmp_path, CHAT, {**ASKED, "stream": False}, data(whole)[6:])).answer
    message = answer.json["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("let me see", "done")
    assert b"c2ln" not in answer.body
    assert b"eHh4" not in answer.body


async def test_all_chunks_of_a_stream_have_one_head_and_calls_their_own_numbers(tmp_path: Path) -> None:
    use = {"type": "tool_use", "name": "read", "input": {}}
    given = {"type": "input_json_delta", "partial_json": "{}"}
    frames = [START, *TEXT, *block(1, {**use, "id": "a"}, given), *block(2, {**use, "id": "b"}, given), *END]
    played = await play(tmp_path, CHAT, ASKED, frames)
    heads = {(frame["id"], frame["created"], frame["model"], frame["object"]) for frame in played.frames[:-1]}
    assert len(heads) == 1
    assert next(iter(heads))[2] == GLM
    assert played.deltas[0] == {"role": "assistant", "content": ""}
    numbers = [(call["index"], call.get("id")) for delta in played.deltas for call in delta.get("tool_calls", ())]
    assert numbers == [(0, "a"), (0, None), (1, "b"), (1, None)]


def odd(frame: bytes) -> bytes:
    """CR LF, no space behind the colon, and a comment before."""
    return b": wait\r\n\r\n" + frame.replace(b"data: ", b"data:").replace(b"event: ", b"event:").replace(b"\n", b"\r\n")


@pytest.mark.parametrize("bytewise", [False, True])
async def test_P42_odd_spelling_is_read_alike(tmp_path: Path, bytewise: bool) -> None:
    frames = [START, *TEXT, *END]
    played = await play(tmp_path, CHAT, ASKED, [odd(frame) for frame in frames], bytewise=bytewise)
    plain = await play(tmp_path, CHAT, ASKED, frames)
    assert (played.text(), played.deltas) == (plain.text(), plain.deltas)
    same = await play(
        tmp_path, MESSAGES, {**ASKED, "max_tokens": 9}, [odd(frame) for frame in frames], bytewise=bytewise
    )
    assert blocks(same.frames) == [{"type": "text", "text": "hello"}]


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_P42_nothing_follows_the_last_word(tmp_path: Path, path: str) -> None:
    choice = {"index": 0, "delta": {"content": "a"}, "finish_reason": None}
    frames = [
        data({"id": "c", "choices": [choice]}),
        data({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
        DONE,
        data({"id": "c", "choices": [{**choice, "delta": {"content": "ghost"}}]}),
        DONE,
    ]
    asked = {**ASKED, "model": GLM_CHAT, "max_tokens": 9}
    played = await play(tmp_path, path, asked, frames)
    assert b"ghost" not in played.answer.body
    assert played.text() == "a"
    assert played.answer.body.count(DONE if path == CHAT else b"event: message_stop") == 1
