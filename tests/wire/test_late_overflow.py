"""An upstream that finds a prompt too long gets a shorter one, once, before the client sees anything."""

from pathlib import Path

import msgspec
import pytest

from condensing import session
from talks import body
from wire.harness import post, proxying
from wire.scripted import REPLIES, Link, Sent, playing

pytestmark = pytest.mark.anyio
KEY = {"x-api-key": "sk-own"}
EMPTY = (
    REPLIES["/messages"]
    .replace(b'{"type":"text","text":"ok"}', b"")
    .replace(b"end_turn", b"model_context_window_exceeded")
)
FORMS = {
    "1261": ("400 Bad Request", b'{"error":{"code":"1261","message":"Prompt exceeds max length"}}'),
    "words": (
        "400 Bad Request",
        b'{"error":{"message":"tokens in request more than max tokens allowed"}}',
    ),
    "anthropic": (
        "400 Bad Request",
        b'{"type":"error","error":{"type":"invalid_request_error",'
        b'"message":"prompt is too long: 9000 tokens > 6000 maximum"}}',
    ),
    "empty": ("200 OK", EMPTY),
}


def request(turns: int = 40) -> bytes:
    """A session of some 20,000 tokens, which fits into the window of the table."""
    return msgspec.json.encode({**body(session(turns, "messages")), "model": "glm-4.6"})


@pytest.mark.parametrize("form", FORMS)
async def test_it_is_asked_once_more_with_less(tmp_path: Path, form: str) -> None:
    async def script(sent: Sent, link: Link) -> None:
        status, answer = FORMS[form] if len(sent.body) > 60_000 else ("200 OK", REPLIES["/messages"])
        await link.json(answer, status)

    async with playing(script) as upstream, proxying(tmp_path, upstream.url) as proxy:
        answer = await post(proxy.url, "/v1/messages", request(), KEY)
        assert (answer.status, answer.json["content"][0]["text"]) == (200, "ok")
        first, second = upstream.sent
        assert (len(first.body) > 60_000, b"[Old tool result cleared: read src/file0.py" in second.body) == (True, True)
        assert "smart_truncation" in answer.headers["x-trimtab-condensed"]
        assert answer.json["context_info"]["condensation_applied"] is True
        # A prompt of a tenth of the window tells nothing about others: the next one is asked as it is, and shortened.
        assert (await post(proxy.url, "/v1/messages", request(41), KEY)).status == 200
        assert len(upstream.sent) == 4


async def test_a_prompt_that_cannot_be_shortened_is_refused_in_the_clients_words(tmp_path: Path) -> None:
    async def script(sent: Sent, link: Link) -> None:
        await link.json(FORMS["1261"][1], FORMS["1261"][0])

    async with playing(script) as upstream, proxying(tmp_path, upstream.url) as proxy:
        short = msgspec.json.encode({**body([{"role": "user", "content": "hi"}]), "model": "glm-4.6"})
        answer = await post(proxy.url, "/v1/messages", short, KEY)
        assert (answer.status, len(upstream.sent)) == (400, 1)
        # One word is not too long, whatever the upstream says: an agent would compact for nothing.
        assert answer.json["error"]["message"] == "Prompt exceeds max length (upstream code 1261)"
        again = await post(proxy.url, "/v1/messages", request(), KEY)
        assert (again.status, again.json["error"]["message"][:18]) == (400, "prompt is too long")
        assert len(upstream.sent) <= 3, "one retry at most"
