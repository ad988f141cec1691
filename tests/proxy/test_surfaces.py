"""The endpoints that models are asked through, up to the pipeline."""

import asyncio
import json
import threading
from typing import Any

import pytest

from asgi import NOWHERE, Running, call, running
from trimtab import surfaces
from trimtab.api import Exchange, Reply, Stage, StageOptions, hookimpl
from trimtab.config import ServeOptions
from trimtab.dialects import DIALECTS
from trimtab.events import Finished, StopReason, TextDelta
from trimtab.guard import TURNS
from trimtab.memo import MessageTable
from trimtab.pipeline import LARGE
from trimtab.surfaces import MANY, MANY_MESSAGES, MANY_TOOLS, STEP, digested, incoming_of

pytestmark = pytest.mark.anyio

CHAT = b'{"model":"gpt-x","messages":[{"role":"user","content":"hi"}]}'
PATHS = ["/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens"]


class Keeps(Stage[StageOptions]):
    """Answers, and keeps the exchanges it saw."""

    name = "keeps"
    seen: list[Exchange]

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        self.seen = [*getattr(self, "seen", []), exchange]
        return Reply((TextDelta("ok"), Finished(StopReason.END)))


def seen(proxy: Running) -> list[Exchange]:
    stage: Any = proxy.runtime.current.stages["keeps"]
    return list(getattr(stage, "seen", []))


@pytest.mark.parametrize("path", PATHS)
async def test_only_post(path: str) -> None:
    async with running(NOWHERE, Keeps) as proxy:
        for method in ("GET", "PUT", "DELETE"):
            answer = await call(proxy.app, method, path, CHAT)
            assert (answer.status, answer.headers["allow"]) == (405, "POST")
            assert answer.message == f"{path} takes POST, not {method}"
        assert seen(proxy) == []


async def test_what_a_stage_sees_of_a_request() -> None:
    async with running(NOWHERE, Keeps) as proxy:
        await proxy.post("/v1/chat/completions?a=1", CHAT, {"X-Api-Key": "k", "x-request-id": "run-1"})
        await proxy.post("/v1/messages/count_tokens", CHAT)
        first, second = seen(proxy)
    assert (first.id, first.dialect, first.operation, first.pipeline) == ("run-1", "chat", "generate", "default")
    assert (first.incoming.method, first.incoming.path, first.incoming.query) == ("POST", "/v1/chat/completions", "a=1")
    assert (first.incoming.headers["x-api-key"], first.incoming.peer) == ("k", "127.0.0.1")
    assert first.conversation.render() == CHAT
    assert (second.dialect, second.operation) == ("messages", "count")


def test_a_scope_without_a_client() -> None:
    incoming = incoming_of({"method": "GET", "path": "/", "headers": [(b"A", b"1"), (b"a", b"2")], "client": None})
    assert (incoming.peer, incoming.query, incoming.headers) == ("", "", {"a": "1, 2"})


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (b"{", {}, 400, "not valid JSON"),
        (CHAT, {"content-encoding": "gzip"}, 400, "the body is packed (gzip)"),
        (CHAT, {"content-encoding": "Identity"}, 200, ""),
        (CHAT, {"content-length": "9" * 30}, 413, "larger than 1 MB"),
        (CHAT + b" " * 1024 * 1024, {}, 413, "larger than 1 MB"),
    ],
    ids=["broken", "packed", "identity", "declared", "long"],
)
@pytest.mark.parametrize("path", PATHS[:2])
async def test_bodies_that_are_refused(
    path: str, body: bytes, headers: dict[str, str], status: int, message: str
) -> None:
    async with running(NOWHERE, Keeps, serve=ServeOptions(max_request_mb=1)) as proxy:
        answer = await proxy.post(path, body, headers)
        assert answer.status == status
        if status != 200:
            assert message in answer.message
            assert seen(proxy) == []
            [counter] = [name for name in proxy.runtime.counters.snapshot() if name.startswith("refused.")]
            assert counter in ("refused.malformed", "refused.too_large")
        assert proxy.runtime.current.users == 0


async def test_a_client_that_leaves_inside_its_request_is_no_request(logged: list[str]) -> None:
    sent: list[Any] = []

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/messages", "query_string": b"", "headers": []}
    async with running(NOWHERE, Keeps) as proxy:
        async with asyncio.timeout(5):
            await proxy.app({**scope, "root_path": ""}, gone, send)
        assert (sent, seen(proxy), proxy.runtime.current.users) == ([], [], 0)
    assert any("left before its request was whole" in line for line in logged)


async def test_mended_surrogates_are_told() -> None:
    body = CHAT.replace(b"hi", b"\\ud83d and \\ude00")
    async with running(NOWHERE, Keeps) as proxy:
        answer = await proxy.post("/v1/chat/completions", body)
        assert (answer.status, answer.headers["x-trimtab-mended"]) == (200, "2")
        assert seen(proxy)[0].notes == ["2 lone surrogates mended"]
        assert "x-trimtab-mended" not in (await proxy.post("/v1/chat/completions", CHAT)).headers


async def test_the_request_id_is_the_clients_or_ours_or_none() -> None:
    async with running(NOWHERE, Keeps) as proxy:
        assert (await proxy.post(PATHS[0], CHAT, {"x-request-id": "a b"})).headers["x-request-id"].startswith("req_")
    async with running(NOWHERE, Keeps, serve=ServeOptions(request_id=False)) as proxy:
        answer = await proxy.post(PATHS[0], CHAT, {"x-request-id": "mine"})
        assert "x-request-id" not in answer.headers
        assert seen(proxy)[0].id.startswith("req_")


async def test_a_pipeline_that_does_not_exist() -> None:
    async with running(NOWHERE, pipelines={"default": (Keeps,), "b": (Keeps,)}) as proxy:
        answer = await proxy.post("/p/c/v1/messages", CHAT)
        assert (answer.status, answer.message) == (404, "no pipeline 'c' (known: b, default)")
        assert answer.json["type"] == "error"


async def test_the_loop_is_let_go_between_the_steps_of_a_large_body() -> None:
    async with running(NOWHERE, Keeps) as proxy:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        small = turns
        await proxy.post("/v1/chat/completions", CHAT)
        small = turns - small
        before = turns
        large = CHAT.replace(b'"hi"', b'"' + b"h" * 1_100_000 + b'"')
        assert (await proxy.post("/v1/chat/completions", large)).status == 200
        beside.cancel()
        assert turns - before >= small + 3
        message = seen(proxy)[1].conversation.messages[0]
        assert message._digest is not None


async def test_many_new_messages_are_read_in_steps_and_known_ones_in_none() -> None:
    table, turns = MessageTable(10**8), 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def session(count: int) -> bytes:
        messages = [{"role": "user", "content": f"{number} " + "h" * (STEP // 4)} for number in range(count)]
        return json.dumps({"model": "m", "messages": messages}).encode()

    beside = asyncio.create_task(others())
    await asyncio.sleep(0)
    told = []
    for count in (12, 13, 12):
        conversation, before = DIALECTS["chat"].parse(session(count), table), turns
        await digested(conversation)
        told.append(turns - before)
    beside.cancel()
    # Three messages fit into a step; a little that is new is left to the stages.
    assert told == [5 * TURNS, 0, 0]


@pytest.mark.parametrize(("size", "threads"), [(LARGE + 1, 2), (STEP + 1, 1), (STEP // 2, 0)])
async def test_a_large_message_is_read_in_a_thread(monkeypatch: pytest.MonkeyPatch, size: int, threads: int) -> None:
    """Its body is cut in one, and its blocks, digest and measure are made in one."""
    where: list[bool] = []

    def noting(name: str, holder: Any) -> None:
        before = getattr(holder, name)

        def call(*arguments: Any, **named: Any) -> Any:
            where.append(threading.current_thread() is not threading.main_thread())
            return before(*arguments, **named)

        monkeypatch.setattr(holder, name, call)

    noting("_read", surfaces)
    noting("cut", type(DIALECTS["chat"]))
    large = CHAT.replace(b'"hi"', b'"' + b"h" * size + b'"')
    async with running(NOWHERE, Keeps, serve=ServeOptions(max_request_mb=4)) as proxy:
        assert (await proxy.post("/v1/chat/completions", large)).status == 200
        [exchange] = seen(proxy)
    assert where.count(True) == threads
    if threads:
        assert exchange.large == (threads > 1)
        assert exchange.conversation.messages[0].notes["measure"].plain > size


async def test_many_values_are_as_much_as_many_bytes() -> None:
    items = b",".join([b'{"type":"text","text":"a"}'] * (MANY // 2))
    async with running(NOWHERE, Keeps, serve=ServeOptions(max_values=2 * MANY)) as proxy:
        told = await proxy.post("/v1/chat/completions", CHAT.replace(b'"hi"', b"[" + items + b"]"))
        assert told.status == 200
        assert seen(proxy)[0].large
        told = await proxy.post("/v1/chat/completions", CHAT.replace(b'"hi"', b"[" + b",".join([items] * 3) + b"]"))
    assert told.status == 413
    assert f"more than {2 * MANY} values" in told.message
    assert "serve.max-values" in told.message


async def test_the_values_of_earlier_turns_are_not_counted_again() -> None:
    items = b",".join([b'{"type":"text","text":"a"}'] * (MANY // 2))
    first = CHAT.replace(b'"hi"', b"[" + items + b"]")
    second = first[:-2] + b',{"role":"user","content":"more"}]}'
    async with running(NOWHERE, Keeps) as proxy:
        for sent in (first, second):
            assert (await proxy.post("/v1/chat/completions", sent)).status == 200
        assert [exchange.large for exchange in seen(proxy)] == [True, False]


@pytest.mark.parametrize(
    ("body", "large"), [({"messages": MANY_MESSAGES}, True), ({"tools": MANY_TOOLS}, True), ({}, False)]
)
async def test_many_small_things_make_a_request_large_in_every_turn(body: dict[str, int], large: bool) -> None:
    """What goes through all of them takes long, however well they are known."""
    said = [{"role": "user", "content": "hi"}] * (body.get("messages", 0) + 1)
    tool = {"type": "function", "function": {"name": "t", "parameters": {"type": "object"}}}
    sent = json.dumps({"model": "gpt-x", "messages": said, "tools": [tool] * (body.get("tools", 0) + 1)}).encode()
    async with running(NOWHERE, Keeps) as proxy:
        for _ in range(2):
            assert (await proxy.post("/v1/chat/completions", sent)).status == 200
        assert [exchange.large for exchange in seen(proxy)] == [large, large]
