"""One exchange from its parsed request to its booked end, against an upstream with a script."""

import asyncio
import json
import re
from typing import Any

import pytest

from asgi import NOWHERE, Running, running
from trimtab.api import Exchange, Refused, Reply, Stage, StageOptions, hookimpl
from trimtab.config import ServeOptions
from trimtab.dialects.base import Rendered
from trimtab.events import Finished, Started, StopReason, TextDelta, Usage
from wire.scripted import REPLIES, SSE, Link, Sent, playing

pytestmark = pytest.mark.anyio

CHAT = b'{"model":"gpt-x","messages":[{"role":"user","content":"hi"}]}'
MESSAGES = b'{"model":"claude-x","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'
BODIES = {"/v1/chat/completions": CHAT, "/v1/messages": MESSAGES}
PATHS = list(BODIES)
CHUNK = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
REPLY = (
    Started("msg_7", "m"),
    TextDelta("no need"),
    Finished(StopReason.END, Usage(input=3, output=2)),
)


def streamed(body: bytes) -> bytes:
    return body.replace(b'"messages"', b'"stream":true,"messages"')


class Watching(Stage[StageOptions]):
    """Keeps the exchanges that are over."""

    name = "watching"

    def __init__(self, options: StageOptions, label: str | None = None) -> None:
        super().__init__(options, label)
        self.over: list[Exchange] = []

    @hookimpl
    def done(self, exchange: Exchange) -> None:
        self.over.append(exchange)


class Answering(Stage[StageOptions]):
    name = "answering"

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        exchange.headers["x-own"] = "1"
        return Reply(REPLY)


class Rendering(Stage[StageOptions]):
    name = "rendering"

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        return Reply(rendered=Rendered(418, {"content-type": "text/plain"}, b"tea"))


class Endless(Stage[StageOptions]):
    name = "endless"

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        return Reply(REPLY[:2])


class Refusing(Stage[StageOptions]):
    name = "refusing"

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        raise Refused("not today", headers={"retry-after": "60"})


class Bug(Stage[StageOptions]):
    name = "bug"

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        raise KeyError("sk-secret")


class OptionalBug(Bug):
    name = "optional-bug"
    optional = True

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        exchange.set_member("x", 1, "for the sake of it")
        exchange.headers["x-undone"] = "1"
        raise KeyError("oh")


class BugAfter(Stage[StageOptions]):
    """Gives events that nobody can write."""

    name = "bug-after"

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        return Reply((TextDelta(5), Finished(StopReason.END)))  # type: ignore[arg-type]  # wrong on purpose


class BugInDone(Stage[StageOptions]):
    name = "bug-in-done"

    @hookimpl
    def done(self, exchange: Exchange) -> None:
        raise KeyError("oh")


class Later(Stage[StageOptions]):
    """Leaves work for after the reply."""

    name = "later"
    order: list[str]
    begun: asyncio.Event
    held: asyncio.Event

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        self.order, self.begun, self.held = [], asyncio.Event(), asyncio.Event()
        exchange.later(self.work)
        return Reply(REPLY)

    @hookimpl
    def done(self, exchange: Exchange) -> None:
        self.order.append(f"done {exchange.outcome.status}")

    async def work(self) -> None:
        self.order.append("begun")
        self.begun.set()
        try:
            await self.held.wait()
        except asyncio.CancelledError:
            self.order.append("cancelled")
            raise
        self.order.append("ended")


def over(proxy: Running) -> Exchange:
    """The one exchange, whose done hook ran once."""
    stage: Any = proxy.runtime.current.stages["watching"]
    [exchange] = stage.over
    assert isinstance(exchange, Exchange)
    assert proxy.runtime.current.users == 0
    return exchange


def text_of(path: str, body: Any) -> str:
    return str(body["content"][0]["text"] if path == "/v1/messages" else body["choices"][0]["message"]["content"])


@pytest.mark.parametrize("path", PATHS)
async def test_a_stage_answers_in_the_clients_dialect(path: str) -> None:
    async with running(NOWHERE, Answering, Watching) as proxy:
        answer = await proxy.post(path, BODIES[path])
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert (text_of(path, answer.json), answer.headers["x-own"]) == ("no need", "1")
        outcome = over(proxy).outcome
    assert (outcome.status, outcome.reason, outcome.upstream_id) == (200, StopReason.END, "msg_7")
    assert (outcome.usage, outcome.streamed, outcome.error) == (Usage(input=3, output=2), False, None)


@pytest.mark.parametrize("path", PATHS)
async def test_a_stage_answers_in_a_stream(path: str) -> None:
    async with running(NOWHERE, Answering, Watching) as proxy:
        answer = await proxy.post(path, streamed(BODIES[path]))
        outcome = over(proxy).outcome
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    end = b"message_stop" if path == "/v1/messages" else b"data: [DONE]\n\n"
    assert answer.body.count(end) in (1, 2)
    assert b"no need" in answer.body
    assert (outcome.streamed, outcome.status) == (True, 200)


async def test_a_finished_answer_of_a_stage_is_used_as_it_is() -> None:
    async with running(NOWHERE, Rendering, Watching) as proxy:
        answer = await proxy.post("/v1/messages", streamed(MESSAGES))
    assert (answer.status, answer.body, answer.headers["content-type"]) == (418, b"tea", "text/plain")


async def test_an_upstreams_answer_leaves_as_it_came_with_what_clients_act_on() -> None:
    async def limits(sent: Sent, link: Link) -> None:
        extra = "anthropic-ratelimit-tokens-remaining: 7\r\nset-cookie: a=b\r\n"
        await link.json(REPLIES["/messages"], extra=extra)

    async with playing(limits) as upstream, running(upstream.url, Watching) as proxy:
        answer = await proxy.post("/v1/messages", MESSAGES)
        assert answer.body == REPLIES["/messages"].replace(b'"model":"m"', b'"model":"claude-x"')
        assert upstream.sent[0].body == MESSAGES
        exchange = over(proxy)
    assert answer.headers["anthropic-ratelimit-tokens-remaining"] == "7"
    assert "set-cookie" not in answer.headers
    assert (exchange.outcome.sent_bytes, exchange.outcome.received_bytes) == (len(MESSAGES), len(REPLIES["/messages"]))
    assert exchange.outcome.usage == Usage(input=3, output=1)
    assert exchange.outcome.total_s >= (exchange.outcome.first_byte_s or 0.0) > 0


async def test_timings_name_every_stage_and_the_upstream() -> None:
    async with playing() as upstream, running(upstream.url, OptionalBug, Watching) as proxy:
        answer = await proxy.post("/v1/messages", MESSAGES)
    steps = answer.headers["server-timing"]
    pattern = r'optional-bug;dur=(\d+\.\d\d), upstream;dur=\d+\.\d\d, slowest;dur=(\d+\.\d\d);desc="optional-bug"'
    found = re.fullmatch(pattern, steps)
    assert found is not None
    assert found[1] == found[2]


async def test_what_was_dropped_is_named_once() -> None:
    body = b'{"model":"small","seed":1,"logit_bias":{"1":1},"messages":[{"role":"user","content":"hi"}]}'
    async with playing() as upstream, running(upstream.url) as proxy:
        answer = await proxy.post("/v1/chat/completions", body)
        assert upstream.sent[0].path == "/v1/messages"
        assert b"seed" not in upstream.sent[0].body
        plain = await proxy.post("/v1/messages", MESSAGES)
    assert set(answer.headers["x-trimtab-dropped"].split(",")) == {"seed", "logit_bias"}
    assert answer.json["object"] == "chat.completion"
    assert "x-trimtab-dropped" not in plain.headers


async def test_the_core_writes_the_models_name_where_no_stage_does() -> None:
    async def sees(sent: Sent, link: Link) -> None:
        assert json.loads(sent.body)["model"] == "eyes"
        await link.json(REPLIES["/completions"])

    body = b'{"model":"small","messages":[{"role":"user","content":"hi"}]}'
    async with playing(sees) as upstream:
        async with running(upstream.url, ToEyes, Watching) as proxy:
            assert (await proxy.post("/v1/chat/completions", body)).status == 200
            [edit] = over(proxy).edits
    assert (edit.stage, edit.member, edit.reason) == ("core", "model", "served by upstream 'images'")


class ToEyes(Stage[StageOptions]):
    name = "to-eyes"

    @hookimpl
    async def start(self, services: Any) -> None:
        self.models = services.models

    @hookimpl
    def target(self, exchange: Exchange) -> Any:
        return self.models.resolve("eyes", images=False, dialect="chat")


@pytest.mark.parametrize("path", PATHS)
async def test_a_refusal_of_the_upstream_passes(path: str) -> None:
    async def refuses(sent: Sent, link: Link) -> None:
        body = b'{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}'
        await link.json(body, "429 Too Many Requests", extra="retry-after: 7\r\n")

    async with playing(refuses) as upstream, running(upstream.url, Watching) as proxy:
        answer = await proxy.post(path, BODIES[path])
        outcome = over(proxy).outcome
        assert proxy.runtime.counters.snapshot()["failed.rate_limit"] == 1
    assert (answer.status, answer.headers["retry-after"]) == (429, "7")
    assert answer.message.removesuffix(". Please try again in 7s.") == "slow down"
    assert (outcome.status, outcome.error and outcome.error.cause) == (429, "rate_limit")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("stage", "status", "message"),
    [
        (Refusing, 403, "not today"),
        (Bug, 500, "stage 'bug' failed: KeyError"),
        (Endless, 500, "stage 'endless' failed: its Reply has no end: add Finished or Failed"),
    ],
)
async def test_failures_are_told_in_the_dialect_and_booked_once(
    path: str, stage: type[Stage[Any]], status: int, message: str
) -> None:
    async with running(NOWHERE, stage, Watching) as proxy:
        for body in (BODIES[path], streamed(BODIES[path])):
            answer = await proxy.post(path, body)
            assert (answer.status, answer.message) == (status, message)
            assert b"sk-secret" not in answer.body
            assert (answer.json.get("type") == "error") == (path == "/v1/messages")
            exchange = over(proxy)
            assert exchange.outcome.error is not None
            assert exchange.outcome.status == status
            proxy.runtime.current.stages["watching"].over.clear()  # type: ignore[attr-defined]  # wrong on purpose
    assert (stage is Refusing) == (answer.headers.get("retry-after") == "60")


async def test_a_bug_of_our_own_tells_more_only_when_told_to_debug() -> None:
    text = "the proxy failed on this request; its log says why"
    async with running(NOWHERE, BugAfter, Watching) as proxy:
        answer = await proxy.post("/v1/chat/completions", CHAT)
        assert (answer.status, answer.message) == (500, text)
        assert over(proxy).outcome.status == 500
    async with running(NOWHERE, BugAfter, serve=ServeOptions(debug=True)) as proxy:
        answer = await proxy.post("/v1/chat/completions", CHAT)
        assert answer.message.startswith(f"{text} (TypeError: ")


async def test_an_optional_stage_is_undone_and_noted() -> None:
    async with playing() as upstream, running(upstream.url, OptionalBug, Watching) as proxy:
        answer = await proxy.post("/v1/messages", MESSAGES)
        assert upstream.sent[0].body == MESSAGES
        exchange = over(proxy)
        assert proxy.runtime.counters.snapshot()["stage_undone.optional-bug"] == 1
    assert answer.status == 200
    assert "x-undone" not in answer.headers
    (note,) = exchange.notes
    assert exchange.edits == []
    assert note.startswith(f"stage 'optional-bug' undone: KeyError at {__name__}:")


async def test_a_done_hook_that_fails_keeps_no_other_from_running() -> None:
    async with running(NOWHERE, Watching, Answering, BugInDone) as proxy:
        assert (await proxy.post("/v1/messages", MESSAGES)).status == 200
        assert over(proxy).outcome.status == 200
        assert proxy.runtime.counters.snapshot()["stage_failed.bug-in-done"] == 1


async def test_a_client_that_leaves_before_the_first_byte_ends_the_upstream_request() -> None:
    leaves, ended = asyncio.Event(), asyncio.Event()

    async def silent(sent: Sent, link: Link) -> None:
        leaves.set()
        await link.gone()
        ended.set()

    async with playing(silent) as upstream, running(upstream.url, Watching) as proxy:
        answer = await proxy.post("/v1/messages", MESSAGES, hang_up_after=leaves)
        await asyncio.wait_for(ended.wait(), 20)
        outcome = over(proxy).outcome
        assert proxy.runtime.counters.snapshot()["client_gone"] == 1
    assert answer.messages == []
    assert (outcome.client_gone, outcome.status, outcome.first_byte_s, outcome.error) == (True, None, None, None)


async def test_a_client_that_leaves_in_mid_stream_is_booked_once() -> None:
    async def goes_on(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        await link.chunk(CHUNK)
        await link.gone()

    async with playing(goes_on) as upstream, running(upstream.url, Watching) as proxy:
        answer = await proxy.post("/v1/chat/completions", streamed(CHAT), hang_up_after=2)
        outcome = over(proxy).outcome
    assert [message["type"] for message in answer.messages] == ["http.response.start", "http.response.body"]
    assert answer.pieces == [CHUNK]
    assert (outcome.client_gone, outcome.status, outcome.received_bytes) == (True, 200, len(CHUNK))


async def test_a_stream_that_breaks_ends_in_an_error_and_is_booked_once() -> None:
    async def breaks(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        await link.chunk(CHUNK)
        link.abort()

    async with playing(breaks) as upstream, running(upstream.url, Watching) as proxy:
        answer = await proxy.post("/v1/chat/completions", streamed(CHAT))
        outcome = over(proxy).outcome
    assert answer.pieces[0] == CHUNK
    assert b'"error"' in answer.pieces[-1]
    assert answer.messages[-1]["more_body"] is False
    assert b"[DONE]" not in answer.body
    assert outcome.error is not None
    assert "broke off" in outcome.error.message


@pytest.mark.parametrize(("path", "status", "name"), [(PATHS[0], 502, "images"), (PATHS[1], 500, "text")])
async def test_an_upstream_that_is_not_there(path: str, status: int, name: str) -> None:
    async with running(NOWHERE, Watching) as proxy:
        answer = await proxy.post(path, BODIES[path])
        assert over(proxy).outcome.status == answer.status == status
    assert answer.message.startswith(f"upstream '{name}' did not answer: no connection: ")


@pytest.mark.parametrize("path", PATHS)
async def test_an_upstream_that_streams_unasked_is_folded(path: str) -> None:
    async def streams(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        await link.chunk(CHUNK + b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n')
        await link.chunk(b"data: [DONE]\n\n")
        await link.chunk(b"")

    body = BODIES[path].replace(b"gpt-x", b"eyes").replace(b"claude-x", b"eyes")
    async with playing(streams) as upstream, running(upstream.url, Watching) as proxy:
        answer = await proxy.post(path, body)
    assert (answer.status, text_of(path, answer.json)) == (200, "a")


@pytest.mark.parametrize("path", PATHS)
async def test_an_upstream_that_does_not_stream_though_asked_is_told_as_a_stream(path: str) -> None:
    async with playing() as upstream, running(upstream.url, Watching) as proxy:
        answer = await proxy.post(path, streamed(BODIES[path]))
        assert over(proxy).outcome.usage == Usage(input=3, output=1)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert b'"ok"' in answer.body


async def test_work_for_later_begins_behind_the_reply() -> None:
    async with running(NOWHERE, Later) as proxy:
        answer = await proxy.post("/v1/messages", MESSAGES)
        stage: Any = proxy.runtime.current.stages["later"]
        assert (answer.messages[-1]["more_body"], stage.order) == (False, ["done 200"])
        stage.held.set()
        await proxy.runtime.settled()
        assert stage.order == ["done 200", "begun", "ended"]


async def test_work_for_later_is_cancelled_at_stop() -> None:
    async with running(NOWHERE, Later) as proxy:
        await proxy.post("/v1/messages", MESSAGES)
        stage: Any = proxy.runtime.current.stages["later"]
        await asyncio.wait_for(stage.begun.wait(), 20)
    assert stage.order == ["done 200", "begun", "cancelled"]
