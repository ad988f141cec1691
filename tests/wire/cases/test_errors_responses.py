"""The table of errors (protocol.md 2.7) and P44 to P46 for clients of Responses, before a stream and inside it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import responding
from trimtab.dialects.codes import ZAI
from trimtab.dialects.problems import PROBLEMS
from trimtab.errors import Cause
from wire.cases.play import DONE, GLM, GLM_CHAT, RESPONSES, Played, data, event, play
from wire.cases.test_errors import CODES, STATUSES, begun, refusal
from wire.harness import connect, proxying, request
from wire.modelled import chat_body, chat_frames, messages_body, messages_frames
from wire.scripted import SSE, Link, Sent, playing

pytestmark = pytest.mark.anyio
MODELS = pytest.mark.parametrize("model", [GLM, GLM_CHAT], ids=["messages", "chat"])
MODES = pytest.mark.parametrize("stream", [False, True])


def asked(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "input": "hi", **more}


def told(played: Played) -> tuple[int, str, str | None]:
    """Status, type and code of a refusal, whose form is checked on the way."""
    error = played.answer.json["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert played.answer.headers["x-request-id"]
    return played.status, error["type"], error["code"]


def failed(played: Played) -> dict[str, Any]:
    """The error of a stream that ends in `response.failed`, whose grammar and schemas are checked on the way."""
    events = responding.told(played.answer.body)
    assert [each["sequence_number"] for each in events] == list(range(len(events)))
    for each in events:
        responding.fits(each)
    kinds = responding.kinds(events)
    assert (kinds[:2], kinds[-1]) == (["created", "in_progress"], "failed")
    assert not {"completed", "incomplete"} & set(kinds)
    assert DONE not in played.answer.body
    error: dict[str, Any] = events[-1]["response"]["error"]
    return error


@MODELS
@MODES
async def test_every_code_of_zai_has_its_place_in_the_table(tmp_path: Path, model: str, stream: bool) -> None:
    for code, means in CODES.items():
        body = refusal(model, code, "why")
        played = await play(tmp_path, RESPONSES, asked(model, stream=stream), body, status="429 Too Many Requests")
        row = PROBLEMS[means.cause]
        assert told(played) == (row.chat_status, row.chat_type, row.chat_code), code
        assert played.answer.headers["x-should-retry"] == str(means.retry).lower(), code
        assert ("retry-after" in played.answer.headers) == (means.cause in (Cause.RATE_LIMIT, Cause.OVERLOADED))


@MODELS
@pytest.mark.parametrize("code", ["1302", "1305", "1308", "1113", "500"])
async def test_a_code_inside_a_stream_fails_the_response(tmp_path: Path, model: str, code: str) -> None:
    row = PROBLEMS[ZAI[code].cause]
    frame = data(refusal(model, code, "why"))
    played = await play(tmp_path, RESPONSES, asked(model, stream=True), [begun(model), frame], seen=b"look")
    assert played.status == 200
    error = failed(played)
    # The code that OpenAI's own list has for it.
    code_ = "server_error" if ZAI[code].cause is Cause.UPSTREAM else row.chat_code
    assert (error["code"], error["message"][:3]) == (code_, "why")
    played = await play(tmp_path, RESPONSES, asked(model, stream=True), [frame])
    assert told(played) == (row.chat_status, row.chat_type, row.chat_code)
    assert played.answer.headers["x-should-retry"] == str(ZAI[code].retry).lower()


@MODELS
@MODES
async def test_a_status_alone_has_its_place_in_the_table(tmp_path: Path, model: str, stream: bool) -> None:
    for status, cause in STATUSES.items():
        row = PROBLEMS[cause]
        for body in (b"<html>no</html>", b'{"detail":"no"}'):
            played = await play(tmp_path, RESPONSES, asked(model, stream=stream), body, status=status)
            assert told(played) == (row.chat_status, row.chat_type, row.chat_code), (status, body)
            assert b"<html>" not in played.answer.body


@MODELS
@MODES
async def test_P44_a_busy_upstream_is_overloaded(tmp_path: Path, model: str, stream: bool) -> None:
    for status in ("503 Service Unavailable", "529 Overloaded"):
        played = await play(tmp_path, RESPONSES, asked(model, stream=stream), b'{"message":"busy"}', status=status)
        assert told(played) == (503, "server_error", "server_overloaded")
        assert played.answer.headers["x-should-retry"] == "true"


ENDS = {
    "model_context_window_exceeded": ("incomplete", {"reason": "max_output_tokens"}),
    "sensitive": ("incomplete", {"reason": "content_filter"}),
    "network_error": ("failed", None),
    "brand_new_reason": ("completed", None),
}


def ending(model: str, finish: str, *, stream: bool) -> bytes | list[bytes]:
    """A reply with a text and an end of the upstream's own words; of a stream, the text is the first piece."""
    text = [("text", "hello")]
    if model == GLM_CHAT:
        frames = [frame.replace(b'"stop"', json.dumps(finish).encode()) for frame in chat_frames(text, "stop")]
        body = chat_body(text, "stop")
        body["choices"][0]["finish_reason"] = finish
    else:
        frames = [frame.replace(b'"end_turn"', json.dumps(finish).encode()) for frame in messages_frames(text, "stop")]
        body = messages_body(text, "stop") | {"stop_reason": finish}
    whole = json.dumps(body).encode()
    cut = next(at for at, frame in enumerate(frames) if finish.encode() in frame)
    return [b"".join(frames[:cut]), *frames[cut:]] if stream else whole


@MODELS
@MODES
@pytest.mark.parametrize("finish", ENDS)
async def test_P45_what_zai_calls_an_end_is_told_as_what_it_is(
    tmp_path: Path, model: str, finish: str, stream: bool
) -> None:
    answer = ending(model, finish, stream=stream)
    seen = b"lo" if stream else b""
    played = await play(tmp_path, RESPONSES, asked(model, stream=stream), answer, seen=seen)
    status, details = ENDS[finish]
    if status == "failed":
        if stream:
            failed(played)
        else:
            assert told(played)[0] == 502
        return
    last = responding.check(responding.told(played.answer.body)) if stream else played.answer.json
    assert (last["status"], last["incomplete_details"]) == (status, details)


@MODELS
@MODES
async def test_P46_a_client_that_leaves_ends_the_upstream_request(tmp_path: Path, model: str, stream: bool) -> None:
    closed = asyncio.Event()

    async def begins(sent: Sent, link: Link) -> None:
        if stream:
            await link.raw(SSE)
            await link.chunk(begun(model))
        await link.gone()
        closed.set()

    async with playing(begins) as upstream, proxying(tmp_path, upstream.url) as proxy:
        reader, writer = await connect(proxy.url)
        writer.write(request("POST", RESPONSES, json.dumps(asked(model, stream=stream)).encode()))
        if stream:
            await reader.readuntil(b"data: ")
        else:
            await upstream.received(1)
        writer.close()
        await asyncio.wait_for(closed.wait(), 1)


async def test_a_quota_says_when_it_is_reset(tmp_path: Path) -> None:
    text = "[1308][Usage limit reached for 5 hour. Your limit will reset at 2999-09-12 00:35:41][20260912]"
    for model in (GLM, GLM_CHAT):
        body = refusal(model, "1308", text)
        played = await play(tmp_path, RESPONSES, asked(model), body, status="429 Too Many Requests")
        assert int(played.answer.headers["retry-after"]) > 3600
        assert played.answer.headers["x-should-retry"] == "false"
        assert "2999-09-12 00:35:41" in played.answer.json["error"]["message"]


async def test_a_rate_says_when_to_try_again_in_the_words_that_codex_reads(tmp_path: Path) -> None:
    frame = data(refusal(GLM_CHAT, "1302", "slow"))
    played = await play(tmp_path, RESPONSES, asked(GLM_CHAT, stream=True), [begun(GLM_CHAT), frame], seen=b"look")
    error = failed(played)
    assert error["code"] == "rate_limit_exceeded"
    assert "try again in 5s" in error["message"]


async def test_an_error_event_of_messages_fails_the_response(tmp_path: Path) -> None:
    for kind, code in (("overloaded_error", "server_overloaded"), ("api_error", "server_error")):
        frame = event({"type": "error", "error": {"type": kind, "message": "why"}})
        played = await play(tmp_path, RESPONSES, asked(GLM, stream=True), [begun(GLM), frame], seen=b"look")
        error = failed(played)
        assert (error["code"], error["message"]) == (code, "why")
