"""P43 to P46, and the table of errors (protocol.md 2.7), before a stream and inside it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from laws.samples import REPLIES
from trimtab.dialects.codes import ZAI
from trimtab.dialects.problems import PROBLEMS
from trimtab.errors import Cause
from wire.cases.play import CHAT, DONE, GLM, GLM_CHAT, MESSAGES, Played, data, event, play, user
from wire.harness import connect, proxying, request
from wire.scripted import SSE, Link, Sent, playing

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """The prompts of these cases are short: an upstream that calls them too long is believed."""
    monkeypatch.setattr("trimtab.overflow.FAR", 10**9)


WAYS = pytest.mark.parametrize(
    ("path", "model"),
    [(MESSAGES, GLM), (MESSAGES, GLM_CHAT), (CHAT, GLM), (CHAT, GLM_CHAT)],
    ids=["messages", "messages-chat", "chat-messages", "chat"],
)


def asked(path: str, model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 9, "messages": [user("hi")], **more}


def refusal(model: str, code: str, message: str) -> bytes:
    """z.ai's error in either dialect: on its messages endpoint a type stands beside the code."""
    error = {"code": code, "message": message}
    if model == GLM_CHAT:
        return json.dumps({"error": error}).encode()
    return json.dumps({"type": "error", "error": {"type": "invalid_request_error", **error}}).encode()


def told(path: str, played: Played) -> tuple[int, str, str | None]:
    """Status, type and code of a refusal, whose form is checked on the way."""
    error, headers = played.answer.json["error"], played.answer.headers
    if path == MESSAGES:
        assert played.answer.json.keys() == {"type", "error", "request_id"}
        assert played.answer.json["request_id"] == headers["request-id"]
        return played.status, error["type"], None
    assert error.keys() == {"message", "type", "param", "code"}
    assert headers["x-request-id"]
    return played.status, error["type"], error["code"]


def expected(path: str, cause: Cause) -> tuple[int, str, str | None]:
    row = PROBLEMS[cause]
    return (
        (row.messages_status, row.messages_type, None)
        if path == MESSAGES
        else (row.chat_status, row.chat_type, row.chat_code)
    )


WORDS = {
    MESSAGES: "prompt is too long: 213462 tokens > 204800 maximum",
    CHAT: "This model's maximum context length is 204800 tokens. However, your messages resulted in 213462 tokens. "
    "Please reduce the length of the messages.",
}
SAID = "tokens in request more than max tokens allowed: 213462 tokens > 204800"


@WAYS
@pytest.mark.parametrize("stream", [False, True])
async def test_P43_an_overflow_is_told_word_for_word(tmp_path: Path, path: str, model: str, stream: bool) -> None:
    played = await play(
        tmp_path, path, asked(path, model, stream=stream), refusal(model, "1261", SAID), status="400 Bad Request"
    )
    assert told(path, played) == (400, "invalid_request_error", "context_length_exceeded" if path == CHAT else None)
    assert played.answer.json["error"]["message"] == WORDS[path]
    assert played.answer.headers["x-should-retry"] == "false"
    if path == CHAT:
        assert played.answer.json["error"]["param"] == "messages"


@WAYS
async def test_P43_an_overflow_without_numbers_has_our_own(tmp_path: Path, path: str, model: str) -> None:
    body = refusal(model, "1261", "Prompt exceeds max length")
    played = await play(tmp_path, path, asked(path, model), body, status="400 Bad Request")
    message = played.answer.json["error"]["message"]
    assert (
        ("204801 tokens > 204800 maximum" in message) if path == MESSAGES else ("resulted in 204801 tokens" in message)
    )


@WAYS
async def test_P43_an_overflow_inside_a_stream_has_the_same_words(tmp_path: Path, path: str, model: str) -> None:
    played = await play(
        tmp_path,
        path,
        asked(path, model, stream=True),
        [begun(model), data(refusal(model, "1261", SAID))],
        seen=b"look",
    )
    assert played.frames[-1]["error"]["message"] == WORDS[path]
    assert played.status == 200
    ended(played)


def begun(model: str) -> bytes:
    """The beginning of a stream, with a word of text."""
    reply = REPLIES["openai" if model == GLM_CHAT else "anthropic"].stream
    frames = reply.split(b"\n\n")
    return b"\n\n".join(frames[: 3 if model == GLM_CHAT else 10]) + b"\n\n"


def ended(played: Played) -> None:
    """Nothing that looks like a good end."""
    assert DONE not in played.answer.body
    assert b"message_stop" not in played.answer.body
    assert b'"finish_reason":"' not in played.answer.body


@pytest.mark.parametrize("model", [GLM, GLM_CHAT])
@pytest.mark.parametrize("stream", [False, True])
async def test_P44_a_busy_upstream_is_overloaded(tmp_path: Path, model: str, stream: bool) -> None:
    for status in ("503 Service Unavailable", "529 Overloaded"):
        played = await play(
            tmp_path, MESSAGES, asked(MESSAGES, model, stream=stream), b'{"message":"busy"}', status=status
        )
        assert told(MESSAGES, played) == (529, "overloaded_error", None)
        assert played.answer.headers["x-should-retry"] == "true"
        played = await play(tmp_path, CHAT, asked(CHAT, model, stream=stream), b'{"message":"busy"}', status=status)
        assert told(CHAT, played) == (503, "server_error", "server_overloaded")


FINISHES = {
    "model_context_window_exceeded": ("length", "model_context_window_exceeded"),
    "sensitive": ("content_filter", "refusal"),
    "network_error": (None, None),
    "brand_new_reason": ("stop", "end_turn"),
}


@pytest.mark.parametrize("finish", FINISHES)
@pytest.mark.parametrize("stream", [False, True])
async def test_P45_what_zai_calls_an_end_is_told_as_what_it_is(tmp_path: Path, finish: str, stream: bool) -> None:
    head = {"id": "c", "model": "glm-4.6", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    message = {"role": "assistant", "content": "one"}
    whole = json.dumps({**head, "choices": [{"index": 0, "message": message, "finish_reason": finish}]}).encode()
    frames = [
        data({"id": "c", "choices": [{"index": 0, "delta": message, "finish_reason": None}]}),
        data({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}),
        DONE,
    ]
    for path, at in ((MESSAGES, 1),):
        answer, seen = (frames, b"one") if stream else (whole, b"")
        played = await play(tmp_path, path, asked(path, GLM_CHAT, stream=stream), answer, seen=seen)
        if FINISHES[finish][at] is None:
            assert (played.status, b"error" in played.answer.body) == (200 if stream else 500, True)
            ended(played)
            continue
        end = played.frames[-2]["delta"] if stream else played.answer.json
        assert end["stop_reason"] == FINISHES[finish][at]
    head_a = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }
    content = [{"type": "text", "text": "one"}]
    whole = json.dumps({**head_a, "content": content, "stop_reason": finish, "stop_sequence": None}).encode()
    frames = [
        event({"type": "message_start", "message": {**head_a, "content": []}}),
        event({"type": "content_block_start", "index": 0, "content_block": content[0]}),
        event({"type": "content_block_stop", "index": 0}),
        event({"type": "message_delta", "delta": {"stop_reason": finish}, "usage": {"output_tokens": 2}}),
        event({"type": "message_stop"}),
    ]
    answer, seen = ([frames[0] + frames[1], *frames[2:]], b"one") if stream else (whole, b"")
    played = await play(tmp_path, CHAT, asked(CHAT, GLM, stream=stream), answer, seen=seen)
    if FINISHES[finish][0] is None:
        assert (played.status, b"error" in played.answer.body) == (200 if stream else 502, True)
        ended(played)
        return
    choices = [frame["choices"][0] for frame in played.frames[:-1]] if stream else played.answer.json["choices"]
    assert choices[-1]["finish_reason"] == FINISHES[finish][0]


@pytest.mark.parametrize("finish", ["sensitive", "model_context_window_exceeded", "network_error"])
@pytest.mark.parametrize("stream", [False, True])
async def test_P45_no_such_word_passes_to_a_client_of_the_same_dialect(
    tmp_path: Path, finish: str, stream: bool
) -> None:
    head = {"id": "c", "model": "glm-4.6", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    message = {"role": "assistant", "content": "one"}
    whole = json.dumps({**head, "choices": [{"index": 0, "message": message, "finish_reason": finish}]}).encode()
    frames = [
        data({"id": "c", "choices": [{"index": 0, "delta": message, "finish_reason": None}]}),
        data({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}),
        DONE,
    ]
    played = await play(tmp_path, CHAT, asked(CHAT, GLM_CHAT, stream=stream), frames if stream else whole)
    assert f'"finish_reason": "{finish}"'.encode() not in played.answer.body
    if finish == "network_error":
        ended(played)
        return
    choices = [frame["choices"][0] for frame in played.frames[:-1]] if stream else played.answer.json["choices"]
    assert choices[-1]["finish_reason"] == FINISHES[finish][0]


@WAYS
@pytest.mark.parametrize("stream", [False, True])
async def test_P46_a_client_that_leaves_ends_the_upstream_request(
    tmp_path: Path, path: str, model: str, stream: bool
) -> None:
    closed = asyncio.Event()

    async def begins(sent: Sent, link: Link) -> None:
        if stream:
            await link.raw(SSE)
            await link.chunk(begun(model))
        await link.gone()
        closed.set()

    async with playing(begins) as upstream, proxying(tmp_path, upstream.url) as proxy:
        reader, writer = await connect(proxy.url)
        writer.write(request("POST", path, json.dumps(asked(path, model, stream=stream)).encode()))
        if stream:
            await reader.readuntil(b"data: ")
        else:
            await upstream.received(1)
        writer.close()
        await asyncio.wait_for(closed.wait(), 1)


CODES = {code: means for code, means in ZAI.items() if means.cause is not Cause.OVERFLOW}


@WAYS
async def test_every_code_of_zai_has_its_place_in_the_table(tmp_path: Path, path: str, model: str) -> None:
    for code, means in CODES.items():
        played = await play(
            tmp_path, path, asked(path, model), refusal(model, code, "why"), status="429 Too Many Requests"
        )
        assert told(path, played) == expected(path, means.cause), code
        assert played.answer.headers["x-should-retry"] == str(means.retry).lower(), code
        assert played.answer.json["error"]["message"].startswith("why")
        assert ("retry-after" in played.answer.headers) == (means.cause in (Cause.RATE_LIMIT, Cause.OVERLOADED))


@WAYS
@pytest.mark.parametrize("code", ["1302", "1305", "1308", "1113", "500"])
async def test_a_code_inside_a_stream_has_the_same_words(tmp_path: Path, path: str, model: str, code: str) -> None:
    for start in (b"", begun(model)):
        pieces = [start, data(refusal(model, code, "why"))] if start else [data(refusal(model, code, "why"))]
        played = await play(tmp_path, path, asked(path, model, stream=True), pieces, seen=b"look" if start else b"")
        _, kind, name = expected(path, ZAI[code].cause)
        error = played.frames[-1]["error"] if start else played.answer.json["error"]
        assert (error["type"], error.get("code") if path == CHAT else None) == (kind, name)
        assert error["message"].startswith("why")
        ended(played)
        if not start:
            assert played.status == expected(path, ZAI[code].cause)[0]
            assert played.answer.headers["x-should-retry"] == str(ZAI[code].retry).lower()


async def test_a_quota_says_when_it_is_reset(tmp_path: Path) -> None:
    text = "[1308][Usage limit reached for 5 hour. Your limit will reset at 2999-09-12 00:35:41][20260912]"
    for path, model in ((MESSAGES, GLM), (CHAT, GLM_CHAT)):
        played = await play(
            tmp_path, path, asked(path, model), refusal(model, "1308", text), status="429 Too Many Requests"
        )
        assert int(played.answer.headers["retry-after"]) > 3600
        assert played.answer.headers["x-should-retry"] == "false"
        assert "2999-09-12 00:35:41" in played.answer.json["error"]["message"]


STATUSES = {
    "400 Bad Request": Cause.MALFORMED,
    "401 Unauthorized": Cause.AUTHENTICATION,
    "402 Payment Required": Cause.BILLING,
    "403 Forbidden": Cause.PERMISSION,
    "404 Not Found": Cause.NOT_FOUND,
    "413 Payload Too Large": Cause.TOO_LARGE,
    "429 Too Many Requests": Cause.RATE_LIMIT,
    "500 Internal Server Error": Cause.UPSTREAM,
    "502 Bad Gateway": Cause.UPSTREAM,
    "504 Gateway Timeout": Cause.TIMEOUT,
}


@WAYS
async def test_a_status_alone_has_its_place_in_the_table(tmp_path: Path, path: str, model: str) -> None:
    for status, cause in STATUSES.items():
        for body in (b"<html>no</html>", b'{"detail":"no"}'):
            played = await play(tmp_path, path, asked(path, model), body, status=status)
            assert told(path, played) == expected(path, cause), (status, body)
            assert b"<html>" not in played.answer.body
