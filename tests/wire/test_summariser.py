"""A model that summarises badly costs nobody anything: over real sockets, requests go on and the log says why."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from condensing import NOTES, requests, session
from wire.harness import PATIENCE, PIPELINES, Answer, Proxy, post, proxying
from wire.scripted import REPLIES, Link, Sent, playing

pytestmark = pytest.mark.anyio
KEY = {"x-api-key": "sk-own"}
OPTIONS = """
[model.small]
window = 10_000
max-output = 1_000
upstreams = {{ messages = "zai-messages" }}
[stage.risk-assess]
reserve = 500
[stage.condense]
strategy = "conversation_summary"
model-rungs = true
model = "small"
max-messages = 200
timeout = {timeout}
"""
BODIES = [
    msgspec.json.encode({"model": "small", "max_tokens": 500, "messages": messages})
    for messages in requests(session(60, "messages", size=300, talk=30))
]
GOT_NONE = "condense got no summary from 'small': "


def reply(text: str) -> bytes:
    """An answer that says a text."""
    return REPLIES["/messages"].replace(b'"ok"', msgspec.json.encode(text))


class Model:
    """An upstream that answers agents at once, and questions for a summary as `kind` says; if slow, after `let`."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.asked = 0
        self.let = asyncio.Event()

    async def __call__(self, sent: Sent, link: Link) -> None:
        if b"Notes so far:" not in sent.body:
            await link.json(reply("ok"))
            return
        self.asked += 1
        if self.kind == "error":
            await link.json(b'{"error":{"message":"broken"}}', "500 Internal Server Error")
        elif self.kind == "hang":
            await link.gone()
        elif self.kind == "nonsense":
            await link.json(reply("yes"))
        else:
            await self.let.wait()
            await link.json(reply(NOTES))


@asynccontextmanager
async def serving(folder: Path, model: Model) -> AsyncIterator[Proxy]:
    options = OPTIONS.format(timeout=30 if model.kind == "slow" else 1)
    async with playing(model) as upstream, proxying(folder, upstream.url, pipelines=PIPELINES + options) as proxy:
        yield proxy


async def ask(proxy: Proxy, body: bytes) -> Answer:
    """A request of the session, answered at once and within the window."""
    answer = await post(proxy.url, "/v1/messages", body, KEY)
    assert (answer.status, answer.json["content"][0]["text"]) == (200, "ok"), answer.body
    assert float(answer.headers["x-context-utilization"]) <= 100
    return answer


async def booked(proxy: Proxy, name: str) -> None:
    """Wait until something is counted; work after a reply ends when it ends."""
    async with asyncio.timeout(PATIENCE):
        while name not in proxy.runtime.counters.snapshot():  # noqa: ASYNC110  # nothing tells when it is
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("error", GOT_NONE),
        ("hang", f"{GOT_NONE}model 'small' gave no answer within 1 s"),
        ("nonsense", f"{GOT_NONE}its answer is no summary"),
    ],
)
async def test_requests_go_on_without_a_summary(tmp_path: Path, logged: list[str], kind: str, reason: str) -> None:
    model = Model(kind)
    async with serving(tmp_path, model) as proxy:
        answers = [await ask(proxy, body) for body in BODIES[:-1]]
        assert model.asked >= 1
        await booked(proxy, "condense.unprepared")
        assert any(reason in line for line in logged)
        answers.append(await ask(proxy, BODIES[-1]))
        told = {answer.headers.get("x-trimtab-condensed", "").partition(";")[0] for answer in answers}
        assert told == {"", "key_point_extraction"}


async def test_a_slow_model_is_waited_for_by_nobody(tmp_path: Path, logged: list[str]) -> None:
    """While it thinks, requests are answered; what it says in the end is kept."""
    model = Model("slow")
    async with serving(tmp_path, model) as proxy:
        first = 0
        while not model.asked:
            await ask(proxy, BODIES[first])
            first += 1
        for body in BODIES[first : first + 2]:
            await ask(proxy, body)
        model.let.set()
        await booked(proxy, "condense.prepared")
        await ask(proxy, BODIES[first + 2])
    assert not [line for line in logged if GOT_NONE in line]
