"""Which headers pass."""

import re

import pytest

from trimtab import headers
from trimtab.errors import BadRequest, Cause
from trimtab.models import Upstream

ZAI = Upstream(name="zai", dialect="messages", base_url="http://up.test", auth="x-api-key")
CHAT = Upstream(name="chat", dialect="chat", base_url="http://up.test/v1")
SENT = {
    "host": "127.0.0.1:5000",
    "cookie": "session=1",
    "authorization": "Bearer client-key",
    "proxy-authorization": "Basic x",
    "x-api-key": "client-key",
    "x-upstream-key": "other-key",
    "x-forwarded-for": "10.0.0.1",
    "forwarded": "for=10.0.0.1",
    "via": "1.1 cache",
    "content-length": "12",
    "content-type": "text/plain",
    "content-encoding": "gzip",
    "transfer-encoding": "chunked",
    "connection": "keep-alive",
    "te": "trailers",
    "expect": "100-continue",
    "origin": "http://evil.test",
    "referer": "http://evil.test/",
    "x-real-ip": "10.0.0.1",
    "accept": "text/event-stream",
    "accept-encoding": "br, zstd",
    "anthropic-version": "2023-01-01",
    "anthropic-beta": "tools-2024",
    "user-agent": "agent/1",
    "x-stainless-lang": "js",
}


def test_only_what_is_known_goes_upstream() -> None:
    assert headers.to_upstream(SENT, ZAI, "server-key", "req_1", "messages") == {
        "anthropic-version": "2023-01-01",
        "anthropic-beta": "tools-2024",
        "user-agent": "agent/1",
        "x-stainless-lang": "js",
        "content-type": "application/json",
        "accept": "text/event-stream",
        "accept-encoding": "gzip, deflate",
        "x-request-id": "req_1",
        "x-api-key": "server-key",
    }


@pytest.mark.parametrize(
    ("auth", "found"),
    [
        ("bearer", {"authorization": "Bearer k"}),
        ("x-api-key", {"x-api-key": "k"}),
        ("none", {}),
    ],
)
def test_the_key_takes_the_form_of_the_upstream(auth: str, found: dict[str, str]) -> None:
    upstream = Upstream(dialect="chat", base_url="http://up.test", auth=auth)  # type: ignore[arg-type]
    sent = headers.to_upstream(SENT, upstream, "k", None, "chat")
    assert {name: sent[name] for name in ("authorization", "x-api-key") if name in sent} == found


@pytest.mark.parametrize("key", ["a\x01", "a\nb", "\x7f"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(BadRequest, match="control character") as caught:
        headers.to_upstream(SENT, ZAI, key, None, "chat")
    assert caught.value.cause is Cause.AUTHENTICATION
    assert key not in str(caught.value)


@pytest.mark.parametrize("auth", ["bearer", "x-api-key", "none"])
def test_without_a_key_none_is_sent_not_even_the_clients(auth: str) -> None:
    upstream = Upstream(dialect="chat", base_url="http://up.test", auth=auth)  # type: ignore[arg-type]
    assert "client-key" not in str(headers.to_upstream(SENT, upstream, None, "req_1", "chat"))


def test_a_vendors_own_headers_stay_in_its_dialect() -> None:
    sent = {"anthropic-beta": "b", "anthropic-version": "v", "openai-organization": "o", "user-agent": "a"}
    assert headers.to_upstream(sent, CHAT, None, None, "messages").keys() & sent.keys() == {"user-agent"}
    assert headers.to_upstream(sent, ZAI, None, None, "chat")["anthropic-version"] == headers.ANTHROPIC_VERSION


@pytest.mark.parametrize(
    ("sent", "leaves"),
    [
        ("na\u00efve".encode(), "na\u00efve"),
        ("na\u00efve".encode("latin-1"), "na\u00efve"),
        (b"a\r\nx-api-key: b\0", "a??x-api-key: b?"),
    ],
)
def test_a_value_leaves_in_its_own_letters_and_adds_no_header(sent: bytes, leaves: str) -> None:
    came = headers.incoming([(b"X-Title", sent)])
    assert headers.to_upstream(came, CHAT, None, None, "chat")["x-title"] == leaves


def test_ids_can_be_switched_off_and_are_then_not_forwarded() -> None:
    assert "x-request-id" not in headers.to_upstream({"x-request-id": "client"}, CHAT, None, None, "chat")


def test_a_header_of_the_table_replaces_ours_in_whatever_case() -> None:
    upstream = Upstream(dialect="chat", base_url="http://up.test", headers={"Authorization": "Basic z", "X-Plan": "1"})
    sent = headers.to_upstream({}, upstream, "k", None, "chat")
    assert (sent["authorization"], sent["x-plan"]) == ("Basic z", "1")
    assert [name for name in sent if name != name.lower()] == []


def test_only_what_clients_act_on_comes_back() -> None:
    came = {
        "Retry-After": "3",
        "retry-after-ms": "3000",
        "x-should-retry": "true",
        "Anthropic-RateLimit-Tokens-Remaining": "5",
        "x-ratelimit-remaining-requests": "9",
        "request-id": "req_up",
        "set-cookie": "a=b",
        "content-length": "7",
        "content-encoding": "gzip",
        "transfer-encoding": "chunked",
        "server": "nginx",
        "access-control-allow-origin": "*",
        "x-trimtab-dropped": "forged",
        "location": "http://evil.test",
    }
    assert headers.to_client(came) == {
        "retry-after": "3",
        "retry-after-ms": "3000",
        "x-should-retry": "true",
        "anthropic-ratelimit-tokens-remaining": "5",
        "x-ratelimit-remaining-requests": "9",
        "request-id": "req_up",
    }


@pytest.mark.parametrize("given", ["a", "req_01.A-b", "x" * 128])
def test_a_harmless_request_id_is_kept(given: str) -> None:
    assert headers.request_id({"x-request-id": given}) == given


@pytest.mark.parametrize(
    "given", ["", "x" * 129, "a b", "a\r\nset-cookie: x", "a\n", "\u00e9", "a/b", "a,b", "{}", "$(x)"]
)
def test_any_other_request_id_is_replaced(given: str) -> None:
    made = headers.request_id({"x-request-id": given})
    assert re.fullmatch("req_[0-9a-f]{24}", made)
    assert made != headers.request_id({})


def test_a_repeated_header_is_joined_and_names_are_lower_case() -> None:
    pairs = [(b"Anthropic-Beta", b"a"), (b"x-title", b"caf\xe9"), (b"anthropic-beta", b"b")]
    assert headers.incoming(pairs) == {"anthropic-beta": "a, b", "x-title": "caf\u00e9"}


def test_a_request_id_sent_twice_is_not_taken() -> None:
    found = headers.incoming([(b"x-request-id", b"a"), (b"x-request-id", b"b")])
    assert headers.request_id(found).startswith("req_")


def test_no_value_can_add_a_header_to_an_answer() -> None:
    encoded = headers.encode({"X-Note": "a\r\nset-cookie: b\0\x7f", "x-model": "\u8239 caf\u00e9"})
    assert encoded == [(b"x-note", b"a??set-cookie: b??"), (b"x-model", b"? caf\xe9")]


def test_what_accept_says_is_cleaned_like_the_rest() -> None:
    assert headers.to_upstream({"accept": "a\x01"}, CHAT, None, None, "chat")["accept"] == "a?"


def test_another_vendor_is_told_no_account_session_or_request() -> None:
    sent = dict.fromkeys((*headers.VENDORS_OWN, "x-claude-session", "x-cc-atis", "user-agent", "openai-beta"), "v")
    assert sent.keys() <= headers.to_upstream(sent, CHAT, None, None, "chat").keys()
    away = headers.to_upstream(sent, CHAT, None, None, "chat", theirs=False)
    assert away.keys() & sent.keys() == {"user-agent", "openai-beta"}


def test_a_changed_body_does_not_carry_the_clients_idempotency_key() -> None:
    sent = {"idempotency-key": "i", "session-id": "s"}
    assert headers.to_upstream(sent, CHAT, None, None, "chat", unchanged=False).keys() & sent.keys() == {"session-id"}


def test_a_header_told_twice_in_other_letters_leaves_once_with_the_later_value() -> None:
    encoded = headers.encode({"X-Request-Id": "a", "x-other": "b", "x-request-id": "c", "bad name": "d"})
    assert encoded == [(b"x-request-id", b"c"), (b"x-other", b"b")]
