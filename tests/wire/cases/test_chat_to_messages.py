"""P11 to P19: requests of chat clients for upstreams of messages."""

from pathlib import Path
from typing import Any

import pytest

from wire.cases.play import CHAT, GLM, IMAGE, IMAGE_URL, answered, call, called, event, play, sent, text, user

pytestmark = pytest.mark.anyio

BLIND = """
[pipeline.default]
stages = ["auth", "token-count", "route", "log"]
[upstream.zai-messages]
images = true
[model.any]
images = true
upstreams = { messages = "zai-messages" }
"""


def body(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"model": GLM, "messages": [*messages], **more}


def results(turn: dict[str, Any]) -> list[dict[str, Any]]:
    return [block for block in turn["content"] if block["type"] == "tool_result"]


async def test_P11_results_and_the_next_words_are_one_turn(tmp_path: Path) -> None:
    turns = [user("go"), called(call("a"), call("b")), answered("a", "ra"), answered("b", "rb"), user("go")]
    found = (await sent(tmp_path, CHAT, body(*turns)))["messages"]
    assert [message["role"] for message in found] == ["user", "assistant", "user"]
    assert [block.get("tool_use_id", block.get("text")) for block in found[2]["content"]] == ["a", "b", "go"]


async def test_P13_opening_instructions_are_system_blocks_in_order(tmp_path: Path) -> None:
    opening = [{"role": "system", "content": "one"}, {"role": "developer", "content": "two"}]
    found = await sent(tmp_path, CHAT, body(*opening, user("hi")))
    assert [block["text"] for block in found["system"]] == ["one", "two"]
    assert [message["role"] for message in found["messages"]] == ["user"]


async def test_P14_instructions_alone_get_a_word_of_the_user(tmp_path: Path) -> None:
    found = await sent(tmp_path, CHAT, body({"role": "system", "content": "one"}))
    assert [message["role"] for message in found["messages"]] == ["user"]
    assert found["messages"][0]["content"]


@pytest.mark.parametrize("stream", [False, True])
async def test_P15_an_odd_id_is_cleaned_for_the_upstream_and_odd_again_for_the_client(
    tmp_path: Path, stream: bool
) -> None:
    odd = "call:1/é"
    turns = [user("go"), called(call(odd)), answered(odd, "r")]
    found = (await sent(tmp_path, CHAT, body(*turns)))["messages"]
    clean = found[1]["content"][-1]["id"]
    assert all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in clean)
    assert results(found[2])[0]["tool_use_id"] == clean
    block = {"type": "tool_use", "id": clean, "name": "read", "input": {}}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
    usage = {"input_tokens": 3, "output_tokens": 2}
    whole = event({"type": "x", **head, "content": [block], "stop_reason": "tool_use", "usage": usage})[
        len("event: message\ndata: ") :
    ]
    frames = [
        event({"type": "message_start", "message": {**head, "content": [], "usage": usage}}),
        event({"type": "content_block_start", "index": 0, "content_block": block}),
        event({"type": "content_block_stop", "index": 0}),
        event({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": usage}),
        event({"type": "message_stop"}),
    ]
    played = await play(tmp_path, CHAT, body(*turns, stream=stream), frames if stream else whole)
    if stream:
        calls = [found for delta in played.deltas for found in delta.get("tool_calls", ())]
    else:
        calls = played.answer.json["choices"][0]["message"]["tool_calls"]
    assert calls[0]["id"] == odd


async def test_P16_a_call_answered_twice_has_one_result(tmp_path: Path) -> None:
    turns = [user("go"), called(call("a"), call("b")), answered("a", "old"), answered("b", "rb"), answered("a", "new")]
    found = (await sent(tmp_path, CHAT, body(*turns)))["messages"]
    assert [(block["tool_use_id"], block["content"]) for block in results(found[2])] == [("a", "new"), ("b", "rb")]


async def test_P17_the_newer_limit_counts(tmp_path: Path) -> None:
    found = await sent(tmp_path, CHAT, body(user("hi"), max_completion_tokens=100, max_tokens=200))
    assert found["max_tokens"] == 100


async def test_P18_a_result_with_an_image_keeps_it(tmp_path: Path) -> None:
    turns = [user("go"), called(call("a")), answered("a", [text("shot"), IMAGE_URL])]
    found = (await sent(tmp_path, CHAT, {**body(*turns), "model": "any"}, BLIND))["messages"]
    assert results(found[2])[0]["content"] == [text("shot"), IMAGE]


async def test_P19_cache_marks_stay_four_at_most(tmp_path: Path) -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    one = await sent(tmp_path, CHAT, body(user(text("a", **mark), text("b"))))
    assert one["messages"][0]["content"] == [text("a", **mark), text("b")]
    many = await sent(tmp_path, CHAT, body(user(*(text(str(at), **mark) for at in range(7)))))
    assert str(many).count("cache_control") == 4
