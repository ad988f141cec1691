"""Failures in words, and words into causes."""

from typing import Any

import pytest

from trimtab.dialects.problems import PROBLEMS, cause_of, complaint, hide, message, no_reply, retried
from trimtab.errors import Cause, ProxyError, UpstreamError


def test_every_cause_is_in_the_table() -> None:
    assert PROBLEMS.keys() == set(Cause)


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b'{"error":{"code":"1302","message":"x"}}', Cause.RATE_LIMIT),
        (b'{"error":{"code":1305,"message":"x"}}', Cause.OVERLOADED),
        (b'{"error":{"code":"1113","type":"invalid_request_error"}}', Cause.BILLING),
        (b'{"error":{"code":null,"type":"invalid_request_error","message":"x"}}', Cause.MALFORMED),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}', Cause.OVERLOADED),
        (b'{"error":{"type":"exceed_context_size_error","n_ctx":9}}', Cause.OVERFLOW),
        (b'{"error":{"type":"invalid_request_error","message":"Prompt is too long: 9"}}', Cause.OVERFLOW),
        (b'{"error":{"type":"api_error"}}', Cause.UPSTREAM),
        (b'{"error":{"type":"brand_new"}}', None),
        (b'{"code":"1302","msg":"x"}', Cause.RATE_LIMIT),
        (b'{"message":"x"}', None),
        (b'{"error":"x"}', None),
        (b"[]", None),
        (b"<html>", None),
        (b"\xff", None),
        (b"[" * 10_000, None),
    ],
)
def test_what_an_upstream_means(body: bytes, cause: Cause | None) -> None:
    assert cause_of(body) is cause


@pytest.mark.parametrize(
    ("error", "text"),
    [({"message": "m"}, "m"), ({"msg": "m"}, "m"), ({"code": 7}, "7"), ({}, "the upstream gave no reason"), ("m", "m")],
)
def test_what_an_upstream_says(error: Any, text: str) -> None:
    assert complaint(error).message == text


def test_a_long_text_is_cut() -> None:
    assert len(complaint({"message": "m" * 10_000}).message) == 2000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sk-ant-api03-abcdef", "***"),
        ("a sk-1234*** b", "a *** b"),
        ("Authorization: Bearer abcdef.ghijkl", "Authorization: Bearer ***"),
        ("0123456789abcdef0123456789abcdef.secretsecret", "***"),
        ("the task-list of a desk-top", "the task-list of a desk-top"),
        ("commit 0123456789abcdef0123456789abcdef01234567", "commit 0123456789abcdef0123456789abcdef01234567"),
    ],
)
def test_keys_are_hidden(text: str, shown: str) -> None:
    assert hide(text) == shown


def test_our_own_words_stand() -> None:
    assert message(ProxyError("why")) == "why"
    assert message(UpstreamError("did not connect")) == "did not connect"


def test_a_body_that_tells_an_error_is_taken_at_its_word() -> None:
    assert no_reply(b'{"error":{"code":"1305","message":"busy"}}').cause is Cause.OVERLOADED
    assert no_reply(b'{"error":null}').message == "the upstream's answer is no reply of its dialect"


def test_a_client_whose_key_an_upstream_refuses_decides_by_itself_whether_it_has_another() -> None:
    refused = UpstreamError("no", cause=Cause.AUTHENTICATION, status=401, body=b'{"error":{"message":"bad key"}}')
    assert "x-should-retry" not in retried(refused)
    refused.headers = {"x-should-retry": "true"}
    assert retried(refused)["x-should-retry"] == "true"
    ours = ProxyError("no", cause=Cause.AUTHENTICATION)
    expired = UpstreamError("no", cause=Cause.AUTHENTICATION, status=401, body=b'{"error":{"code":"1002"}}')
    assert [retried(error)["x-should-retry"] for error in (ours, expired)] == ["false", "false"]
