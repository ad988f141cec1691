"""The endpoints that ask no model."""

import pytest

import trimtab
from asgi import NOWHERE, call, running
from trimtab.api import Exchange, Refused, Reply, Stage, StageOptions, hookimpl
from trimtab.config import ServeOptions
from trimtab.errors import Cause
from trimtab.pages import Docs, Health, ModelPage, Models, OpenApi, Page, Root, Unknown, dialect_of, listing
from trimtab.surfaces import incoming_of

pytestmark = pytest.mark.anyio

ANTHROPIC = {"anthropic-version": "2023-06-01"}


class Guard(Stage[StageOptions]):
    """Lets nobody in without the word."""

    name = "guard"
    operations = frozenset({"inspect", "generate"})

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        if exchange.incoming.headers.get("x-api-key") != "tt-word":
            raise Refused("say the word", cause=Cause.AUTHENTICATION)
        return None


async def test_the_model_list_in_both_dialects() -> None:
    async with running() as proxy:
        chat = (await proxy.get("/v1/models")).json
        messages = (await proxy.get("/v1/models", ANTHROPIC)).json
    assert chat["object"] == "list"
    assert [(row["id"], row["object"]) for row in chat["data"]] == [("small", "model"), ("eyes", "model")]
    assert [(row["id"], row["type"]) for row in messages["data"]] == [("small", "model"), ("eyes", "model")]
    assert (messages["first_id"], messages["last_id"], messages["has_more"]) == ("small", "eyes", False)
    assert [row["display_name"] for row in messages["data"]] == ["Small One", "eyes"]
    for row in (*chat["data"], *messages["data"]):
        assert row["context_window"] == row["context_length"]
        assert {"max_output_tokens"} < set(row)


def test_a_list_of_no_models() -> None:
    scope = {"method": "GET", "path": "/v1/models", "headers": [(b"anthropic-version", b"x")]}
    told = listing([], dialect_of(incoming_of(scope)))
    assert told == {"data": [], "has_more": False, "first_id": None, "last_id": None}


async def test_one_model_in_both_dialects() -> None:
    async with running() as proxy:
        chat = (await proxy.get("/v1/models/small")).json
        messages = (await proxy.get("/v1/models/small", ANTHROPIC)).json
        unknown = await proxy.get("/v1/models/smal")
        strange = await proxy.get("/v1/models/vendor/zzz", ANTHROPIC)
    assert (chat["id"], chat["owned_by"], chat["max_output_tokens"]) == ("small", "trimtab", 1000)
    assert (messages["id"], messages["max_input_tokens"], messages["max_tokens"]) == ("small", 10_000, 1000)
    assert (unknown.status, unknown.message) == (404, "no model 'smal' in the table, did you mean 'small'?")
    assert (strange.status, strange.json["type"]) == (404, "error")
    assert strange.message.startswith("no model 'vendor/zzz' in the table: ")


async def test_health() -> None:
    async with running() as proxy:
        assert (await proxy.get("/health")).json == {"status": "ok"}
        told = (await proxy.get("/health?verbose=1")).json
        assert (told["status"], told["version"], told["pipelines"]) == ("ok", trimtab.__version__, {"default": []})
        assert told["upstreams"]["text"] == {
            "dialect": "messages",
            "base_url": NOWHERE,
            "requests": 0,
            "open": 0,
            "last_status": None,
            "under_way": 0,
            "waiting": 0,
            "resting_keys": 0,
            "failed": 0,
            "last_error": None,
            "breaker": "closed",
        }
        assert {"hits", "misses", "messages", "bytes"} <= set(told["memo"])
        proxy.runtime.counters.add("asked", 3)
        assert (await proxy.get("/health?verbose=1")).json["counters"]["asked"] == 3


async def test_a_proxy_that_shuts_down_says_so() -> None:
    async with running() as proxy:
        proxy.runtime.draining = True
        for path in ("/health", "/health?verbose=1"):
            answer = await proxy.get(path)
            assert (answer.status, answer.message) == (503, "the proxy is stopping: try again in a moment")


async def test_what_the_proxy_knows_is_guarded_by_the_chain() -> None:
    async with running(NOWHERE, Guard) as proxy:
        for path in ("/v1/models", "/v1/models/small", "/health?verbose=1"):
            assert (await proxy.get(path)).status == 401
            answer = await proxy.get(path, {"x-api-key": "tt-word"})
            assert answer.status == 200
            assert b"sk-upstream" not in answer.body
            assert b"tt-word" not in answer.body
        for path in ("/health", "/", "/docs", "/openapi.json"):
            assert (await proxy.get(path)).status == 200


async def test_agents_probe_the_root() -> None:
    async with running() as proxy:
        got = await proxy.get("/")
        head = await call(proxy.app, "HEAD", "/")
    assert got.json == {"name": "trimtab", "version": trimtab.__version__, "docs": "/docs", "health": "/health"}
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(got.body)) == got.headers["content-length"]
    assert head.messages[-1]["more_body"] is False


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", "/docs", "/openapi.json"])
async def test_pages_take_no_other_method(path: str) -> None:
    async with running() as proxy:
        answer = await proxy.post(path, b"{}")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.message == f"{path} takes GET or HEAD, not POST"


async def test_an_unknown_path_names_the_nearest() -> None:
    async with running() as proxy:
        near = await proxy.post("/v1/message", b"{}", ANTHROPIC)
        far = await proxy.get("/zz")
        head = await call(proxy.app, "PUT", "/v1/messages/count_token")
    assert (near.status, near.message) == (404, "no path /v1/message, did you mean /v1/messages?")
    assert near.json["type"] == "error"
    assert far.message.startswith("no path /zz (known: /v1/messages, /v1/chat/completions, ")
    assert "{" not in far.message
    assert "did you mean /v1/messages/count_tokens?" in head.message


async def test_the_request_id_can_be_switched_off() -> None:
    sent = {"x-request-id": "run-7"}
    async with running() as proxy:
        assert (await proxy.get("/health", sent)).headers["x-request-id"] == "run-7"
    async with running(serve=ServeOptions(request_id=False)) as proxy:
        assert "x-request-id" not in (await proxy.get("/health", sent)).headers


def test_only_what_the_proxy_knows_is_guarded() -> None:
    guarded = {page for page in (Docs, Health, ModelPage, Models, OpenApi, Page, Root, Unknown) if page.guarded}
    assert guarded == {ModelPage, Models}
