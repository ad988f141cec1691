"""Clients by name, and what their keys may do."""

from hashlib import sha256
from typing import Any

import pytest

from trimtab.api import Cause, Credentials, Exchange, Model, ModelTable, Refused, Upstream
from trimtab.testing import StageBench
from trimtab_stages.auth import Auth, AuthOptions
from trimtab_stages.auth_client import Client, by_digest, fits

pytestmark = pytest.mark.anyio

ALICE, BOB = "tt-alice", "tt-bob"
HASH = sha256(ALICE.encode()).hexdigest()
MODELS = ModelTable({"a": Upstream(dialect="chat", base_url="http://a.test")}, {"small": Model()})


def exchange(bench: StageBench, key: str, model: str = "glm-4.6", pipeline: str = "default", **more: Any) -> Exchange:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    made = bench.exchange(body, headers={"x-api-key": key}, **more)
    made.pipeline = pipeline
    return made


def stage(**alice: Any) -> Auth:
    clients = {"alice": Client(key_sha256=HASH, **alice), "bob": Client(key=f" {BOB} ")}
    return Auth(AuthOptions(server_key="sk-server", clients=clients))


async def test_a_key_is_held_to_its_pipelines_and_models() -> None:
    rule = stage(pipelines=("default",), models=("glm-4.6", "glm-5*"))
    async with StageBench(rule, models=MODELS) as bench:
        for model in ("glm-4.6", "glm-5", "glm-5.3-flash"):
            await bench.request(exchange(bench, ALICE, model))
        for model, pipeline in (("glm-4.6v", "default"), ("glm-4.6", "plain")):
            with pytest.raises(Refused, match="this client key may not use the") as caught:
                await bench.request(exchange(bench, ALICE, model, pipeline))
            assert caught.value.cause is Cause.PERMISSION
        await bench.request(exchange(bench, ALICE, "x", operation="inspect"))
        await bench.request(exchange(bench, BOB, "anything", "plain"))
        with pytest.raises(Refused) as caught:
            await bench.request(exchange(bench, "tt-mallory"))
        assert caught.value.cause is Cause.AUTHENTICATION


async def test_its_name_stands_for_it_and_its_limits_are_its_own() -> None:
    async with StageBench(stage(per_minute=1, max_streams=2), models=MODELS) as bench:
        first = exchange(bench, ALICE)
        await bench.request(first)
        assert first.get(Credentials) == Credentials(key="sk-server", client="alice", lent=True, lendable=True)
        second = exchange(bench, ALICE)
        with pytest.raises(Refused, match="1 requests per minute"):
            await bench.request(second)
        # The line of the log names who was refused.
        assert second.get(Credentials) == first.get(Credentials)
        with pytest.raises(Refused, match="2 requests of this client"):
            await bench.request(exchange(bench, ALICE))
        for _ in range(3):
            await bench.request(exchange(bench, BOB))


def test_no_key_and_no_hash_is_shown() -> None:
    options = AuthOptions(clients={"alice": Client(key=ALICE, models=("m",)), "bob": Client(key_sha256=HASH[::-1])})
    made = Auth(options)
    shown = repr(options) + repr(options.clients) + repr(vars(made)) + str(made.options)
    assert "pipelines all; models m" in shown
    assert [secret for secret in (ALICE, HASH, HASH[::-1]) if secret in shown] == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "needs a key"),
        ({"key": "a", "key_sha256": HASH}, "needs a key"),
        ({"key": " "}, "key is empty"),
        ({"key_sha256": "abc"}, "64 hex digits"),
        ({"key_sha256": "g" * 64}, "64 hex digits"),
        ({"key": "a", "per_minute": -1}, "0 .no limit. or more"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Client(**options)


def test_two_clients_cannot_share_a_key() -> None:
    with pytest.raises(ValueError, match="has the same key as"):
        AuthOptions(clients={"a": Client(key=ALICE), "b": Client(key_sha256=HASH.upper())})
    assert list(by_digest({"a": Client(key=ALICE)})) == [bytes.fromhex(HASH)]


def test_patterns() -> None:
    assert [fits("glm-*", "glm-5"), fits("glm-5", "glm-5"), fits("glm-5", "glm-5v"), fits("*", "x")] == [1, 1, 0, 1]
    assert not fits("a*b", "axb")
