"""Who is let in, and with which key."""

import gc
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from trimtab.api import Cause, ConfigError, Credentials, Model, ModelTable, Refused, Upstream, replace
from trimtab.testing import StageBench, StillClock
from trimtab_stages.auth import Auth, AuthOptions, presented

pytestmark = pytest.mark.anyio

BODY = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
SERVER, OWN, CLIENT, OTHER = "sk-server-secret", "sk-own-secret", "ck-client-secret", "sk-other-secret"
AWAY = "203.0.113.9"


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def models(key: str | None = None, *, forwarding: bool | None = None) -> ModelTable:
    upstream = Upstream(dialect="chat", base_url="http://a.test", key=key, forwarding=forwarding)
    return ModelTable({"a": upstream}, {"small": Model()})


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="TRACE", format="{level} {message} {extra}")
    yield lines
    logger.remove(sink)


async def let_in(bench: StageBench, **request: Any) -> Credentials:
    exchange = bench.exchange(BODY, **request)
    await bench.request(exchange)
    found = exchange.get(Credentials)
    assert found is not None
    return found


async def refusal(bench: StageBench, **request: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await let_in(bench, **request)
    return caught.value


# options, headers, peer -> (key sent upstream, lent) or None for a refusal
HOME = "127.0.0.1"
PROXIED = {"x-forwarded-for": "198.51.100.1"}
KEYS: list[tuple[dict[str, Any], dict[str, str], str, tuple[str | None, bool] | None]] = [
    # No key anywhere: the upstream decides.
    ({}, {}, HOME, (None, False)),
    ({}, {}, AWAY, (None, False)),
    # The client's own key is forwarded, whoever it is and whether or not there is a server key.
    ({}, bearer(OWN), AWAY, (OWN, False)),
    ({}, {"x-api-key": OWN}, AWAY, (OWN, False)),
    ({}, {"x-upstream-key": OWN}, AWAY, (OWN, False)),
    ({}, {"x-upstream-key": OWN, **bearer(OTHER)}, AWAY, (OWN, False)),
    ({}, {"x-api-key": OTHER, **bearer(OWN)}, AWAY, (OWN, False)),
    ({"server_key": SERVER}, bearer(OWN), HOME, (OWN, False)),
    ({"server_key": SERVER}, bearer(OWN), AWAY, (OWN, False)),
    # Without a key of its own, a local client is lent the server's; nobody else is.
    ({"server_key": SERVER}, {}, HOME, (SERVER, True)),
    ({"server_key": SERVER}, {}, "127.9.8.7", (SERVER, True)),
    ({"server_key": SERVER}, {}, "::1", (SERVER, True)),
    ({"server_key": SERVER}, {}, "::ffff:127.0.0.1", (SERVER, True)),
    ({"server_key": SERVER}, {"authorization": "Bearer "}, HOME, (SERVER, True)),
    ({"server_key": SERVER}, {"authorization": "Basic abc"}, HOME, (SERVER, True)),
    ({"server_key": SERVER}, {}, AWAY, None),
    ({"server_key": SERVER}, {}, "::ffff:203.0.113.9", None),
    ({"server_key": SERVER}, {}, "", None),
    ({"server_key": SERVER}, {}, "localhost.evil.test", None),
    # Behind a reverse proxy everybody looks local.
    ({"server_key": SERVER}, PROXIED, HOME, None),
    ({"server_key": SERVER}, {"forwarded": "for=198.51.100.1"}, HOME, None),
    ({"server_key": SERVER}, {"via": "1.1 edge"}, HOME, None),
    # A page of a site, in a browser of this machine, is no program of this machine.
    ({"server_key": SERVER}, {"origin": "https://evil.test"}, HOME, None),
    ({"server_key": SERVER}, {"origin": "null"}, HOME, None),
    ({"server_key": SERVER}, {"origin": "http://localhost:3000"}, HOME, (SERVER, True)),
    # A client key never leaves, not as an upstream key either.
    (
        {"server_key": SERVER, "client_keys": (CLIENT,)},
        {"x-upstream-key": CLIENT, **bearer(CLIENT)},
        HOME,
        (SERVER, True),
    ),
    ({"server_key": SERVER}, {"x-real-ip": "127.0.0.1"}, HOME, None),
    ({"server_key": SERVER}, {**PROXIED, **bearer(OWN)}, HOME, (OWN, False)),
    # auth.open lends it to all.
    ({"server_key": SERVER, "open": True}, {}, AWAY, (SERVER, True)),
    ({"server_key": SERVER, "open": True}, PROXIED, HOME, (SERVER, True)),
    ({"server_key": SERVER, "open": True}, bearer(OWN), AWAY, (OWN, False)),
    # forward-client-key = false: the server's key for whoever may have it, never the client's.
    ({"server_key": SERVER, "forward_client_key": False}, bearer(OWN), HOME, (SERVER, True)),
    ({"server_key": SERVER, "forward_client_key": False}, {"x-upstream-key": OWN}, HOME, (SERVER, True)),
    ({"server_key": SERVER, "forward_client_key": False}, bearer(OWN), AWAY, None),
    # Client keys: one must be presented, by local clients too; it is consumed.
    ({"client_keys": (CLIENT,)}, bearer(CLIENT), AWAY, (None, True)),
    ({"client_keys": (CLIENT,), "server_key": SERVER}, bearer(CLIENT), AWAY, (SERVER, True)),
    ({"client_keys": (OTHER, CLIENT), "server_key": SERVER}, {"x-api-key": CLIENT}, AWAY, (SERVER, True)),
    ({"client_keys": (CLIENT,), "server_key": SERVER}, {"authorization": f"bEARER  {CLIENT} "}, AWAY, (SERVER, True)),
    ({"client_keys": (CLIENT,), "server_key": SERVER}, {"x-api-key": CLIENT, **bearer(OWN)}, AWAY, (SERVER, True)),
    ({"client_keys": (CLIENT,)}, {"x-upstream-key": OWN, **bearer(CLIENT)}, AWAY, (OWN, False)),
    ({"client_keys": (CLIENT,), "server_key": SERVER}, {"x-upstream-key": OWN, **bearer(CLIENT)}, AWAY, (OWN, False)),
    ({"client_keys": (CLIENT,), "server_key": SERVER}, {}, HOME, None),
    ({"client_keys": (CLIENT,), "server_key": SERVER}, bearer(OWN), HOME, None),
    ({"client_keys": (CLIENT,), "server_key": SERVER}, {"authorization": CLIENT}, AWAY, None),
    ({"client_keys": (CLIENT,), "server_key": SERVER}, {"x-upstream-key": CLIENT}, AWAY, None),
    ({"client_keys": (CLIENT,), "server_key": SERVER}, bearer(CLIENT[:-1]), AWAY, None),
    ({"client_keys": (CLIENT,), "server_key": SERVER, "open": True}, {}, HOME, None),
    (
        {"client_keys": (CLIENT,), "server_key": SERVER, "forward_client_key": False},
        {"x-upstream-key": OWN, **bearer(CLIENT)},
        AWAY,
        (SERVER, True),
    ),
]


@pytest.mark.parametrize(("options", "headers", "peer", "expected"), KEYS)
@pytest.mark.parametrize("operation", ["generate", "count", "inspect"])
async def test_the_table_of_keys(
    options: dict[str, Any],
    headers: dict[str, str],
    peer: str,
    expected: tuple[str | None, bool] | None,
    operation: str,
) -> None:
    async with StageBench(Auth(AuthOptions(**options)), models=models()) as bench:
        request = {"headers": headers, "peer": peer, "operation": operation}
        if expected is None:
            error = await refusal(bench, **request)
            assert error.cause is Cause.AUTHENTICATION
            assert error.headers == {"www-authenticate": "Bearer"}
            assert not any(key in error.message for key in (SERVER, OWN, CLIENT, OTHER))
        else:
            found = await let_in(bench, **request)
            assert (found.key, found.lent) == expected


async def test_a_refusal_says_what_to_do() -> None:
    async with StageBench(Auth(AuthOptions(client_keys=(CLIENT,))), models=models()) as bench:
        error = await refusal(bench)
        assert "auth.client-keys" in error.message
        assert "Authorization: Bearer" in error.message
    async with StageBench(Auth(AuthOptions(server_key=SERVER)), models=models()) as bench:
        error = await refusal(bench, peer=AWAY)
        assert "your own upstream key" in error.message
        assert "auth.open = true" in error.message


async def test_a_client_is_known_by_the_hash_of_its_key() -> None:
    async with StageBench(Auth(AuthOptions()), models=models()) as bench:
        assert (await let_in(bench, headers=bearer(OWN))).client == sha256(OWN.encode()).hexdigest()[:8]
        assert (await let_in(bench)).client == "anonymous"
        assert (await let_in(bench, headers=bearer("sk-\udcff"))).client != "anonymous"
    async with StageBench(Auth(AuthOptions(client_keys=(CLIENT,))), models=models()) as bench:
        found = await let_in(bench, headers={"x-upstream-key": OWN, **bearer(CLIENT)})
        assert found.client == sha256(CLIENT.encode()).hexdigest()[:8]


async def test_without_any_key_forwarding_cannot_be_off() -> None:
    with pytest.raises(ConfigError, match="SERVER_API_KEY"):
        await StageBench(Auth(AuthOptions(forward_client_key=False)), models=models()).__aenter__()
    async with StageBench(Auth(AuthOptions(forward_client_key=False)), models=models("sk-row")) as bench:
        found = await let_in(bench, headers=bearer(OWN))
        assert (found.key, found.lent) == (None, True)  # the core puts the upstream's own key


async def test_the_key_of_an_upstream_is_not_lent_to_strangers() -> None:
    async with StageBench(Auth(AuthOptions()), models=models("sk-row")) as bench:
        assert (await let_in(bench)).lent
        assert (await refusal(bench, peer=AWAY)).cause is Cause.AUTHENTICATION
        assert not (await let_in(bench, headers=bearer(OWN), peer=AWAY)).lent


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_minute": -1}, "per-minute"),
        ({"max_streams": -1}, "max-streams"),
        ({"client_keys": ("a", " ")}, "empty key"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AuthOptions(**options)


# The window


async def test_a_client_may_make_so_many_requests_in_any_minute() -> None:
    clock = StillClock()
    async with StageBench(Auth(AuthOptions(per_minute=2)), models=models(), clock=clock) as bench:
        await let_in(bench, headers=bearer(OWN))
        clock.advance(30.5)
        await let_in(bench, headers=bearer(OWN))
        error = await refusal(bench, headers=bearer(OWN))
        assert error.cause is Cause.RATE_LIMIT
        assert error.message == "rate limit: 2 requests per minute; try again in 30s"
        assert error.headers == {"retry-after": "30"}
        await let_in(bench, headers=bearer(OTHER))
        await let_in(bench, headers=bearer(OWN), operation="count")
        await let_in(bench, headers=bearer(OWN), operation="inspect")
        clock.advance(29.5)
        await let_in(bench, headers=bearer(OWN))
        assert (await refusal(bench, headers=bearer(OWN))).headers == {"retry-after": "31"}


async def test_workers_share_what_a_client_may() -> None:
    stage = Auth(AuthOptions(max_streams=4))
    bench = StageBench(stage, models=models())
    bench.services = replace(bench.services, workers=2)
    async with bench:
        under_way = [bench.exchange(BODY, headers=bearer(OWN)) for _ in range(3)]
        for exchange in under_way[:2]:
            await bench.request(exchange)
        with pytest.raises(Refused, match="4 requests of this client are under way"):
            await bench.request(under_way[2])


async def test_a_client_has_so_many_requests_under_way_and_no_more() -> None:
    async with StageBench(Auth(AuthOptions(max_streams=2)), models=models()) as bench:
        under_way = [bench.exchange(BODY, headers=bearer(OWN)) for _ in range(2)]
        for exchange in under_way:
            await bench.request(exchange)
        error = await refusal(bench, headers=bearer(OWN))
        assert (error.cause, error.headers) == (Cause.RATE_LIMIT, {"retry-after": "5"})
        await let_in(bench, headers=bearer(OTHER))
        await let_in(bench, headers=bearer(OWN), operation="count")
        bench.done(under_way[0])
        bench.done(under_way[0])
        await let_in(bench, headers=bearer(OWN))
        assert (await refusal(bench, headers=bearer(OWN))).cause is Cause.RATE_LIMIT


async def test_a_place_is_held_until_its_request_is_done_whoever_else_forgets_it() -> None:
    async with StageBench(Auth(AuthOptions(max_streams=3)), models=models()) as bench:
        for _ in range(3):
            await let_in(bench, headers=bearer(OWN))
            gc.collect()
        assert (await refusal(bench, headers=bearer(OWN))).cause is Cause.RATE_LIMIT


@pytest.mark.parametrize(
    ("options", "table"),
    [
        ({"server_key": SERVER, "open": True, "forward_client_key": False}, models()),
        ({"open": True}, models("sk-row", forwarding=False)),
    ],
)
async def test_a_key_that_nobody_checks_is_no_identity(options: dict[str, Any], table: ModelTable) -> None:
    async with StageBench(Auth(AuthOptions(per_minute=2, **options)), models=table) as bench:
        for number in range(2):
            assert (await let_in(bench, headers=bearer(f"made-up-{number}"), peer=AWAY)).client == "anonymous"
        error = await refusal(bench, headers={"x-upstream-key": "made-up-3", **bearer("made-up-4")}, peer=AWAY)
        assert error.cause is Cause.RATE_LIMIT


async def test_of_two_keys_the_one_that_leaves_names_the_client() -> None:
    async with StageBench(Auth(AuthOptions()), models=models()) as bench:
        found = await let_in(bench, headers={"x-upstream-key": OWN, **bearer("made-up")})
    assert found.client == sha256(OWN.encode()).hexdigest()[:8]


# Secrets


async def test_no_key_is_ever_shown(tmp_path: Path, said: list[str]) -> None:
    options = AuthOptions(server_key=SERVER, client_keys=(CLIENT,), open=True, per_minute=1)
    stage = Auth(options)
    shown = [repr(options), str(stage.options), repr(vars(stage)), repr(stage)]
    async with StageBench(stage, models=models(), directory=str(tmp_path)) as bench:
        headers = {"x-upstream-key": OWN, "x-api-key": OTHER, **bearer(CLIENT)}
        exchange = bench.exchange(BODY, headers=headers)
        await bench.request(exchange)
        shown += [repr(exchange.facts()), repr(exchange.incoming)]
        for wrong in ({**headers, **bearer(OTHER)}, headers):
            error = await refusal(bench, headers=wrong)
            shown += [repr(error), str(error), error.message, repr(error.headers)]
    text = "".join(shown + said)
    assert [key for key in (SERVER, OWN, CLIENT, OTHER) if key in text] == []


def test_keys_are_read_from_both_headers() -> None:
    assert presented({"authorization": "BEARER a", "x-api-key": " b "}) == ["a", "b"]
    assert presented({"authorization": "a", "x-api-key": ""}) == []
