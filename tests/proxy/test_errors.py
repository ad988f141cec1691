"""The tree of failures."""

import pytest

from trimtab.errors import (
    BadRequest,
    Cause,
    ConfigError,
    ProxyError,
    Refused,
    StageFailed,
    UpstreamError,
    UpstreamTimeout,
)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ProxyError("x"), Cause.INTERNAL),
        (ConfigError("x"), Cause.INTERNAL),
        (BadRequest("x"), Cause.MALFORMED),
        (Refused("x"), Cause.PERMISSION),
        (StageFailed("scale", "x"), Cause.INTERNAL),
        (UpstreamError("x"), Cause.UPSTREAM),
        (UpstreamTimeout("x"), Cause.TIMEOUT),
    ],
)
def test_every_failure_has_a_cause(error: ProxyError, cause: Cause) -> None:
    assert error.cause is cause
    assert "x" in error.message
    assert str(error) == error.message


def test_all_faults_of_a_configuration_are_told() -> None:
    error = ConfigError("a is wrong", "b is missing")
    assert error.problems == ("a is wrong", "b is missing")
    assert str(error) == "a is wrong\nb is missing"


def test_headers_are_a_copy() -> None:
    headers = {"retry-after": "5"}
    error = Refused("wait", cause=Cause.RATE_LIMIT, headers=headers)
    headers.clear()
    assert error.headers == {"retry-after": "5"}


def test_a_stage_is_named() -> None:
    assert StageFailed("scale", "division by zero").message == "stage 'scale' failed: division by zero"
