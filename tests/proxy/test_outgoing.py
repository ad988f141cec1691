"""What goes to an upstream, and what its refusals mean."""

from typing import Any

import msgspec
import pytest

from trimtab.config import Config, CoreOptions, ServeOptions, StoreOptions
from trimtab.errors import Cause, Refused, UpstreamError
from trimtab.exchange import Exchange, Incoming
from trimtab.facts import Credentials
from trimtab.models import Model, Target, Upstream
from trimtab.outgoing import call_for, client_key, client_name, compose, has_key, keys, refusal
from trimtab.runtime import Runtime
from trimtab.store import MemoryStore
from trimtab.testing import StageBench, StillClock, table

BODY = b'{ "model":"small", "messages":[{"role":"user","content":"hi"}] }'


def runtime(*, request_id: bool = True) -> Runtime:
    config = Config(
        serve=ServeOptions(request_id=request_id),
        core=CoreOptions(),
        store=StoreOptions(),
        models=table(),
        pipelines={},
        stages={},
        sources={},
    )
    return Runtime(config, store=MemoryStore(StillClock()), clock=StillClock())


def exchange(query: str = "", dialect: str = "chat", **headers: str) -> Exchange:
    case = StageBench().exchange(BODY, dialect=dialect, headers=headers)
    case.incoming = Incoming("POST", case.incoming.path, query, case.incoming.headers)
    case._resolve = lambda exchange: target()
    return case


def target(dialect: Any = "chat", **members: Any) -> Target:
    return Target(Upstream(name="up", dialect=dialect, base_url="https://up.test/v1", **members), Model(name="small"))


def test_a_request_leaves_with_its_own_bytes() -> None:
    call = call_for(runtime(), exchange(), target(connect_timeout=3.0))
    assert (call.method, call.url, call.body) == ("POST", "https://up.test/v1/chat/completions", BODY)
    assert (call.name, call.connect_timeout, call.headers["x-request-id"]) == ("up", 3.0, "req_test")


def test_a_request_leaves_in_the_dialect_of_its_target_and_tells_what_was_dropped() -> None:
    case = StageBench().exchange({"model": "x", "messages": [{"role": "user", "content": "hi"}], "seed": 1})
    call = call_for(runtime(), case, target("messages"))
    said = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
    assert msgspec.json.decode(call.body) == {"model": "small", "max_tokens": 4096, "messages": [said]}
    assert (case.sent, case.dropped) == (call.body, ["seed"])
    same = exchange()
    assert (same.sent, call_for(runtime(), same, target()).body, same.sent) == (None, BODY, BODY)


def test_without_ids_none_goes_upstream() -> None:
    assert "x-request-id" not in call_for(runtime(request_id=False), exchange(), target()).headers


def test_the_query_passes_in_its_own_dialect_only() -> None:
    asked = exchange("beta=true", "messages")
    assert call_for(runtime(), asked, target("messages")).url == "https://up.test/v1/messages?beta=true"
    assert call_for(runtime(), asked, target("chat")).url == "https://up.test/v1/chat/completions"
    count = call_for(runtime(), asked, target("messages"), "count").url
    assert count == "https://up.test/v1/messages/count_tokens?beta=true"


def test_the_query_joins_one_that_the_address_has() -> None:
    up = Upstream(dialect="messages", base_url="https://up.test/v1?plan=1")
    call = call_for(runtime(), exchange("beta=true", "messages"), Target(up, Model(name="small")))
    assert call.url == "https://up.test/v1/messages?plan=1&beta=true"


def test_a_body_of_our_own() -> None:
    call = compose(runtime(), exchange("beta=true"), target(), b"{}")
    assert (call.body, call.url) == (b"{}", "https://up.test/v1/chat/completions")


def test_a_call_does_not_show_its_headers() -> None:
    call = call_for(runtime(), exchange(authorization="Bearer sk-secret"), target())
    assert call.headers["authorization"] == "Bearer sk-secret"
    assert repr(call) == "Call(POST up)"


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ({"authorization": "Bearer a"}, "a"),
        ({"authorization": "bearer  a "}, "a"),
        ({"x-api-key": "b"}, "b"),
        ({"authorization": "Bearer a", "x-api-key": "b"}, "a"),
        ({"authorization": "Basic a", "x-api-key": "b"}, "b"),
        ({"authorization": "Bearer ", "x-api-key": "b"}, "b"),
        ({"authorization": "Bearer"}, None),
        ({"x-api-key": ""}, None),
        ({"x-upstream-key": "c", "cookie": "d"}, None),
        ({}, None),
    ],
)
def test_the_key_of_a_client(sent: dict[str, str], found: str | None) -> None:
    assert client_key(sent) == found


UPSTREAM = Upstream(dialect="chat", base_url="https://up.test", key="upstream's")
BARE = Upstream(dialect="chat", base_url="https://up.test")


@pytest.mark.parametrize(
    ("credentials", "client", "upstream", "found"),
    [
        (None, "client's", UPSTREAM, "client's"),
        (None, None, UPSTREAM, "upstream's"),
        (None, None, BARE, None),
        (Credentials(key="server's", lent=True), "client's", UPSTREAM, "upstream's"),
        (Credentials(key="server's", lent=True), "client's", BARE, "server's"),
        (Credentials(key="forwarded"), "client's", UPSTREAM, "forwarded"),
        (Credentials(key=None), "client's", UPSTREAM, None),
    ],
)
def test_which_key_goes_upstream(
    credentials: Credentials | None, client: str | None, upstream: Upstream, found: str | None
) -> None:
    case = exchange(**({"x-api-key": client} if client else {}))
    if credentials is not None:
        case.put(credentials)
    assert keys(case, upstream) == (found,)


def test_an_upstream_may_have_several_keys_of_its_own() -> None:
    several = Upstream(dialect="chat", base_url="https://up.test", key="a", keys=("b", "a", "", "c"))
    case = exchange()
    assert keys(case, several) == ("a", "b", "c")
    case.put(Credentials(key="server's", lent=True))
    assert keys(case, several) == ("a", "b", "c")
    case.put(Credentials(key="forwarded"))
    assert keys(case, several) == ("forwarded",)


def test_the_key_that_was_chosen_is_the_one_that_leaves() -> None:
    for chosen, sent in (("k2", "Bearer k2"), (None, None)):
        call = call_for(runtime(), exchange(authorization="Bearer own"), target(), keyed=(chosen,))
        assert call.headers.get("authorization") == sent


def test_requests_are_counted_to_a_key_or_an_address() -> None:
    case = exchange()
    assert client_name(case) == case.incoming.peer
    case.put(Credentials(key="k", client="abc"))
    assert client_name(case) == "abc"


OTHER = Upstream(name="other", dialect="chat", base_url="https://other.test")
OTHER_KEYED = Upstream(name="other", dialect="chat", base_url="https://other.test", key="other's")
SHIPPED = Upstream(name="up", dialect="chat", base_url="https://up.test", shipped=True)
NO_KEYS = Upstream(name="up", dialect="chat", base_url="https://up.test", forwarding=False, key="upstream's")
OPEN = Upstream(name="other", dialect="chat", base_url="https://other.test", auth="none")
OWN, LENT = Credentials(key="sk-own"), Credentials(key="server's", lent=True)
RICH = Credentials(key="sk-own", lendable=True)


@pytest.mark.parametrize(
    ("credentials", "upstream", "found"),
    [
        # To the vendor that the request is for, and to no other by a fallback or by `ask`.
        (OWN, BARE, "sk-own"),
        (OWN, OTHER, None),
        (LENT, OTHER, None),
        (OWN, OTHER_KEYED, None),
        (LENT, OTHER_KEYED, "other's"),
        (RICH, OTHER_KEYED, "other's"),
        # Only where the operator has it sent.
        (OWN, SHIPPED, None),
        (OWN, msgspec.structs.replace(SHIPPED, forwarding=True), "sk-own"),
        (OWN, NO_KEYS, None),
        (RICH, NO_KEYS, "upstream's"),
    ],
)
def test_a_key_goes_to_its_own_vendor_only(credentials: Credentials, upstream: Upstream, found: str | None) -> None:
    case = exchange()
    case.put(credentials)
    if found is None:
        with pytest.raises(Refused, match=f"is not sent to upstream '{upstream.name}'") as caught:
            keys(case, upstream)
        assert caught.value.cause is Cause.PERMISSION
        assert str(credentials.key) not in caught.value.message
    else:
        assert keys(case, upstream) == (found,)
    assert has_key(case, upstream) is (found is not None)


def test_the_vendor_is_the_one_that_was_meant_first() -> None:
    case = exchange()
    case.put(OWN)
    assert keys(case, BARE) == ("sk-own",)
    case.aim(Target(OTHER, Model(name="small")))
    case.put(OWN)
    assert not has_key(case, OTHER)


def test_an_upstream_that_asks_for_no_key_is_sent_none() -> None:
    case = exchange()
    case.put(OWN)
    assert keys(case, OPEN) == (None,)
    assert has_key(case, OPEN)
    case.put(Credentials(key=None))
    assert has_key(case, OTHER)
    without_auth = exchange(**{"x-api-key": "own"})
    with pytest.raises(Refused):
        keys(without_auth, OTHER)


class Answer:
    """An upstream's refusal."""

    def __init__(self, status: int, body: bytes | UpstreamError, **headers: str) -> None:
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.content_type = "application/json"
        self.body = body

    async def read(self, limit: int) -> bytes:
        if isinstance(self.body, UpstreamError):
            raise self.body
        assert len(self.body) < limit
        return self.body


async def refused(status: int, body: Any = b"", **headers: str) -> UpstreamError:
    raw = body if isinstance(body, bytes | UpstreamError) else msgspec.json.encode({"error": body})
    call = call_for(runtime(), exchange(), target())
    return await refusal(call, Answer(status, raw, **headers))  # type: ignore[arg-type]  # a fake


@pytest.mark.anyio
async def test_a_refusal_keeps_status_body_and_what_clients_act_on() -> None:
    error = await refused(429, b'{"error":{"message":"slow"}}', retry_after="7", set_cookie="a=b")
    assert (error.status, error.body, error.cause) == (429, b'{"error":{"message":"slow"}}', Cause.RATE_LIMIT)
    assert (error.headers, error.content_type) == ({"retry-after": "7"}, "application/json")
    assert error.message == "upstream 'up' answered 429"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (400, b"", Cause.MALFORMED),
        (401, b"<html>", Cause.AUTHENTICATION),
        (402, b"", Cause.BILLING),
        (413, b"", Cause.TOO_LARGE),
        (529, b"", Cause.OVERLOADED),
        (403, b"", Cause.PERMISSION),
        (405, b"", Cause.METHOD),
        (408, b"", Cause.TIMEOUT),
        (422, b"", Cause.MALFORMED),
        (501, b"", Cause.UNSUPPORTED),
        (503, b"", Cause.OVERLOADED),
        (504, b"", Cause.TIMEOUT),
        (302, b"", Cause.UPSTREAM),
        (500, {"message": "oh", "type": "api_error"}, Cause.UPSTREAM),
        (404, {"message": "no", "type": "invalid_request_error"}, Cause.NOT_FOUND),
        (401, {"message": "no", "type": "invalid_request_error", "code": "invalid_api_key"}, Cause.AUTHENTICATION),
        (400, {"message": "Prompt exceeds max length", "code": "1261"}, Cause.OVERFLOW),
        (400, {"message": "too long", "code": "context_length_exceeded"}, Cause.OVERFLOW),
        (400, {"message": "prompt is too long: 3 tokens > 2", "type": "invalid_request_error"}, Cause.OVERFLOW),
        (429, {"message": "come back at five", "code": "1308"}, Cause.QUOTA),
        (429, {"message": "pay", "code": "1113"}, Cause.BILLING),
        (400, {"message": "unknown", "code": "1211"}, Cause.NOT_FOUND),
    ],
)
async def test_what_the_body_names_says_more_than_the_status(status: int, body: Any, cause: Cause) -> None:
    assert (await refused(status, body)).cause == cause


@pytest.mark.anyio
async def test_a_refusal_whose_body_breaks_off_is_still_that_refusal() -> None:
    error = await refused(401, UpstreamError("upstream 'up' broke off its answer"))
    assert (error.status, error.body, error.cause) == (401, b"", Cause.AUTHENTICATION)


@pytest.mark.anyio
async def test_a_key_that_an_upstream_quotes_goes_no_further() -> None:
    up = target(headers={"X-Extra": "planted-extra", "x-short": "in"})
    case = exchange(authorization="Bearer planted-key")
    call = call_for(runtime(), case, up)
    body = b'{"error":{"type":"x","message":"Bearer planted-key, planted-key, planted-extra in vain"}}'
    error = await refusal(call, Answer(401, body))  # type: ignore[arg-type]  # a fake
    assert error.body == b'{"error":{"type":"x","message":"***, ***, *** in vain"}}'


def test_the_query_and_a_vendors_own_headers_go_to_no_other_vendor() -> None:
    case = exchange("beta=true&key=SECRET", **{"openai-organization": "o", "x-claude-a": "c", "user-agent": "a"})
    first, away = call_for(runtime(), case, target()), call_for(runtime(), case, Target(OPEN, Model(name="small")))
    assert first.url.endswith("?beta=true&key=SECRET")
    assert away.url == "https://other.test/v1/chat/completions"
    told = {"openai-organization", "x-claude-a", "user-agent"}
    assert (first.headers.keys() & told, away.headers.keys() & told) == (told, {"user-agent"})


def test_an_idempotency_key_stands_for_the_first_body_only() -> None:
    case = exchange(**{"idempotency-key": "i"})
    assert "idempotency-key" not in compose(runtime(), case, target(), b"{}").headers  # a question of our own
    assert call_for(runtime(), case, target()).headers["idempotency-key"] == "i"
    assert call_for(runtime(), case, target()).headers["idempotency-key"] == "i"  # sent again as it was
    assert "idempotency-key" not in call_for(runtime(), case, target("messages"), "count").headers
    assert "idempotency-key" not in compose(runtime(), case, target(), b"{}").headers
    case.set_member("temperature", 1, "changed")
    assert "idempotency-key" not in call_for(runtime(), case, target()).headers
