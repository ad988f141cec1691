"""P01 to P10: requests of messages clients for upstreams of chat."""

from pathlib import Path
from typing import Any

import pytest

from wire.cases.play import (
    ANY,
    DONE,
    GLM_CHAT,
    IMAGE,
    IMAGE_URL,
    MESSAGES,
    assistant,
    data,
    play,
    result,
    sent,
    text,
    tool,
    use,
    user,
)

pytestmark = pytest.mark.anyio


def body(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"model": GLM_CHAT, "max_tokens": 50, "messages": [*messages], **more}


async def test_P01_results_come_first_and_the_texts_behind_them(tmp_path: Path) -> None:
    turn = user(text("before"), result("call_1", "tool ok"), text("after"))
    found = (await sent(tmp_path, MESSAGES, body(user("go"), assistant(use("call_1")), turn)))["messages"]
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "user"]
    assert found[1]["tool_calls"][0]["id"] == found[2]["tool_call_id"] == "call_1"
    assert found[2]["content"] == "tool ok"
    assert [part["text"] for part in found[3]["content"]] == ["before", "after"]


async def test_P02_an_image_in_a_result_follows_in_the_users_message(tmp_path: Path) -> None:
    turn = user(result("call_1", [text("shot"), IMAGE]))
    found = await sent(tmp_path, MESSAGES, body(user("go"), assistant(use("call_1")), turn))
    assert found["model"] == "glm-4.6v"
    assert found["messages"][2]["content"].startswith("shot")
    assert found["messages"][3]["content"][-1] == IMAGE_URL


async def test_P03_the_billing_line_stays_behind(tmp_path: Path) -> None:
    bodies = [
        await sent(
            tmp_path,
            MESSAGES,
            body(user("hi"), system=[text(f"x-anthropic-billing-header: cch={cch};"), text("You are…")]),
        )
        for cch in ("ab12", "cd34")
    ]
    assert bodies[0] == bodies[1]
    assert bodies[0]["messages"][0] == {"role": "system", "content": "You are…"}


async def test_P04_one_stop_word_is_an_array(tmp_path: Path) -> None:
    assert (await sent(tmp_path, MESSAGES, body(user("hi"), stop_sequences=["END"])))["stop"] == ["END"]


@pytest.mark.parametrize("stream", [False, True])
async def test_P04_the_second_stop_word_is_found_in_the_reply(tmp_path: Path, stream: bool) -> None:
    asked = body(user("hi"), stop_sequences=["\n\n", "END"], stream=stream)
    chunk: dict[str, Any] = {"id": "c", "model": "m"}
    pieces = [data({**chunk, "choices": [{"index": 0, "delta": {"content": said}}]}) for said in ("say EN", "D more")]
    pieces += [data({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}), DONE]
    message = {"role": "assistant", "content": "say END more"}
    usage = {"prompt_tokens": 7, "completion_tokens": 5}
    whole = data({**chunk, "choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})[6:]
    played = await play(tmp_path, MESSAGES, asked, pieces if stream else whole)
    assert played.body["stop"] == ["\n\n"]
    assert "x-trimtab-dropped" not in played.answer.headers
    if stream:
        end = next(frame["delta"] for frame in played.frames if frame["type"] == "message_delta")
        assert played.blocks[0]["text"] == "say "
    else:
        end = played.answer.json
        assert (end["content"][0]["text"], end["usage"]["output_tokens"]) == ("say ", 5)
    assert (end["stop_reason"], end["stop_sequence"]) == ("stop_sequence", "END")


async def test_P05_cache_marks_stay_behind(tmp_path: Path) -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    asked = body(user(text("hi", **mark)), system=[text("sys", **mark)], tools=[], tool_choice={"type": "auto"})
    found = await sent(tmp_path, MESSAGES, asked)
    assert found["messages"] == [{"role": "system", "content": "sys"}, user("hi")]
    assert found.keys() & {"tools", "tool_choice"} == set()
    assert "cache_control" not in str(await sent(tmp_path, MESSAGES, {**asked, "tools": [tool("read", **mark)]}))


async def test_P06_schemas_are_objects_with_properties(tmp_path: Path) -> None:
    union = {
        "anyOf": [{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, {"type": "null"}]
    }
    found = await sent(
        tmp_path, MESSAGES, body(user("hi"), tools=[tool("bare", {"type": "object"}), tool("both", union)])
    )
    first, second = (given["function"] for given in found["tools"])
    assert (first["name"], first["parameters"]) == ("bare", {"type": "object", "properties": {}})
    assert (second["name"], second["parameters"]["type"]) == ("both", "object")
    assert second["parameters"]["properties"] == {"a": {"type": "string"}}
    assert "anyOf" not in second["parameters"]


async def test_P07_a_thought_goes_with_its_calls(tmp_path: Path) -> None:
    thought = {"type": "thinking", "thinking": "t1", "signature": "p1.x"}
    turns = [
        user("go"),
        assistant(thought, use("a")),
        user(result("a", "r")),
        assistant(use("b")),
        user(result("b", "r")),
    ]
    own = (await sent(tmp_path, MESSAGES, body(*turns)))["messages"]
    assert [message.get("reasoning_content") for message in own if message["role"] == "assistant"] == ["t1", None]
    all_or_nothing = ANY + 'reasoning = "spread"\n'
    spread = (await sent(tmp_path, MESSAGES, body(*turns), all_or_nothing))["messages"]
    assert [message.get("reasoning_content") for message in spread if message["role"] == "assistant"] == ["t1", "t1"]


TOOLS = [tool("read"), tool("get_weather"), tool("list")]


async def test_P08_a_forced_tool_is_the_only_one_on_offer(tmp_path: Path) -> None:
    asked = body(user("hi"), tools=TOOLS, tool_choice={"type": "tool", "name": "get_weather"})
    found = await sent(tmp_path, MESSAGES, asked)
    assert found.get("tool_choice", "auto") == "auto"
    assert [given["function"]["name"] for given in found["tools"]] == ["get_weather"]
    assert "get_weather" in found["messages"][0]["content"]
    named = {"type": "function", "function": {"name": "get_weather"}}
    assert (await sent(tmp_path, MESSAGES, asked, ANY))["tool_choice"] == named


async def test_P08_the_loss_is_told(tmp_path: Path) -> None:
    asked = body(user("hi"), tools=TOOLS, tool_choice={"type": "any"})
    strict = ANY.replace('"any"', '"auto"') + "[core]\nstrict = true\n"
    reply = data({"choices": [{"message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}]})[6:]
    assert (await play(tmp_path, MESSAGES, asked, reply)).answer.headers["x-trimtab-dropped"] == "tool_choice"
    refused = await play(tmp_path, MESSAGES, asked, reply, pipelines=strict)
    assert (refused.status, refused.sent) == (400, [])
    assert "tool_choice" in refused.answer.json["error"]["message"]


async def test_P09_no_choice_of_tools_leaves_them_out(tmp_path: Path) -> None:
    turns = [user("go"), assistant(use("a")), user(result("a", "r"))]
    found = await sent(tmp_path, MESSAGES, body(*turns, tools=TOOLS, tool_choice={"type": "none"}))
    assert found.keys() & {"tools", "tool_choice"} == set()
    assert [message["role"] for message in found["messages"]] == ["user", "assistant", "tool"]


async def test_P10_a_failed_result_says_so_and_an_empty_one_is_empty(tmp_path: Path) -> None:
    turn = user(result("a", "City not found", is_error=True), result("b"))
    found = (await sent(tmp_path, MESSAGES, body(user("go"), assistant(use("a"), use("b")), turn)))["messages"]
    assert [message["content"] for message in found[2:]] == ["Error: City not found", ""]
