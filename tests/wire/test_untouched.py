"""Promise 1 over real sockets: what no stage changed arrives byte for byte, the model's name aside."""

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures import bodies, conversations, needs_recordings, turns
from wire.harness import connect, post, proxying, request
from wire.scripted import playing

pytestmark = pytest.mark.anyio

BARE = """
[pipeline.default]
stages = ["auth", "token-count", "route", "log"]
[stage.route]
thinking = false
[upstream.zai-messages]
images = true
[model.any]
images = true
upstreams = { messages = "zai-messages", chat = "zai-chat" }
"""

ODD = [
    b'{ "model" :"claude-x",\n\t"messages":[ {"role":"user" , "content":"hi"} ] ,'
    b' "max_tokens": 5, "zzz": {"b":1,"a":[ ]}}',
    b'{"max_tokens":1,"model":"claude-x","messages":[{"content":"a","role":"user"}],"odd":1,"odd":2}',
    b'{"model":"claude-x","max_tokens":1,"big":123456789012345678901234567890.5e-7,"tiny":1E+2,'
    b'"messages":[{"role":"user","content":[{"type":"novel","x":1e400}]}]}',
    b'{"model":"claude-x","max_tokens":1,"messages":[{"role":"user",'
    b'"content":"\\u00e9 \\/ \xf0\x9f\x98\x80 \\ud83d\\ude00"}]}',
]


@pytest.mark.parametrize("body", ODD)
async def test_odd_spelling_arrives_as_sent(tmp_path: Path, body: bytes) -> None:
    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=BARE) as proxy:
        answer = await post(proxy.url, "/v1/messages", body)
        assert answer.status == 200
        assert upstream.sent[0].body == body


async def test_a_megabyte_arrives_as_sent(tmp_path: Path) -> None:
    text = "0123456789abcdef" * 1024
    messages = [{"role": ("user", "assistant")[i % 2], "content": f"{i} {text}"} for i in range(65)]
    body = dumps({"model": "claude-x", "max_tokens": 1, "messages": messages})
    assert len(body) > 1 << 20
    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=BARE) as proxy:
        await post(proxy.url, "/v1/messages", body)
        assert upstream.sent[0].body == body


async def test_a_lone_surrogate_is_mended_and_reported(tmp_path: Path) -> None:
    body = b'{"model":"claude-x","max_tokens":1,"messages":[{"role":"user","content":"cut \\ud83d here"}]}'
    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=BARE) as proxy:
        answer = await post(proxy.url, "/v1/messages", body)
        assert answer.headers["x-trimtab-mended"] == "1"
        assert upstream.sent[0].body == body.replace(b"\\ud83d", b"\\ufffd")


async def test_the_default_chain_adds_what_it_reports_and_nothing_else(tmp_path: Path) -> None:
    body = b'{"model":"glm-4.6-openai", "messages":[{"role":"user","content":"hi"}] }'
    async with playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        await post(proxy.url, "/v1/chat/completions", body)
        sent = b'{"model":"glm-4.6", "messages":[{"role":"user","content":"hi"}],"thinking":{"type":"enabled"} }'
        assert upstream.sent[0].body == sent


@needs_recordings
async def test_every_recorded_request_arrives_as_sent(tmp_path: Path) -> None:
    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=BARE) as proxy:
        for name, path, body in bodies():
            named = renamed(path, body)
            answer = await post(proxy.url, path, named)
            assert answer.status == 200, (name, answer.body)
            sent = named.replace(b'-openai"', b'"', 1)
            if name.startswith("aider") and path == "/v1/chat/completions":
                # z.ai refuses a temperature of 0 there (P24); nothing else changes.
                sent = sent.replace(b'"temperature":0}', b'"temperature":0.01}')
            assert upstream.sent[-1].body == sent, name


@needs_recordings
@pytest.mark.parametrize("file", conversations() or [None], ids=lambda file: file and file.name)
async def test_every_turn_of_a_recorded_conversation_arrives_as_sent(tmp_path: Path, file: Path) -> None:
    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=BARE) as proxy:
        reader, writer = await connect(proxy.url)
        for path, body in turns(file, "any"):
            named = renamed(path, body)
            writer.write(request("POST", path, named))
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head.splitlines()[0], head
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            assert upstream.sent.pop().body == named.replace(b'-openai"', b'"', 1)
        writer.close()


def renamed(path: str, body: bytes) -> bytes:
    """A recorded body under a model whose upstream speaks the body's own dialect."""
    value = b'"any"' if path.endswith("messages") else b'"any-openai"'
    start = body.index(b'"model":') + 8
    return body[:start] + value + body[body.index(b'"', start + 1) + 1 :]


def dumps(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()
