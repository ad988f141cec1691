"""Every fault of an upstream, by dialect, streamed or not: what the client gets, how often the upstream was asked, and
what is booked. Upstreams stand behind real sockets; the proxy's clock stands still, so that waiting costs nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import product
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from asgi import Called, Running, make_config, make_runtime
from trimtab.app import make_app
from trimtab.config import RetryOptions
from trimtab.dialects import DIALECTS, sse
from trimtab.events import Usage
from trimtab.exchange import Exchange, Outcome
from trimtab.hookspecs import Stage, StageOptions, hookimpl
from trimtab.models import ModelTable
from trimtab.upstream import Response
from wire.faults import FAULTS, HEAD, SHOWN, Fault, begins, drips, good, hangs, parts, turns
from wire.scripted import Link, Sent, Upstream, playing

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "hi"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/messages": {"model": "small", "max_tokens": 9, "messages": HELLO},
    "/v1/chat/completions": {"model": "eyes", "messages": HELLO},
}
if "responses" in DIALECTS:
    BODIES["/v1/responses"] = {"model": "eyes", "input": "hi"}
PATHS = list(BODIES)
SDK = {"x-stainless-retry-count": "0"}
AGENT = {"user-agent": "claude-cli/2.1.0 (external, cli)"}
ENDS = {"/v1/messages": b"message_stop", "/v1/chat/completions": b"[DONE]", "/v1/responses": b"response.completed"}
ERROR = {
    "/v1/messages": b"event: error",
    "/v1/chat/completions": b'data: {"error"',
    "/v1/responses": b"response.failed",
}
CONNECT = {"reset before an answer", "502 with HTML", "503 packed"}
"""Faults of the class `connect`: the only ones that are tried again for clients that do so themselves."""
PATIENCE = 0.15
"""Seconds that an upstream is waited for which will say nothing."""


class Keeping(Stage[StageOptions]):
    name = "keeping"

    def __init__(self, options: StageOptions, label: str | None = None) -> None:
        super().__init__(options, label)
        self.over: list[Exchange] = []

    @hookimpl
    def done(self, exchange: Exchange) -> None:
        self.over.append(exchange)


@asynccontextmanager
async def proxied(url: str, first: float = 20.0, silence: float = 20.0, **retry: Any) -> AsyncIterator[Running]:
    config = make_config(url, Keeping)
    rows = {
        name: replace(row, first_byte_timeout=first, silence_timeout=silence)
        for name, row in config.models.upstreams.items()
    }
    config = replace(
        config, models=ModelTable(rows, config.models.models), retry=RetryOptions(**{"reserve": 10**6, **retry})
    )
    runtime = make_runtime(config)
    await runtime.start()
    try:
        yield Running(make_app(runtime), runtime)
    finally:
        await runtime.stop()


class Row(NamedTuple):
    """An upstream with a fault, and the proxy before it."""

    upstream: Upstream
    proxy: Running

    @property
    def outcome(self) -> Outcome:
        """How the last exchange ended, as it was booked."""
        return over(self.proxy).outcome

    @property
    def open(self) -> int:
        """Connections to the upstream that a request holds."""
        states = [self.proxy.runtime.forwarder.state(name) for name in ("text", "images")]
        return sum(int(str(state["open"])) for state in states)


Table = Callable[..., AbstractAsyncContextManager[Row]]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    """Sets up a row: what the upstream does, the fault's name (which says how long it is waited for), retry options."""
    monkeypatch.setattr(sse, "MAX_FRAME", 64 * 1024)

    @asynccontextmanager
    async def row(script: Fault, name: str = "", **options: Any) -> AsyncIterator[Row]:
        async with playing(script) as upstream, proxied(upstream.url, silence=silence(name), **options) as proxy:
            yield Row(upstream, proxy)

    return row


def over(proxy: Running) -> Exchange:
    stage: Any = proxy.runtime.current.stages["keeping"]
    exchange = stage.over[-1]
    assert isinstance(exchange, Exchange)
    return exchange


def body(path: str, stream: bool) -> bytes:
    return json.dumps({**BODIES[path], "stream": stream}).encode()


def then(*faults: Fault) -> Callable[[Sent, Link], Any]:
    """One fault for each request, the last one for all that follow."""
    left = list(faults)

    async def script(sent: Sent, link: Link) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(sent, link)

    return script


def is_good(path: str, answer: Called, stream: bool) -> bool:
    """Whether a client got a reply with an end, its text once, and no error."""
    if answer.status != 200:
        return False
    if not stream:
        return b'"ok"' in answer.body and b'"error":{' not in answer.body
    opened = {"/v1/messages": b"event: message_start", "/v1/responses": b"event: response.created"}.get(path)
    once = opened is None or answer.body.count(opened) == 1
    return ENDS[path] in answer.body and b'"ok"' in answer.body and ERROR[path] not in answer.body and once


def is_broken(path: str, answer: Called) -> bool:
    """Whether a stream ended in the dialect's error, and in no end."""
    return answer.status == 200 and ERROR[path] in answer.body and ENDS[path] not in answer.body


def silence(name: str) -> float:
    """How long a fault is waited for."""
    return PATIENCE if name.startswith("hang") else 20.0


def opened(name: str, stream: bool) -> bool:
    """Whether the client saw a thought before the fault."""
    return stream and name.endswith("in a thought")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_that_happens_once_is_not_seen(name: str, path: str, stream: bool, table: Table) -> None:
    async with table(then(FAULTS[name], good), name) as row:
        answer = await row.proxy.post(path, body(path, stream))
        assert is_good(path, answer, stream), answer.body
        outcome = row.outcome
        assert (len(row.upstream.sent), outcome.attempts, len(outcome.retried)) == (2, 2, 1)
        assert (outcome.usage, outcome.error) == (Usage(input=3, output=1), None)
        assert row.open == 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_that_stays_is_told_in_the_clients_words(
    name: str, path: str, stream: bool, table: Table
) -> None:
    async with table(FAULTS[name], name) as row:
        answer = await row.proxy.post(path, body(path, stream))
        outcome = row.outcome
        if opened(name, stream):
            # The client cannot try again by itself: one reply anew, and no more.
            assert is_broken(path, answer), answer.body
            assert len(row.upstream.sent) == 2
        else:
            assert answer.status >= 500
            assert isinstance(answer.json["error"]["message"], str)
            assert len(row.upstream.sent) == 3
        assert outcome.attempts == len(row.upstream.sent)
        assert outcome.error is not None


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", FAULTS)
async def test_a_client_that_tries_again_by_itself(name: str, path: str, stream: bool, table: Table) -> None:
    async with table(FAULTS[name], name) as row:
        await row.proxy.post(path, body(path, stream), SDK)
        assert len(row.upstream.sent) == (2 if name in CONNECT or opened(name, stream) else 1)
        assert row.proxy.runtime.clock.monotonic() == 0 or opened(name, stream)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", SHOWN)
async def test_what_was_shown_is_not_generated_again(name: str, path: str, table: Table) -> None:
    async with table(then(SHOWN[name], good), name) as row:
        answer = await row.proxy.post(path, body(path, stream=True))
        assert is_broken(path, answer), answer.body
        assert (len(row.upstream.sent), row.outcome.attempts) == (1, 1)
        assert row.outcome.error is not None


@pytest.mark.parametrize("kind", ["reset", "error", "hang"])
async def test_behind_a_finish_that_was_shown_nothing_is_generated_again(kind: str, table: Table) -> None:
    """The chunk of the usage, and the last word, are missing."""
    path = "/v1/chat/completions"
    fault = begins("open", "thought", "finish", then=kind)
    async with table(then(fault, good), kind) as row:
        answer = await row.proxy.post(path, body(path, stream=True))
        assert is_broken(path, answer), answer.body
        assert answer.body.count(b'"finish_reason": "stop"') == 1
        assert len(row.upstream.sent) == 1


async def test_a_finish_does_not_leave_before_the_call_that_is_held(table: Table) -> None:
    path = "/v1/chat/completions"

    async def calls(sent: Sent, link: Link) -> None:
        await link.raw(HEAD)
        for name in ("open", "tool", "rest", "finish"):
            await link.chunk(parts(sent, name))
            await turns()
        await link.chunk(parts(sent, "end"))
        await link.chunk(b"")

    async with table(calls) as row:
        answer = await row.proxy.post(path, body(path, stream=True), AGENT)
    assert 0 < answer.body.index(b'"write"') < answer.body.index(b'"finish_reason": "')


@pytest.mark.parametrize("kind", ["reset", "error"])
async def test_a_stream_without_its_start_is_not_gone_on_with(kind: str, table: Table) -> None:
    path = "/v1/messages"
    fault = begins("thought", then=kind)
    async with table(then(fault, good)) as row:
        answer = await row.proxy.post(path, body(path, stream=True))
        assert is_broken(path, answer), answer.body
        assert len(row.upstream.sent) == 1


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", [name for name in SHOWN if name.endswith("in a call")])
async def test_a_call_that_is_held_is_asked_for_again_unseen(name: str, path: str, table: Table) -> None:
    async with table(then(SHOWN[name], good), name) as row:
        answer = await row.proxy.post(path, body(path, stream=True), AGENT)
        assert is_good(path, answer, stream=True), answer.body
        assert b'"write"' not in answer.body
        assert len(row.upstream.sent) == 2
    async with table(SHOWN[name], name) as row:
        answer = await row.proxy.post(path, body(path, stream=True), AGENT)
        assert b'"write"' not in answer.body
        assert ENDS[path] not in answer.body
        assert len(row.upstream.sent) <= 2


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_pairs_of_faults(stream: bool, path: str, table: Table) -> None:
    names = [name for name in FAULTS if "hang" not in name]
    async with table(good, breaker=0) as row:
        for one, other in product(names, repeat=2):
            before = len(row.upstream.sent)
            row.upstream.script = then(FAULTS[one], FAULTS[other], good)
            answer = await row.proxy.post(path, body(path, stream))
            sent, seen = len(row.upstream.sent) - before, (opened(one, stream), opened(other, stream))
            if seen[0]:
                assert (is_broken(path, answer), sent) == (True, 2), (one, other)
            elif seen[1]:
                # The second attempt opened the stream: it was the last one.
                assert (is_broken(path, answer), sent) == (True, 2), (one, other)
            else:
                assert (is_good(path, answer, stream), sent) == (True, 3), (one, other, answer.body)
                assert row.outcome.usage == Usage(input=3, output=1)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_hang_beside_another_fault(stream: bool, path: str, table: Table) -> None:
    """The pairs that `test_pairs_of_faults` leaves out, since a hang is waited for: one fault of each kind."""
    hang = "hang in a thought"
    others = ("reset before an answer", "502 with HTML", "200 with an error", "half a frame")
    async with table(good, hang, breaker=0) as row:
        for pair in [pair for other in others for pair in ((hang, other), (other, hang))]:
            before = len(row.upstream.sent)
            row.upstream.script = then(FAULTS[pair[0]], FAULTS[pair[1]], good)
            answer = await row.proxy.post(path, body(path, stream))
            sent = len(row.upstream.sent) - before
            if stream:
                # The thought was seen, so that only one more reply is asked for; behind it none.
                assert (is_broken(path, answer), sent) == (True, 2), pair
            else:
                assert (is_good(path, answer, stream), sent) == (True, 3), (pair, answer.body)
            assert row.open == 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_slow_drip_is_a_reply(path: str, stream: bool, table: Table) -> None:
    async with table(drips) as row:
        answer = await row.proxy.post(path, body(path, stream))
        assert is_good(path, answer, stream)
        assert (len(row.upstream.sent), row.outcome.usage) == (1, Usage(input=3, output=1))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", PATHS)
async def test_an_upstream_that_says_nothing_at_all(path: str, stream: bool, table: Table) -> None:
    async with table(hangs, first=PATIENCE) as row:
        answer = await row.proxy.post(path, body(path, stream))
        assert (answer.status, len(row.upstream.sent)) == (504, 1)
        assert f"sent no first byte within {PATIENCE:g} s" in answer.message


@pytest.mark.parametrize("path", PATHS)
async def test_an_endless_stream_ends_with_its_client(path: str, table: Table) -> None:
    async def endless(sent: Sent, link: Link) -> None:
        await begins("open", "text", then="end")(sent, Unending(link))
        while not link.writer.transport.is_closing():
            await link.chunk(parts(sent, "text"))
            await asyncio.sleep(0)

    async with table(endless) as row:
        answer = await row.proxy.post(path, body(path, stream=True), hang_up_after=50)
        assert len(answer.messages) >= 50
        assert row.outcome.client_gone
        assert len(row.upstream.sent) == 1


@pytest.mark.parametrize("path", PATHS)
async def test_an_endless_body_is_given_up(path: str, monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    limit = 100_000
    monkeypatch.setattr(Response.read, "__defaults__", (limit, None))

    async def endless(sent: Sent, link: Link) -> None:
        await link.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        while not link.writer.transport.is_closing():
            await link.chunk(b" " * 4096)
            await asyncio.sleep(0)

    async with table(endless) as row:
        answer = await row.proxy.post(path, body(path, stream=False))
        assert answer.status >= 500
        assert f"sent more than {limit} bytes" in answer.message
        outcome = row.outcome
        assert (outcome.attempts, outcome.usage) == (len(row.upstream.sent), None)
        assert len(row.upstream.sent) == 3
        assert row.open == 0


class Unending(Link):
    """A link on which nothing ends."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.writer = link.writer

    async def raw(self, data: bytes) -> None:
        await self.link.raw(data)

    async def chunk(self, data: bytes) -> None:
        if data:
            await self.link.chunk(data)


async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    await reader.read()
    writer.close()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:9", "no connection"),
        ("http://nowhere.invalid", "its name cannot be resolved"),
        ("https", "its TLS certificate or handshake was refused"),
    ],
    ids=["refused", "no name", "no TLS"],
)
async def test_an_upstream_that_cannot_be_reached(
    url: str,
    reason: str,
    path: str,
    stream: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")

    async def nobody(*_: Any, **__: Any) -> Any:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr("aiohttp.resolver.ThreadedResolver.resolve", nobody)
    async with await asyncio.start_server(no_tls, "127.0.0.1", 0) as server:
        place = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}" if url == "https" else url
        for headers, attempts in (({}, 3), (SDK, 2)):
            async with proxied(place) as proxy:
                answer = await proxy.post(path, body(path, stream), headers)
                assert (answer.status, over(proxy).outcome.attempts) == (500 if path == PATHS[0] else 502, attempts)
                assert reason in answer.message
