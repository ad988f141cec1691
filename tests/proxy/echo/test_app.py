"""The echo as an application: paths, dialects, usage over a session, errors, records."""

import json
from typing import Any

import pytest

from proxy.echo.client import Answer, Client, fold_chat, fold_messages, scope
from trimtab.framing import framing

pytestmark = pytest.mark.anyio

WORDS = "A long line of text which an agent has read from some file on the disk.\n"
SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
CHAT: dict[str, Any] = {
    "model": "glm",
    "messages": [{"role": "system", "content": WORDS * 20}, {"role": "user", "content": "hello there"}],
    "tools": [{"type": "function", "function": {"name": "look", "description": WORDS, "parameters": SCHEMA}}],
}
MESSAGES: dict[str, Any] = {
    "model": "glm",
    "max_tokens": 1000,
    "system": [{"type": "text", "text": WORDS * 20, "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": "hello there"}],
    "tools": [{"name": "look", "description": WORDS, "input_schema": SCHEMA}],
}
COMPLETIONS, MESSAGES_PATH, COUNT = "/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens"


def chunks(answer: Answer) -> list[bytes]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    return [message["body"] for message in answer.messages[1:-1]]


def prompt_tokens(usage: dict[str, Any]) -> int:
    return int(usage["input_tokens"] + usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"])


@pytest.mark.parametrize("thinking", [{}, {"thinking": {"type": "enabled", "budget_tokens": 2000}}])
@pytest.mark.parametrize("tools", [{}, {"tools": None}])
async def test_a_stream_is_the_same_reply(thinking: dict[str, Any], tools: dict[str, Any]) -> None:
    ask = {"stream": True, "stream_options": {"include_usage": True}}
    for path, body, fold in ((COMPLETIONS, CHAT, fold_chat), (MESSAGES_PATH, MESSAGES, fold_messages)):
        request = {**body, **thinking, **tools}
        whole, streamed = Client(), Client()
        for _ in range(2):  # the second time from the cache
            expected = (await whole.post(path, request)).json()
            assert fold(chunks(await streamed.post(path, {**request, **ask}))) == expected


async def test_the_same_request_gets_the_same_reply_and_the_cache_shows() -> None:
    client = Client()
    first, second = [(await client.post(COMPLETIONS, CHAT)).json() for _ in range(2)]
    total = first["usage"]["prompt_tokens"]
    assert first["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    assert second["usage"]["prompt_tokens_details"] == {"cached_tokens": (total - 1) // 128 * 128}
    assert {**first, "usage": 0} == {**second, "usage": 0}


async def test_a_session_of_messages_is_read_from_the_cache() -> None:
    client, session, totals = Client(), {**MESSAGES, "messages": [*MESSAGES["messages"]]}, [0]
    for turn in range(5):
        answer = (await client.post(MESSAGES_PATH, session)).json()
        usage = answer["usage"]
        # What opens a reply is no part of the next prompt.
        assert usage["cache_read_input_tokens"] == max(0, totals[-1] - framing("messages").opening) // 128 * 128
        assert (await client.post(COUNT, session)).json() == {"input_tokens": prompt_tokens(usage)}
        totals.append(prompt_tokens(usage))
        assert totals[-1] > totals[-2]
        assert answer["stop_reason"] == ("tool_use" if turn < 2 else "end_turn")
        result = {"type": "tool_result", "tool_use_id": answer["content"][-1].get("id"), "content": WORDS * 10}
        reply = {"role": "assistant", "content": answer["content"]}
        session["messages"] += [reply, {"role": "user", "content": [result]}]


async def test_moving_a_cache_mark_costs_nothing_and_an_edit_costs_what_follows() -> None:
    client = Client()
    talk = [{"role": ("user", "assistant")[n % 2], "content": f"{n}. {WORDS * 20}"} for n in range(9)]
    total = prompt_tokens((await client.post(MESSAGES_PATH, {**MESSAGES, "messages": talk})).json()["usage"])
    block = {"type": "text", "text": talk[8]["content"], "cache_control": {"type": "ephemeral"}}
    marked = [*talk[:8], {"role": "user", "content": [block]}]
    usage = (await client.post(MESSAGES_PATH, {**MESSAGES, "messages": marked})).json()["usage"]
    assert usage["cache_read_input_tokens"] == (total - 1) // 128 * 128
    edited = [*talk[:4], {"role": "user", "content": "gone"}, *talk[5:]]
    usage = (await client.post(MESSAGES_PATH, {**MESSAGES, "messages": edited})).json()["usage"]
    before = (await client.post(COUNT, {**MESSAGES, "messages": talk[:4]})).json()["input_tokens"]
    assert usage["cache_read_input_tokens"] in (before // 128 * 128, (before + 4) // 128 * 128)


async def test_counting_does_not_fill_the_cache() -> None:
    client = Client()
    await client.post(COUNT, MESSAGES)
    assert (await client.post(MESSAGES_PATH, MESSAGES)).json()["usage"]["cache_read_input_tokens"] == 0


async def test_models_have_caches_of_their_own() -> None:
    client = Client()
    await client.post(MESSAGES_PATH, MESSAGES)
    other = (await client.post(MESSAGES_PATH, {**MESSAGES, "model": "other"})).json()
    assert other["usage"]["cache_read_input_tokens"] == 0
    assert other["model"] == "other"


@pytest.mark.parametrize("prefix", ["", "/v1", "/api/coding/paas/v4", "/api/anthropic/v1"])
async def test_any_prefix_will_do(prefix: str) -> None:
    client = Client()
    assert (await client.post(f"{prefix}/chat/completions", CHAT)).json()["object"] == "chat.completion"
    assert (await client.post(f"{prefix}/messages?beta=true", MESSAGES)).json()["type"] == "message"
    assert (await client.post(f"{prefix}/messages/count_tokens", MESSAGES)).json().keys() == {"input_tokens"}
    assert (await client.call("GET", f"{prefix}/models")).json()["object"] == "list"


async def test_models_speak_the_dialect_of_the_asker() -> None:
    client = Client(models=("a", "b"), window=5000)
    asked = (await client.call("GET", "/v1/models", headers={"anthropic-version": "2023-06-01"})).json()
    assert [model["display_name"] for model in asked["data"]] == ["a", "b"]
    assert asked["data"][0]["max_input_tokens"] == 5000
    asked = (await client.call("GET", "/v1/models")).json()
    assert [model["object"] for model in asked["data"]] == ["model", "model"]


BAD = [
    ("POST", b"{", 400),
    ("POST", b'{"model": "glm"}', 400),
    ("POST", b'{"model": "glm", "messages": [{"role": 1}]}', 400),
    ("GET", b"", 405),
    ("PUT", b"{}", 405),
]


@pytest.mark.parametrize(("method", "body", "status"), BAD)
async def test_errors_in_chat(method: str, body: bytes, status: int) -> None:
    answer = await Client().call(method, COMPLETIONS, body)
    assert answer.status == status
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers.get("allow") == ("POST" if status == 405 else None)


@pytest.mark.parametrize(("method", "body", "status"), BAD)
@pytest.mark.parametrize("path", [MESSAGES_PATH, COUNT])
async def test_errors_in_messages(path: str, method: str, body: bytes, status: int) -> None:
    answer = await Client().call(method, path, body)
    assert answer.status == status
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.json()["request_id"] == answer.headers["request-id"]


async def test_an_unknown_path_is_a_404_in_the_dialect_of_the_asker() -> None:
    client = Client()
    for path in ("/", "/v1/responses", "/v1/messages/"):
        answer = await client.call("GET", path)
        assert (answer.status, answer.json()["error"]["code"]) == (404, "unknown_url")
    answer = await client.call("GET", "/api/event_logging/batch", headers={"anthropic-version": "2023-06-01"})
    assert (answer.status, answer.json()["error"]["type"]) == (404, "not_found_error")
    assert (await client.post("/v1/models", b"")).headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"x-api-key": "wrong"}, 401),
        ({"authorization": "Bearer wröng"}, 401),
        ({"x-api-key": "secret"}, 200),
        ({"Authorization": "Bearer secret"}, 200),
    ],
)
async def test_a_key_may_be_asked_for(headers: dict[str, str], status: int) -> None:
    client = Client(api_key="secret")
    chat = await client.post(COMPLETIONS, CHAT, headers)
    messages = await client.post(MESSAGES_PATH, MESSAGES, headers)
    assert chat.status == messages.status == status
    if status == 401:
        assert chat.json()["error"]["code"] == "invalid_api_key"
        assert messages.json()["error"]["type"] == "authentication_error"


async def test_a_prompt_above_the_window_is_refused_and_not_cached() -> None:
    total = (await Client().post(COUNT, MESSAGES)).json()["input_tokens"]
    assert (await Client(window=total).post(MESSAGES_PATH, MESSAGES)).status == 200
    client = Client(window=total - 1)
    answer = await client.post(MESSAGES_PATH, {**MESSAGES, "stream": True})
    assert answer.status == 400
    assert answer.json()["error"]["message"] == f"prompt is too long: {total} tokens > {total - 1} maximum"
    assert len(client.echo._cache) == 0
    answer = await client.post(COMPLETIONS, {**CHAT, "messages": [{"role": "user", "content": WORDS * 50}]})
    assert answer.status == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


async def test_requests_are_recorded_as_they_came() -> None:
    client = Client(keep=2)
    body = b'{ "messages":[ ], "model" : 1.0 }'
    await client.post("/v1/messages?beta=true", body, {"X-Api-Key": "k"})
    (seen,) = client.echo.requests
    assert (seen.method, seen.path, seen.query, seen.body) == ("POST", "/v1/messages", "beta=true", body)
    assert seen.headers == {"x-api-key": "k"}
    for number in range(3):
        await client.post("/nowhere", str(number).encode())
    assert [seen.body for seen in client.echo.requests] == [b"1", b"2"]


async def test_nothing_is_recorded_where_nothing_is_kept() -> None:
    client = Client(keep=0)
    await client.post(COMPLETIONS, CHAT)
    assert client.echo.requests == []


async def test_a_client_that_leaves_within_its_request_is_let_go() -> None:
    client = Client()

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        raise AssertionError(message)

    await client.app(scope("POST", MESSAGES_PATH, {}, "2.1"), receive, send)
    assert client.echo.requests == []


async def test_tool_calls_of_chat_hold_valid_arguments() -> None:
    message = (await Client().post(COMPLETIONS, CHAT)).json()["choices"][0]["message"]
    assert message["content"] is None
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"path": "echo"}
