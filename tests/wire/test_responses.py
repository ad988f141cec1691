"""The cases of protocol.md section 3 for Responses, each toward upstreams of both dialects, streamed and not."""

import base64
import json
from pathlib import Path
from typing import Any

import openai
import pytest

from responding import check, fits, kinds, schema, told, whole
from translating import check as valid
from trimtab.dialects.responses_blob import Sealed, seal, unseal
from wire.harness import Answer, echoing, exchange, post, proxying
from wire.modelled import MODELS, Part, chat_frames, messages_frames, saying, streamed
from wire.scripted import Link, Script, Sent, Upstream, playing

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("dialect", ["chat", "messages"])
MODES = pytest.mark.parametrize("stream", [True, False])
TOOL = {"type": "function", "name": "read", "description": "d", "parameters": {"type": "object"}, "strict": False}
CALL = ("call", "call_1", "read", '{"path": "a"}')
PNG = "data:image/png;base64,iVBORw0KGgo="


async def ask(
    tmp_path: Path, script: Script, dialect: str, path: str = "/v1/responses", **body: Any
) -> tuple[Answer, Upstream]:
    """One request through the proxy, and what the upstream got."""
    async with playing(script) as upstream, proxying(tmp_path, upstream.url) as proxy:
        asked = {"model": MODELS[dialect], "input": "hi", **body}
        answer = await post(proxy.url, path, json.dumps(asked).encode(), {"authorization": "Bearer k"})
    return answer, upstream


def response(answer: Answer, *, stream: bool) -> dict[str, Any]:
    """The response object; a stream obeys its grammar and the schemas, a body the schema."""
    assert answer.status == 200
    if stream:
        return check(told(answer.body))
    body: dict[str, Any] = answer.json
    whole(body)
    return body


async def asked(tmp_path: Path, dialect: str, items: Any, **head: Any) -> Any:
    """The body that an upstream of a dialect gets for some items; it is valid there, and the same for a stream."""
    answer, upstream = await ask(tmp_path, saying(("text", "ok")), dialect, input=items, **head)
    assert answer.status == 200
    body = json.loads(upstream.sent[0].body)
    valid(dialect, body)
    answer, upstream = await ask(tmp_path, saying(("text", "ok")), dialect, input=items, stream=True, **head)
    assert answer.status == 200
    streamed_body = json.loads(upstream.sent[0].body)
    assert {**streamed_body, "stream": None, "stream_options": None} == {**body, "stream": None, "stream_options": None}
    return body


@BOTH
@MODES
async def test_P25_a_text_answer_has_the_whole_sequence(tmp_path: Path, dialect: str, *, stream: bool) -> None:
    answer, _ = await ask(tmp_path, saying(("text", "hello")), dialect, stream=stream)
    last = response(answer, stream=stream)
    assert (last["status"], last["model"], last["output"][0]["content"][0]["text"]) == (
        "completed",
        MODELS[dialect],
        "hello",
    )
    if stream:
        assert kinds(told(answer.body)) == [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ]


@BOTH
async def test_P25_a_pipeline_of_its_own_and_a_list_of_items(tmp_path: Path, dialect: str) -> None:
    items = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}]
    answer, _ = await ask(tmp_path, saying(("text", "a")), dialect, "/p/default/v1/responses", input=items)
    assert response(answer, stream=False)["output"][0]["role"] == "assistant"


@pytest.mark.parametrize(
    ("frames", "whole_body", "end"),
    [
        (chat_frames([("text", "half")], "", done=True), True, "completed"),
        (chat_frames([("text", "half")], "", done=False), True, "failed"),
        (chat_frames([("text", "half")], "", done=False), False, "failed"),
        (messages_frames([("text", "half")], ""), True, "failed"),
        (messages_frames([("text", "half")], "")[:-1], False, "failed"),
        ([*chat_frames([CALL], "", done=True)[:2], b"data: [DONE]\n\n"], True, "failed"),
        (chat_frames([CALL], "", done=False)[:2], False, "failed"),
        (messages_frames([CALL], "")[:3], False, "failed"),
        (messages_frames([CALL], "")[:3], True, "failed"),
    ],
)
async def test_P26_a_stream_that_breaks_off_is_failed_and_never_completed(
    tmp_path: Path, frames: list[bytes], *, whole_body: bool, end: str
) -> None:
    async def script(sent: Sent, link: Link) -> None:
        await streamed(link, frames, whole=whole_body)

    dialect = "messages" if b"event: " in frames[0] else "chat"
    answer, _ = await ask(tmp_path, script, dialect, stream=True, tools=[TOOL])
    if answer.status != 200:
        # All of it came in one piece: nothing had reached the client, who gets a plain error.
        assert (end, answer.status) == ("failed", 502)
        return
    events = told(answer.body)
    for event in events:
        fits(event)
    assert kinds(events)[-1] == end
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    done = [event["item"]["type"] for event in events if event["type"].endswith("item.done")]
    assert "function_call" not in done
    assert end == "completed" or events[-1]["response"]["status"] == "failed"


@pytest.mark.parametrize("frames", [[b"data: [DONE]\n\n"], [], chat_frames([], "", done=True)])
async def test_P26_no_output_at_all_is_a_failure(tmp_path: Path, frames: list[bytes]) -> None:
    async def script(sent: Sent, link: Link) -> None:
        await streamed(link, frames)

    answer, _ = await ask(tmp_path, script, "chat", stream=True)
    assert answer.status == 502
    assert answer.json["error"]["code"] == "upstream_error"


@pytest.mark.parametrize(
    "frames", [chat_frames([("text", "half")], "", done=False), messages_frames([("text", "a")], "")]
)
async def test_P26_a_broken_stream_is_no_whole_response(tmp_path: Path, frames: list[bytes]) -> None:
    async def script(sent: Sent, link: Link) -> None:
        await streamed(link, frames)

    answer, _ = await ask(tmp_path, script, "messages" if b"event: " in frames[0] else "chat")
    assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_error")


@BOTH
@MODES
async def test_P26_a_limit_makes_the_response_incomplete(tmp_path: Path, dialect: str, *, stream: bool) -> None:
    answer, _ = await ask(tmp_path, saying(("text", "so"), reason="length"), dialect, stream=stream)
    last = response(answer, stream=stream)
    assert (last["status"], last["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


@BOTH
async def test_P26_a_call_that_a_limit_cuts_is_never_done(tmp_path: Path, dialect: str) -> None:
    half: Part = ("call", "call_1", "read", '{"path": "a')
    answer, _ = await ask(tmp_path, saying(half, reason="length"), dialect, stream=True, tools=[TOOL])
    events = told(answer.body)
    assert kinds(events)[-1] == "incomplete"
    assert "output_item.done" not in kinds(events)
    assert events[-1]["response"]["output"] == []


@BOTH
@MODES
async def test_P27_usage_has_its_details(tmp_path: Path, dialect: str, *, stream: bool) -> None:
    answer, _ = await ask(tmp_path, saying(("text", "a")), dialect, stream=stream)
    usage = response(answer, stream=stream)["usage"]
    assert usage["input_tokens_details"] == {"cached_tokens": 5, "cache_write_tokens": 0}
    assert usage["output_tokens_details"] == {"reasoning_tokens": 0}
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (12, 7, 19)
    assert usage["real_input_tokens"] == 12


def called(id_: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": id_, "name": "read", "arguments": "{}"}


def output(id_: str, value: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": id_, "output": value}


@BOTH
async def test_P28_calls_in_a_row_are_one_turn_and_the_user_waits_for_their_outputs(
    tmp_path: Path, dialect: str
) -> None:
    items = [
        {"role": "user", "content": "go"},
        called("a"),
        {"type": "reasoning", "id": "r", "summary": []},
        called("b"),
        {"role": "user", "content": "and now?"},
        output("a", "one"),
        output("b", "two"),
    ]
    messages = (await asked(tmp_path, dialect, items, tools=[TOOL]))["messages"]
    if dialect == "chat":
        assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "user"]
        assert [call["id"] for call in messages[1]["tool_calls"]] == ["a", "b"]
        assert [message["content"] for message in messages[2:]] == ["one", "two", "and now?"]
    else:
        assert [message["role"] for message in messages] == ["user", "assistant", "user"]
        assert [block["id"] for block in messages[1]["content"]] == ["a", "b"]
        assert [block.get("tool_use_id") for block in messages[2]["content"]] == ["a", "b", None]


@BOTH
async def test_P29_a_picture_in_a_string_is_unwrapped(tmp_path: Path, dialect: str) -> None:
    parts = [{"type": "input_text", "text": "shot"}, {"type": "input_image", "image_url": PNG}]
    items = [{"role": "user", "content": "go"}, called("a"), output("a", json.dumps(parts))]
    async with playing(saying(("text", "ok"))) as upstream, proxying(tmp_path, upstream.url) as proxy:
        body = {"model": MODELS[dialect], "input": items, "tools": [TOOL]}
        assert (await post(proxy.url, "/v1/responses", json.dumps(body).encode())).status == 200
        sent = json.loads(upstream.sent[0].body)
    # Pictures go to the endpoint where they are seen, whatever the name says.
    assert upstream.sent[0].path.endswith("/completions")
    assert sent["messages"][2]["content"].startswith("shot")
    assert sent["messages"][3]["content"][-1] == {"type": "image_url", "image_url": {"url": PNG}}


async def test_thought_is_asked_for_where_the_client_said_nothing(tmp_path: Path) -> None:
    assert (await asked(tmp_path, "chat", "hi"))["thinking"] == {"type": "enabled"}
    assert (await asked(tmp_path, "chat", "hi", reasoning={"effort": "none"})).get("thinking") == {"type": "disabled"}
    assert "thinking" not in await asked(tmp_path, "messages", "hi")
    body = json.dumps({"model": MODELS["chat"], "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})
    async with playing(saying(("text", "ok"))) as upstream, proxying(tmp_path, upstream.url) as proxy:
        assert (await post(proxy.url, "/v1/messages", body.encode())).status == 200
    assert json.loads(upstream.sent[0].body)["thinking"] == {"type": "enabled"}


async def test_P30_json_by_a_schema(tmp_path: Path) -> None:
    wanted = {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}}
    body = await asked(tmp_path, "chat", "hi", text=wanted)
    assert body["response_format"] == {"type": "json_object"}
    assert "JSON Schema" in body["messages"][0]["content"]
    own = '[upstream.own]\ndialect = "chat"\nbase-url = "%s"\n[model.mine]\nupstreams = {chat = "own"}\n'
    async with playing(saying(("text", "{}"))) as upstream:
        pipelines = '[pipeline.default]\nstages = ["route"]\n' + own % upstream.url
        async with proxying(tmp_path, upstream.url, pipelines=pipelines) as proxy:
            raw = json.dumps({"model": "mine", "input": "hi", "text": wanted}).encode()
            answer = await post(proxy.url, "/v1/responses", raw)
            assert response(answer, stream=False)["text"]["format"]["name"] == "n"
            named = {"name": "n", "schema": {"type": "object"}, "strict": True}
            sent = json.loads(upstream.sent[0].body)
    assert sent["response_format"] == {"type": "json_schema", "json_schema": named}


@BOTH
@MODES
async def test_P31_tools_of_one_name_in_two_places_stay_two(tmp_path: Path, dialect: str, *, stream: bool) -> None:
    tools = [
        {**TOOL, "name": "a"},
        {"type": "namespace", "name": "mcp__x", "description": "x", "tools": [{**TOOL, "name": "a"}]},
    ]
    calls: list[Part] = [("call", "c1", "a", "{}"), ("call", "c2", "mcp__x__a", "{}")]
    answer, upstream = await ask(tmp_path, saying(*calls), dialect, stream=stream, tools=tools)
    sent = [tool.get("function", tool)["name"] for tool in json.loads(upstream.sent[0].body)["tools"]]
    assert sent == ["a", "mcp__x__a"]
    made = response(answer, stream=stream)["output"]
    assert [(item["name"], item.get("namespace")) for item in made] == [("a", None), ("a", "mcp__x")]


@BOTH
async def test_P32_a_conversation_is_compacted_and_the_item_is_understood(tmp_path: Path, dialect: str) -> None:
    body = {"model": MODELS[dialect], "input": [{"role": "user", "content": "never touch main"}], "instructions": "x"}
    async with playing(saying(("text", "## Goal\nall"))) as upstream, proxying(tmp_path, upstream.url) as proxy:
        compacted = await post(proxy.url, "/v1/responses/compact", json.dumps(body).encode())
        assert compacted.status == 200
        schema("CompactResource", compacted.json)
        [item] = compacted.json["output"]
        sealed = unseal("compaction", item["encrypted_content"])
        assert sealed is not None
        assert "never touch main" in sealed.text
        again = {**body, "input": [item, {"role": "user", "content": "go on"}]}
        assert (await post(proxy.url, "/v1/responses", json.dumps(again).encode())).status == 200
        [asked_, last] = [json.loads(sent.body) for sent in upstream.sent]
    assert asked_["temperature"] in (0, 0.01)
    assert "## Goal" in json.dumps(last["messages"])
    assert "never touch main" in json.dumps(last["messages"])


async def test_P32_without_a_model_it_is_refused_and_a_refusal_upstream_is_told(tmp_path: Path) -> None:
    async def refuse(sent: Sent, link: Link) -> None:
        await link.json(
            b'{"error":{"code":"1302","message":"slow"}}', "429 Too Many Requests", extra="retry-after: 5\r\n"
        )

    async with playing(refuse) as upstream, proxying(tmp_path, upstream.url) as proxy:
        assert (await post(proxy.url, "/v1/responses/compact", b'{"input":"hi"}')).status == 400
        answer = await post(proxy.url, "/v1/responses/compact", b'{"model":"glm-4.6","input":"hi"}')
    assert (answer.status, answer.json["error"]["code"]) == (429, "rate_limit_exceeded")


@BOTH
@MODES
async def test_P32_a_trigger_gives_exactly_one_item(tmp_path: Path, dialect: str, *, stream: bool) -> None:
    items = [{"role": "user", "content": "go"}, {"type": "compaction_trigger"}]
    answer, upstream = await ask(tmp_path, saying(("text", "all")), dialect, input=items, stream=stream)
    last = response(answer, stream=stream)
    assert ([item["type"] for item in last["output"]], last["usage"]["output_tokens"]) == (["compaction"], 7)
    assert len(upstream.sent) == 1


@BOTH
@MODES
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/responses/compact"])
async def test_P32_a_damaged_item_of_ours_is_refused_and_a_foreign_one_is_told_as_dropped(
    tmp_path: Path, dialect: str, path: str, *, stream: bool
) -> None:
    sealed = seal("compaction", Sealed("## Goal\nall"))
    broken = base64.b64encode(base64.b64decode(sealed)[:-1] + b"!").decode()
    foreign = base64.b64encode(b"somebody else's own words").decode()
    more: dict[str, Any] = {"stream": stream} if path == "/v1/responses" else {}
    for blob in (broken, sealed[:-8], sealed.replace("YgFj", "YgJj")):
        assert blob != sealed
        items = [{"type": "compaction", "id": "c", "encrypted_content": blob}, {"role": "user", "content": "go on"}]
        answer, upstream = await ask(tmp_path, saying(("text", "ok")), dialect, path, input=items, **more)
        assert (answer.status, answer.json["error"]["param"], upstream.sent) == (400, "input", [])
        assert "damaged (its checksum does not fit) or of another version" in answer.json["error"]["message"]
    items = [{"type": "compaction", "id": "c", "encrypted_content": foreign}, {"role": "user", "content": "go on"}]
    answer, upstream = await ask(tmp_path, saying(("text", "ok")), dialect, path, input=items, **more)
    assert (answer.status, len(upstream.sent)) == (200, 1)
    assert path != "/v1/responses" or "compaction" in answer.headers["x-trimtab-dropped"]


@BOTH
@MODES
async def test_P33_thought_text_and_call_are_three_items_in_a_row(
    tmp_path: Path, dialect: str, *, stream: bool
) -> None:
    parts: list[Part] = [("think", "hmm"), ("text", "so"), CALL]
    include = ["reasoning.encrypted_content"]
    answer, _ = await ask(tmp_path, saying(*parts), dialect, stream=stream, tools=[TOOL], include=include)
    thought, message, call = response(answer, stream=stream)["output"]
    assert thought["summary"] == [{"type": "summary_text", "text": "hmm"}]
    assert (message["content"][0]["text"], call["name"], json.loads(call["arguments"])) == ("so", "read", {"path": "a"})
    sealed = unseal("reasoning", thought["encrypted_content"])
    assert sealed is not None
    assert sealed.signature == ("c2ln" if dialect == "messages" else "")


@BOTH
@MODES
async def test_P43_a_prompt_that_does_not_fit_is_told_in_the_words_on_which_codex_acts(
    tmp_path: Path, dialect: str, *, stream: bool
) -> None:
    async def refuse(sent: Sent, link: Link) -> None:
        await link.json(b'{"error":{"code":"1261","message":"Prompt exceeds max length"}}', "400 Bad Request")

    answer, _ = await ask(tmp_path, refuse, dialect, stream=stream, input="a word " * 12_000)
    if stream:
        events = told(answer.body)
        assert (answer.status, kinds(events)) == (200, ["created", "in_progress", "failed"])
        error = events[-1]["response"]["error"]
    else:
        error = answer.json["error"]
        assert (answer.status, error["param"], error["type"]) == (400, "input", "invalid_request_error")
    assert error["code"] == "context_length_exceeded"
    assert "maximum context length is 204800 tokens" in error["message"]


@pytest.mark.parametrize(
    ("status", "body", "code", "told_code"),
    [
        ("401 Unauthorized", b'{"error":{"code":"1002","message":"bad key"}}', 401, "invalid_api_key"),
        ("429 Too Many Requests", b'{"error":{"code":"1113","message":"no money"}}', 429, "insufficient_quota"),
        (
            "529 Overloaded",
            b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}',
            503,
            "server_overloaded",
        ),
        ("502 Bad Gateway", b"<html></html>", 502, "upstream_error"),
    ],
)
@MODES
async def test_refusals_are_told_in_openais_shape(
    tmp_path: Path, status: str, body: bytes, code: int, told_code: str, *, stream: bool
) -> None:
    async def refuse(sent: Sent, link: Link) -> None:
        await link.json(body, status)

    answer, _ = await ask(tmp_path, refuse, "messages", stream=stream)
    assert (answer.status, answer.json["error"]["code"]) == (code, told_code)
    assert answer.json["error"].keys() == {"message", "type", "param", "code"}


@BOTH
async def test_a_failure_inside_a_stream_is_a_failed_response(tmp_path: Path, dialect: str) -> None:
    error = {"chat": b'data: {"error":{"code":"1302","message":"slow down"}}\n\n'}
    error["messages"] = (
        b'event: error\ndata: {"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}\n\n'
    )
    frames = chat_frames([("text", "a")], "", done=False) if dialect == "chat" else messages_frames([("text", "a")], "")

    async def script(sent: Sent, link: Link) -> None:
        await streamed(link, [*frames, error[dialect]])

    answer, _ = await ask(tmp_path, script, dialect, stream=True)
    if answer.status == 429:
        # All of it came in one piece: nothing had reached the client, who gets a plain error.
        assert answer.json["error"]["code"] == "rate_limit_exceeded"
        return
    events = told(answer.body)
    for event in events:
        fits(event)
    assert kinds(events)[-1] == "failed"
    assert events[-1]["response"]["error"]["code"] == "rate_limit_exceeded"


@BOTH
@MODES
async def test_every_kind_of_tool_comes_back_as_its_own_item(tmp_path: Path, dialect: str, *, stream: bool) -> None:
    tools: list[Any] = [{"type": "custom", "name": "patch", "description": "d"}]
    tools += [{"type": "local_shell"}, {"type": "apply_patch"}, {"type": "web_search"}]
    calls: list[Part] = [
        ("call", "c1", "patch", '{"input": "*** Begin\\n+a"}'),
        ("call", "c2", "local_shell", '{"command": ["ls"]}'),
        ("call", "c3", "apply_patch", '{"type": "delete_file", "path": "a"}'),
        ("call", "c4", "unknown", ""),
    ]
    answer, _ = await ask(tmp_path, saying(*calls), dialect, stream=stream, tools=tools)
    assert answer.headers["x-trimtab-dropped"] == "web_search"
    made = response(answer, stream=stream)["output"]
    assert [item["type"] for item in made] == [
        "custom_tool_call",
        "local_shell_call",
        "apply_patch_call",
        "function_call",
    ]
    assert (made[0]["input"], made[1]["action"]["command"]) == ("*** Begin\n+a", ["ls"])
    assert [item["call_id"] for item in made] == ["c1", "c2", "c3", "c4"]
    # And what came back is understood when it is sent again.
    items = [{"role": "user", "content": "go"}, *made, *(output(f"c{n}", str(n)) for n in range(1, 5))]
    sent = await asked(tmp_path, dialect, items, tools=tools)
    assert json.dumps(sent).count("*** Begin") == 1


@BOTH
@MODES
async def test_P37_a_call_without_arguments_is_an_empty_object(tmp_path: Path, dialect: str, *, stream: bool) -> None:
    answer, _ = await ask(tmp_path, saying(("call", "c", "read", "")), dialect, stream=stream, tools=[TOOL])
    assert response(answer, stream=stream)["output"][0]["arguments"] == "{}"


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions", "/v1/messages"])
async def test_a_websocket_is_refused_with_the_status_on_which_codex_goes_on_over_http(
    tmp_path: Path, path: str
) -> None:
    fields = {"upgrade": "websocket", "connection": "Upgrade, close", "sec-websocket-version": "13"}
    fields |= {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
    async with playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        answer = await exchange(proxy.url, "GET", path, headers=fields)
        assert (answer.status, answer.headers["upgrade"], upstream.sent) == (426, "HTTP/1.1", [])
        assert answer.json["error"]["type"] == "invalid_request_error"
        assert "there are no WebSockets" in answer.json["error"]["message"]
        assert (await exchange(proxy.url, "GET", path)).status == 405


async def test_what_is_not_kept_is_not_found(tmp_path: Path) -> None:
    async with playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        before = b'{"model":"glm-4.6","input":"hi","previous_response_id":"resp_1"}'
        answer = await post(proxy.url, "/v1/responses", before)
        assert (answer.status, answer.json["error"]["code"]) == (400, "previous_response_not_found")
        for method, path in (
            ("GET", "resp_1"),
            ("DELETE", "resp_1"),
            ("GET", "resp_1/input_items"),
            ("POST", "resp_1/cancel"),
        ):
            gone = await exchange(proxy.url, method, f"/v1/responses/{path}")
            assert (gone.status, gone.json["error"]["code"]) == (404, "response_not_found")
        assert upstream.sent == []


async def test_tokens_are_counted_as_they_would_be_sent(tmp_path: Path) -> None:
    async with playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        answer = await post(proxy.url, "/v1/responses/input_tokens", b'{"model":"glm-4.6","input":"hello there"}')
        assert answer.status == 200
        assert answer.json["object"] == "response.input_tokens"
        assert 2 < answer.json["input_tokens"] < 30
        assert upstream.sent == []


@BOTH
async def test_stages_edit_count_and_log_items_as_they_do_messages(tmp_path: Path, dialect: str) -> None:
    section = (
        "\n\n<environment_details>\n# VSCode Visible Files\na.py\nb.py\n\n# Current Time\n%s\n</environment_details>"
    )
    thought = {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "hm"}]}
    items: list[Any] = []
    for turn in range(3):
        items += [
            {"role": "user", "content": [{"type": "input_text", "text": f"step {turn}" + section % turn}]},
            thought,
        ]
        items += [called(f"c{turn}"), output(f"c{turn}", "done" + section % (turn + 0.5)), thought]
        items += [{"role": "assistant", "content": "next"}]
    items.append({"role": "user", "content": "go on"})
    answer, upstream = await ask(tmp_path, saying(("text", "ok")), dialect, input=items, tools=[TOOL], instructions="x")
    sent = upstream.sent[0].body
    valid(dialect, json.loads(sent))
    assert sent.count(b"a.py") == 1
    assert all(f"step {turn}".encode() in sent for turn in range(3))
    assert int(answer.headers["x-context-used"]) > 50
    assert answer.headers["x-context-risk"] == "SAFE"


@BOTH
async def test_openais_sdk_answers_streams_calls_and_compacts(tmp_path: Path, dialect: str) -> None:
    tool: Any = {
        **TOOL,
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    }
    async with echoing() as (url, _), proxying(tmp_path, url) as proxy:
        async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="k", max_retries=0) as client:
            model = MODELS[dialect]
            said = await client.responses.create(model=model, input="good day")
            assert "good day" in said.output_text
            async with client.responses.stream(model=model, input="good day") as stream:
                streamed = await stream.get_final_response()
            assert streamed.output_text == said.output_text
            assert said.usage is not None
            assert streamed.usage is not None
            assert streamed.usage.input_tokens == said.usage.input_tokens
            first = await client.responses.create(model=model, input="read it", tools=[tool])
            call = first.output[-1]
            assert call.type == "function_call"
            compacted = await client.responses.compact(model=model, input="good day")
            assert [item.type for item in compacted.output] == ["compaction"]
            with pytest.raises(openai.NotFoundError):
                await client.responses.retrieve("resp_1")
            with pytest.raises(openai.BadRequestError) as caught:
                await client.responses.create(model=model, input="x", previous_response_id="resp_1")
            assert caught.value.code == "previous_response_not_found"
