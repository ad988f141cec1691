"""Bad input over real sockets: the right status in the client's dialect, and a proxy that serves the next request."""

import gzip
import json
from pathlib import Path

import pytest

from wire.harness import PIPELINES, Answer, exchange, post, proxying
from wire.scripted import playing

pytestmark = pytest.mark.anyio

GOOD = b'{"model":"claude-x","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}'
DEEP = b'{"model":"m","messages":%s%s}'

BAD = {
    "broken JSON": (b'{"model":"m","messages":[', 400, "not valid JSON"),
    "nothing": (b"", 400, "not valid JSON"),
    "an array": (b"[1,2]", 400, "wrong type"),
    "no model": (b'{"messages":[]}', 400, "'model' is missing"),
    "a model that is a number": (b'{"model":5,"messages":[]}', 400, "'model'"),
    "no messages": (b'{"model":"m"}', 400, "'messages' is missing"),
    "messages as text": (b'{"model":"m","messages":"hi"}', 400, "messages"),
    "a message that is a number": (b'{"model":"m","messages":[5]}', 400, "messages[0]"),
    "a role that is a number": (b'{"model":"m","messages":[{"role":5,"content":"x"}]}', 400, "messages[0]"),
    "content that is a number": (b'{"model":"m","messages":[{"role":"user","content":5}]}', 400, "content"),
    "messages twice": (b'{"model":"m","messages":[],"messages":[{"role":"user","content":"x"}]}', 400, "twice"),
    "model twice": (b'{"model":"m","model":"n","messages":[{"role":"user","content":"x"}]}', 400, "twice"),
    "50,000 brackets": (DEEP % (b"[" * 50_000, b"]" * 50_000), 400, "nested"),
    "100,000 brackets": (DEEP % (b"[" * 100_000, b"]" * 100_000), 413, "serve.max-values"),
    "NUL bytes": (b"\x00" * 100, 400, "not valid JSON"),
    "invalid UTF-8 in a message": (b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}', 400, "UTF-8"),
    "invalid UTF-8 elsewhere": (b'{"model":"m","x":"\xc3","messages":[{"role":"user","content":"x"}]}', 400, "UTF-8"),
}


def told(answer: Answer, path: str) -> str:
    """The message of an error, whose form must be the dialect's."""
    if path.endswith("completions"):
        assert set(answer.json["error"]) == {"message", "type", "param", "code"}
    else:
        assert answer.json["type"] == "error"
        assert answer.json["request_id"] == answer.headers["x-request-id"]
    return str(answer.json["error"]["message"])


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions", "/v1/messages/count_tokens"])
async def test_a_bad_body_is_refused_and_the_next_is_served(tmp_path: Path, path: str) -> None:
    async with playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        for name, (body, status, text) in BAD.items():
            answer = await post(proxy.url, path, body)
            assert answer.status == status, name
            assert text in told(answer, path), name
        assert upstream.sent == []
        assert (await post(proxy.url, "/v1/messages", GOOD)).status == 200


@pytest.mark.parametrize("model", ["claude-x", "glm-4.6-openai"])
@pytest.mark.parametrize("stream", [b"", b',"stream":true'])
async def test_a_message_without_a_limit_is_refused_unless_there_is_a_default(
    tmp_path: Path, model: str, stream: bytes
) -> None:
    bare = b'{"model":"%s","messages":[{"role":"user","content":"hi"}]%s}' % (model.encode(), stream)
    async with playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        answer = await post(proxy.url, "/v1/messages", bare)
        assert answer.status == 400
        assert answer.json["error"]["type"] == "invalid_request_error"
        assert "'max_tokens' is missing" in told(answer, "messages")
        assert upstream.sent == []
        assert (await post(proxy.url, "/v1/messages/count_tokens", bare)).status == 200
    filling = PIPELINES + "[core]\ndefault-max-tokens = 77\n"
    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=filling) as proxy:
        assert (await post(proxy.url, "/v1/messages", bare)).status == 200
        assert json.loads(upstream.sent[0].body)["max_tokens"] == 77
        assert (await post(proxy.url, "/v1/chat/completions", bare)).status == 200
        assert upstream.sent[1].path.endswith("/messages") or b"max_tokens" not in upstream.sent[1].body


async def test_an_oversize_body_is_refused_while_it_is_read(tmp_path: Path) -> None:
    small = '[pipeline.default]\nstages = ["route"]\n[serve]\nmax-request-mb = 1\n'
    body = GOOD.replace(b"hi", b"x" * 1_100_000)
    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=small) as proxy:
        for path in ("/v1/messages", "/v1/chat/completions"):
            answer = await post(proxy.url, path, body)
            assert answer.status == 413
            assert "larger than 1 MB" in told(answer, path)
        assert upstream.sent == []


async def test_paths_methods_and_pipelines_that_do_not_exist(tmp_path: Path) -> None:
    async with playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        answer = await post(proxy.url, "/v1/chat/completion", GOOD)
        assert answer.status == 404
        assert "did you mean /v1/chat/completions?" in told(answer, "completions")
        answer = await post(proxy.url, "/p/nowhere/v1/messages", GOOD)
        assert answer.status == 404
        assert "no pipeline 'nowhere' (known: default)" in told(answer, "messages")
        answer = await exchange(proxy.url, "GET", "/v1/messages")
        assert answer.status == 405
        assert "takes POST, not GET" in told(answer, "messages")


async def test_keys_are_asked_for_and_never_echoed(tmp_path: Path) -> None:
    environ = {"PROXY_API_KEYS": "tt-good,tt-other", "SERVER_API_KEY": "sk-server"}
    async with playing() as upstream, proxying(tmp_path, upstream.url, environ=environ) as proxy:
        for headers in ({}, {"authorization": "Bearer tt-wrong"}, {"x-api-key": "sk-server"}):
            answer = await post(proxy.url, "/v1/messages", GOOD, headers)
            assert answer.status == 401
            assert answer.json["error"]["type"] == "authentication_error"
            assert not any(secret in answer.body for secret in (b"tt-good", b"tt-wrong", b"sk-server"))
        assert (await post(proxy.url, "/v1/messages", GOOD, {"x-api-key": "tt-good"})).status == 200
        sent = upstream.sent[-1]
        assert sent.headers["x-api-key"] == "sk-server"
        assert "tt-good" not in str(sent)
        assert (await exchange(proxy.url, "GET", "/health?verbose=1")).status == 401
        assert (await exchange(proxy.url, "GET", "/health")).json == {"status": "ok"}
        assert (await exchange(proxy.url, "GET", "/v1/models")).status == 401


async def test_a_request_id_is_taken_when_harmless_and_replaced_otherwise(tmp_path: Path) -> None:
    async with playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        answer = await post(proxy.url, "/v1/messages", GOOD, {"x-request-id": "run-7.a_B"})
        assert answer.headers["x-request-id"] == "run-7.a_B" == upstream.sent[-1].headers["x-request-id"]
        answer = await post(proxy.url, "/v1/messages", GOOD, {"x-request-id": "bad id;"})
        assert answer.headers["x-request-id"].startswith("req_")


async def test_a_packed_body_is_refused_by_name(tmp_path: Path) -> None:
    async with playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        answer = await post(proxy.url, "/v1/messages", gzip.compress(GOOD), {"content-encoding": "gzip"})
        assert answer.status == 400
        assert "packed (gzip)" in told(answer, "messages")


@pytest.mark.parametrize("path", ["/v1/nope%0aid=forged", "*", "//v1//messages", "/v1/models%0a"])
async def test_odd_targets_get_an_answer_in_the_dialect(tmp_path: Path, path: str, logged: list[str]) -> None:
    async with playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        answer = await post(proxy.url, path, GOOD)
        assert answer.status in (404, 405)
        assert told(answer, "messages" if "messages" in path else "completions")


async def test_the_absolute_form_of_a_target_is_understood(tmp_path: Path) -> None:
    async with playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        assert (await post(proxy.url, f"{proxy.url}/v1/messages", GOOD)).status == 200
        assert (await post(proxy.url, f"{proxy.url}/nowhere", GOOD)).status == 404
