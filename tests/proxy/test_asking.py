"""A stage asks a model: no stages around it, its own time, the exchange's key."""

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace

from asgi import NOWHERE, Running, make_config, make_runtime, running
from trimtab.api import Exchange, Reply, Stage, StageOptions, hookimpl
from trimtab.app import make_app
from trimtab.conversation import Image, Text
from trimtab.dialects.base import Prompt
from trimtab.errors import Cause, UpstreamError, UpstreamTimeout
from trimtab.events import Finished, StopReason, TextDelta, Usage
from trimtab.exchange import Answer
from trimtab.models import ModelTable
from trimtab.policy import Unready
from wire.scripted import REPLIES, Link, Sent, playing

pytestmark = pytest.mark.anyio

CHAT = b'{"model":"gpt-x","messages":[{"role":"user","content":"hi"}]}'
KEY = {"authorization": "Bearer sk-client"}


class Asking(Stage[StageOptions]):
    """Asks, and answers with what it heard."""

    name = "asking"
    model = "small"
    prompt = Prompt(system="be short", content=(Text(text="what is it?"),), max_tokens=50)
    seconds = 20.0
    heard: Answer | UpstreamError

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        try:
            self.heard = await exchange.ask(self.model, self.prompt, seconds=self.seconds)
        except UpstreamError as error:
            self.heard = error
        return Reply((TextDelta("done"), Finished(StopReason.END)))


class AskingEyes(Asking):
    name = "asking-eyes"
    prompt = Prompt(content=(Image(media_type="image/png", data="AAAA"), Text(text="what?")), temperature=0.5)
    model = "eyes"


class Hasty(Asking):
    name = "hasty"
    seconds = 0.05


class Careless(Asking):
    """Lets the error pass."""

    name = "careless"
    optional = True

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        await exchange.ask("small", self.prompt)
        return None


async def heard(proxy: Running, name: str = "asking") -> Any:
    answer = await proxy.post("/v1/chat/completions", CHAT, KEY)
    assert answer.status == 200
    stage: Any = proxy.runtime.current.stages[name]
    return stage.heard


async def test_a_question_goes_in_the_models_dialect_with_the_clients_key() -> None:
    async with playing() as upstream, running(upstream.url, Asking) as proxy:
        assert await heard(proxy) == Answer("ok", Usage(input=3, output=1), StopReason.END)
        [sent] = upstream.sent
        assert proxy.runtime.counters.snapshot()["asked"] == 1
    assert (sent.path, sent.headers["x-api-key"]) == ("/v1/messages", "sk-client")
    body = json.loads(sent.body)
    assert (body["model"], body["max_tokens"], body.get("stream", False)) == ("small", 50, False)
    assert "be short" in json.dumps(body["system"])
    assert [message["role"] for message in body["messages"]] == ["user"]


async def test_a_question_with_an_image_goes_to_a_model_that_sees() -> None:
    async with playing() as upstream, running(upstream.url, AskingEyes) as proxy:
        assert (await heard(proxy, "asking-eyes")).text == "ok"
        [sent] = upstream.sent
    assert (sent.path, sent.headers["authorization"]) == ("/v1/chat/completions", "Bearer sk-client")
    body = json.loads(sent.body)
    assert (body["model"], body["temperature"]) == ("eyes", 0.5)
    assert [part["type"] for part in body["messages"][0]["content"]] == ["image_url", "text"]


@pytest.mark.parametrize(
    ("status", "body", "cause", "message"),
    [
        ("429 Too Many Requests", b"{}", Cause.RATE_LIMIT, "upstream 'text' answered 429"),
        ("200 OK", b"<html>", Cause.UPSTREAM, ""),
        ("200 OK", b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}', Cause.OVERLOADED, "busy"),
    ],
    ids=["refused", "no reply", "an error inside"],
)
async def test_what_may_come_back_instead_of_an_answer(status: str, body: bytes, cause: Cause, message: str) -> None:
    async def fails(sent: Sent, link: Link) -> None:
        await link.json(body, status)

    async with playing(fails) as upstream, running(upstream.url, Asking) as proxy:
        error = await heard(proxy)
    assert isinstance(error, UpstreamError)
    assert (error.cause, message in error.message) == (cause, True)


async def test_no_answer_in_time_ends_the_upstream_request() -> None:
    ended = asyncio.Event()

    async def silent(sent: Sent, link: Link) -> None:
        await link.gone()
        ended.set()

    async with playing(silent) as upstream, running(upstream.url, Hasty) as proxy:
        error = await heard(proxy, "hasty")
        await asyncio.wait_for(ended.wait(), 20)
    assert isinstance(error, UpstreamTimeout)
    assert error.message == "model 'small' gave no answer within 0.05 s"


async def test_questions_count_for_the_breaker_and_heed_it() -> None:
    async def fails(sent: Sent, link: Link) -> None:
        await link.json(b"{}", "500 Oh")

    async with playing(fails) as upstream, running(upstream.url, Asking) as proxy:
        proxy.runtime.breakers.use(1, 10.0)
        await heard(proxy)
        assert proxy.runtime.breakers.of("text").state == "open"
        error = await heard(proxy)
        assert isinstance(error, Unready)
        assert len(upstream.sent) == 1


def then(*answers: tuple[str, bytes] | None) -> Any:
    """One answer for each request, None to break the connection; the last one for all that follow."""
    left = list(answers)

    async def script(sent: Sent, link: Link) -> None:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if answer is None:
            link.abort()
        else:
            await link.json(answer[1], answer[0])

    return script


GOOD = ("200 OK", REPLIES["/messages"])


@pytest.mark.parametrize("fault", [None, ("502 Bad Gateway", b"<html>"), ("503 Unavailable", b"{}")], ids=str)
async def test_a_fault_of_the_connection_is_asked_again_once_out_of_the_budget(fault: Any) -> None:
    async with playing(then(fault, GOOD)) as upstream, running(upstream.url, Asking) as proxy:
        assert (await heard(proxy)).text == "ok"
        assert len(upstream.sent) == 2
        counters = proxy.runtime.counters.snapshot()
        assert (counters["asked"], counters["retries.connect"]) == (1, 1)
        assert proxy.runtime.budget.left == 9
        upstream.script = then(fault)
        assert isinstance(await heard(proxy), UpstreamError)
        assert len(upstream.sent) == 4
        proxy.runtime.budget.left = 0
        assert isinstance(await heard(proxy), UpstreamError)
        assert len(upstream.sent) == 5
        assert proxy.runtime.clock.monotonic() == 0


@pytest.mark.parametrize("status", ["429 Slow", "500 Oh", "529 Busy", "503 Later\r\nretry-after: 5"])
async def test_other_failures_are_not_asked_again(status: str) -> None:
    async with playing(then((status, b"{}"))) as upstream, running(upstream.url, Asking) as proxy:
        assert isinstance(await heard(proxy), UpstreamError)
        assert len(upstream.sent) == 1


async def test_a_key_that_a_question_wore_out_rests_and_the_spare_one_is_asked() -> None:
    async with playing(then(("429 Slow", b"{}"), GOOD)) as upstream:
        config = make_config(upstream.url, Asking)
        rows = {
            name: replace(row, key="sk-first", keys=("sk-second",)) for name, row in config.models.upstreams.items()
        }
        config = replace(config, models=ModelTable(rows, config.models.models))
        runtime = make_runtime(config)
        await runtime.start()
        proxy = Running(make_app(runtime), runtime)
        try:
            assert (await proxy.post("/v1/chat/completions", CHAT)).status == 200
            stage: Any = runtime.current.stages["asking"]
            assert stage.heard.text == "ok"
        finally:
            await runtime.stop()
        assert runtime.lanes.state("text")["resting_keys"] == 1
    assert len({sent.headers["x-api-key"] for sent in upstream.sent}) == 2


async def test_an_optional_stage_that_gets_no_answer_costs_its_work_only() -> None:
    async def fails_once(sent: Sent, link: Link) -> None:
        if sent.path.endswith("/messages"):
            await link.json(b"{}", "500 Oh")
        else:
            await link.json(REPLIES["/completions"])

    async with playing(fails_once) as upstream, running(upstream.url, Careless) as proxy:
        answer = await proxy.post("/v1/chat/completions", CHAT, KEY)
        assert answer.json["choices"][0]["message"]["content"] == "ok"
        assert [sent.path for sent in upstream.sent] == ["/v1/messages", "/v1/chat/completions"]


async def test_nobody_to_ask() -> None:
    async with running(NOWHERE, Asking) as proxy:
        error = await heard(proxy)
    assert "did not answer" in error.message
