"""P20 to P24: upstreams of the client's own dialect, and what z.ai is known to refuse."""

import json
from pathlib import Path
from typing import Any

import pytest

from laws.samples import REPLIES
from wire.cases.play import (
    ANY,
    CHAT,
    DEFAULT,
    DONE,
    GLM,
    GLM_CHAT,
    IMAGE,
    IMAGE_URL,
    MESSAGES,
    assistant,
    data,
    play,
    sent,
    text,
    user,
)

pytestmark = pytest.mark.anyio

CHECKED = DEFAULT + '[upstream.zai-messages]\nsignatures = "checked"\n'
WHOLE = REPLIES["openai"].body


@pytest.mark.parametrize("signature", ["", "p1.abc"])
async def test_P20_thoughts_that_nobody_signed_stay_behind_where_they_are_checked(
    tmp_path: Path, signature: str
) -> None:
    thought = {"type": "thinking", "thinking": "t", "signature": signature}
    asked = {"model": GLM, "max_tokens": 9, "messages": [user("a"), assistant(thought, text("b")), user("c")]}
    assert (await sent(tmp_path, MESSAGES, asked, CHECKED))["messages"][1] == assistant(text("b"))
    assert (await sent(tmp_path, MESSAGES, asked))["messages"] == asked["messages"]
    theirs = assistant({**thought, "signature": "c2ln"}, text("b"))
    turns = [user("a"), theirs, user("c")]
    assert (await sent(tmp_path, MESSAGES, {**asked, "messages": turns}, CHECKED))["messages"] == turns


async def test_P21_what_nobody_knows_passes_in_its_own_dialect(tmp_path: Path) -> None:
    novel = {"type": "novel_block", "x": [1.50]}
    asked = {"model": GLM, "max_tokens": 9, "brand_new": {"a": 1}, "messages": [user(novel, text("a"))]}
    assert await sent(tmp_path, MESSAGES, asked) == asked
    played = await play(
        tmp_path,
        f"{MESSAGES}?beta=true",
        asked,
        REPLIES["anthropic"].body,
        headers={"anthropic-beta": "tools-2025-01-01"},
    )
    assert played.sent[0].line.split(" ")[1].endswith("/v1/messages?beta=true")
    assert played.sent[0].headers["anthropic-beta"] == "tools-2025-01-01"


ZAI = (
    b'{"id":"20251013104553f6d8961e92814310","type":"message","role":"assistant","model":"glm-4.6",'
    b'"content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","stop_sequence":null,'
    b'"usage":{"input_tokens":9,"output_tokens":14,"cache_read_input_tokens":0}}'
)
"""As z.ai answers on its messages endpoint (protocol.md 1.5): an id of its own form, no counter of what was written."""
ZAI_STREAM = [
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"2025","type":"message","role":"assistant",'
    b'"model":"glm-4.6","content":[],"stop_reason":null,"usage":{"input_tokens":9,"output_tokens":1}}}\n\n',
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n',
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"hi"}}\n\n',
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":14}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_zai_leaves_out_is_not_made_up_in_its_own_dialect(tmp_path: Path, stream: bool) -> None:
    """Bytes that no stage changed pass (promise 1): that outranks the published schema, which z.ai does not obey."""
    asked = {"model": GLM, "max_tokens": 9, "stream": stream, "messages": [user("hi")]}
    plain = DEFAULT + "[core]\nextras = false\n"
    played = await play(tmp_path, MESSAGES, asked, ZAI_STREAM if stream else ZAI, pipelines=plain)
    assert played.answer.body == (b"".join(ZAI_STREAM) if stream else ZAI)
    # Translated, the same reply has every key that its new dialect requires: `play` holds it against the schema.
    chat = {"model": GLM, "stream": stream, "messages": [user("hi")]}
    played = await play(tmp_path, CHAT, chat, ZAI_STREAM if stream else ZAI, pipelines=plain)
    told = played.frames[0] if stream else played.answer.json
    assert told["id"].startswith("chatcmpl-")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["glm-4.6", "glm-5", "glm-5.3"])
async def test_P22_an_image_goes_to_the_vision_model_of_chat(tmp_path: Path, model: str, stream: bool) -> None:
    reply = [REPLIES["openai"].stream] if stream else WHOLE
    asked = {"model": model, "max_tokens": 9, "stream": stream, "messages": [user(text("look"), IMAGE)]}
    played = await play(tmp_path, MESSAGES, asked, reply)
    told = played.frames[0]["message"] if stream else played.answer.json
    assert (played.status, told["model"]) == (200, model)
    assert played.sent[0].path == "/v1/chat/completions"
    assert played.body["model"] == "glm-4.6v"
    chat = {"model": model, "stream": stream, "messages": [user(text("look"), IMAGE_URL)]}
    played = await play(tmp_path, CHAT, chat, reply)
    assert (played.sent[0].path, played.body["model"]) == ("/v1/chat/completions", "glm-4.6v")


REFUSED = b'{"error":{"code":"1210","message":"Invalid API parameter, please check the documentation."}}'


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "part"), [(CHAT, IMAGE_URL), (MESSAGES, IMAGE)])
async def test_P23_a_limit_that_a_vision_model_refuses_is_left_out_once(
    tmp_path: Path, path: str, part: Any, stream: bool
) -> None:
    asked = {"model": "glm-4.6v", "max_tokens": 9, "stream": stream, "messages": [user(text("look"), part)]}
    reply = [REPLIES["openai"].stream] if stream else WHOLE
    played = await play(tmp_path, path, asked, REFUSED, reply, status="400 Bad Request", once=True)
    first, second = (json.loads(request.body) for request in played.sent)
    assert first.pop("max_tokens") == 9
    assert (played.status, first) == (200, second)
    assert played.answer.headers["x-trimtab-dropped"] == "max_tokens"


async def test_P23_what_is_refused_again_is_told(tmp_path: Path) -> None:
    asked = {"model": "glm-4.6v", "max_tokens": 9, "messages": [user(text("look"), IMAGE_URL)]}
    played = await play(tmp_path, CHAT, asked, REFUSED, REFUSED, status="400 Bad Request")
    assert (played.status, len(played.sent)) == (400, 2)
    assert "1210" in played.answer.json["error"]["message"]
    without = {key: value for key, value in asked.items() if key != "max_tokens"}
    played = await play(tmp_path, CHAT, without, REFUSED, status="400 Bad Request")
    assert (played.status, len(played.sent)) == (400, 1)
    text_only = {"model": GLM_CHAT, "max_tokens": 9, "messages": [user("hi")]}
    played = await play(tmp_path, CHAT, text_only, REFUSED, status="400 Bad Request")
    assert (played.status, len(played.sent)) == (400, 1)


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"temperature": 0}, {"temperature": 0.01}),
        ({"temperature": 1.5}, {"temperature": 1.0}),
        ({"top_p": 0}, {"top_p": 0.01}),
    ],
)
async def test_P24_numbers_are_brought_within_zais_limits(
    tmp_path: Path, given: dict[str, Any], left: dict[str, Any]
) -> None:
    for path in (CHAT, MESSAGES):
        found = await sent(tmp_path, path, {"model": GLM_CHAT, "max_tokens": 9, **given, "messages": [user("hi")]})
        assert left.items() <= found.items()


SEVERAL: list[tuple[int, dict[str, Any], str | None]] = [
    (1, {"role": "assistant", "content": "other"}, None),
    (0, {"role": "assistant", "content": "fi"}, None),
    (1, {}, "stop"),
    (0, {"content": "rst"}, None),
    (0, {}, "stop"),
]


def several(*, until: int) -> list[bytes]:
    """The chunks of two answers side by side, the second of which comes first."""
    return [
        data({"id": "c", "model": "m", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]})
        for index, delta, finish in SEVERAL[:until]
    ]


@pytest.mark.parametrize("bytewise", [False, True])
async def test_several_answers_pass_and_the_first_is_read_whichever_comes_first(
    tmp_path: Path, bytewise: bool, logged: list[str]
) -> None:
    asked = {"model": GLM_CHAT, "n": 2, "stream": True, "messages": [user("hi")]}
    usage = data({"id": "c", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}})
    played = await play(tmp_path, CHAT, asked, [*several(until=5), usage, DONE], pipelines=ANY, bytewise=bytewise)
    said = {0: "", 1: ""}
    for frame in played.frames[:-1]:
        for choice in frame["choices"]:
            said[choice["index"]] += choice["delta"].get("content", "")
    assert (said, played.frames[-1]) == ({0: "first", 1: "other"}, b"[DONE]")
    assert any("prompt=9 " in line and "output=5" in line for line in logged)


@pytest.mark.parametrize("until", [1, 2, 3, 4])
async def test_several_answers_of_which_one_is_cut_are_broken_and_never_asked_for_again(
    tmp_path: Path, until: int
) -> None:
    asked = {"model": GLM_CHAT, "n": 2, "stream": True, "messages": [user("hi")]}
    again = ANY + "[retry]\nattempts = 3\n"
    pieces = several(until=until)
    played = await play(tmp_path, CHAT, asked, pieces, pipelines=again, alone=False)
    assert len(played.sent) == 1
    assert "error" in played.frames[-1]
    assert len(played.frames) == until + 1
    assert DONE not in played.answer.body


@pytest.mark.parametrize("stream", [False, True])
async def test_several_answers_in_another_form_than_asked_are_refused(tmp_path: Path, stream: bool) -> None:
    asked = {"model": GLM_CHAT, "n": 2, "stream": stream, "messages": [user("hi")]}
    played = await play(tmp_path, CHAT, asked, WHOLE if stream else [*several(until=5), DONE], pipelines=ANY)
    assert (played.status, "2 answers" in played.answer.json["error"]["message"]) == (502, True)


@pytest.mark.parametrize("bytewise", [False, True])
async def test_P39_in_its_own_dialect_a_finish_on_every_chunk_passes_as_it_came(tmp_path: Path, bytewise: bool) -> None:
    """Bytes that no stage changed pass (promise 1); what is booked is the last word all the same."""
    usage = {"prompt_tokens": 30, "completion_tokens": 4, "total_tokens": 34}
    chunks = [
        data({"id": "c", "model": GLM_CHAT, "choices": [{"index": 0, "delta": delta, "finish_reason": "stop"}], **more})
        for delta, more in (({"content": "one"}, {}), ({"content": " two"}, {}), ({}, {"usage": usage}))
    ]
    asked = {"model": GLM_CHAT, "stream": True, "stream_options": {"include_usage": True}, "messages": [user("hi")]}
    played = await play(tmp_path, CHAT, asked, [*chunks, DONE], bytewise=bytewise)
    assert played.text() == "one two"
    assert played.frames[-1] == b"[DONE]"
    assert [frame["usage"]["prompt_tokens"] for frame in played.frames[:-1] if frame.get("usage")] == [30]
