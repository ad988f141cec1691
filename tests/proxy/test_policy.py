"""What follows on a failure: the whole of the policy, without a clock and without chance."""

from typing import Any

import pytest

from trimtab.dialects.problems import cause_of
from trimtab.errors import BadRequest, Cause, ProxyError, StageFailed, UpstreamError, UpstreamTimeout
from trimtab.policy import (
    Budget,
    Client,
    Elsewhere,
    Failure,
    GiveUp,
    Policy,
    Retry,
    Situation,
    breaks_off,
    client_of,
    failure_of,
    retry_after,
)

SDK = Client("sdk", retries=True)
POLICY = Policy(fallback_on=frozenset(("connect", "server", "overloaded", "rate-limit", "timeout", "quota")))
TRANSIENT = (Failure.CONNECT, Failure.SERVER, Failure.OVERLOADED, Failure.RATE_LIMIT, Failure.TIMEOUT)


def decide(failure: Failure | None = Failure.SERVER, chance: float = 0.0, **members: Any) -> object:
    return POLICY.decide(Situation(failure=failure, **members), chance)


def answered(status: int | None, cause: Cause = Cause.UPSTREAM) -> UpstreamError:
    return UpstreamError("no", cause=cause, status=status)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (UpstreamError("no", unreached=True), Failure.CONNECT),
        (UpstreamTimeout("no", unreached=True), Failure.CONNECT),
        (UpstreamTimeout("silent"), Failure.TIMEOUT),
        (answered(502), Failure.CONNECT),
        (answered(503, Cause.OVERLOADED), Failure.CONNECT),
        (answered(503, Cause.QUOTA), Failure.QUOTA),
        (answered(529, Cause.OVERLOADED), Failure.OVERLOADED),
        (answered(429, Cause.RATE_LIMIT), Failure.RATE_LIMIT),
        (answered(408, Cause.TIMEOUT), Failure.TIMEOUT),
        (answered(504, Cause.TIMEOUT), Failure.TIMEOUT),
        (answered(500), Failure.SERVER),
        (answered(599), Failure.SERVER),
        (answered(None), Failure.SERVER),
        (answered(418), None),
        (answered(302), None),
        (answered(400, Cause.MALFORMED), None),
        (answered(413, Cause.TOO_LARGE), None),
        (answered(429, Cause.QUOTA), Failure.QUOTA),
        (answered(402, Cause.BILLING), Failure.BILLING),
        (answered(401, Cause.AUTHENTICATION), Failure.AUTHENTICATION),
        (answered(403, Cause.PERMISSION), Failure.PERMISSION),
        (answered(404, Cause.NOT_FOUND), Failure.NOT_FOUND),
        (answered(400, Cause.OVERFLOW), Failure.OVERFLOW),
        (BadRequest("no"), None),
        (StageFailed("x", "no"), None),
    ],
)
def test_the_class_of_a_failure(error: Any, failure: Failure | None) -> None:
    assert failure_of(error) is failure


@pytest.mark.parametrize("code", ["1000", "1113", "1210", "1211", "1261", "1301", "1304", "1308", "1310", "1313"])
def test_zais_codes_that_are_never_tried_again(code: str) -> None:
    cause = cause_of(b'{"error":{"code":"%s","message":"x"}}' % code.encode())
    assert cause is not None
    assert decide(failure_of(answered(429, cause))) == GiveUp()


@pytest.mark.parametrize("code", ["1302", "1303", "1305", "1312"])
def test_zais_codes_that_are(code: str) -> None:
    cause = cause_of(b'{"error":{"code":"%s","message":"x"}}' % code.encode())
    assert cause is not None
    assert isinstance(decide(failure_of(answered(429, cause))), Retry)


@pytest.mark.parametrize("failure", TRANSIENT)
def test_waits_grow_and_end(failure: Failure) -> None:
    assert [decide(failure, tries=tries) for tries in (1, 2, 3)] == [Retry(0.5), Retry(1.0), GiveUp()]
    # Chance makes a wait up to twice as long as its least.
    assert decide(failure, 0.5, tries=2) == Retry(1.5)


def test_no_wait_is_longer_than_the_longest() -> None:
    patient = Policy(attempts=99, max_wait=7.0)
    step = patient.decide(Situation(failure=Failure.SERVER, tries=60), 0.999)
    assert isinstance(step, Retry)
    assert 6.9 < step.wait <= 7.0


@pytest.mark.parametrize("failure", [each for each in Failure if each not in TRANSIENT])
def test_what_stays_wrong_is_not_asked_again(failure: Failure) -> None:
    assert decide(failure) == GiveUp()


def test_the_time_an_upstream_asks_for_is_granted_up_to_a_limit() -> None:
    assert decide(Failure.RATE_LIMIT, asked=20.0) == Retry(20.0)
    assert decide(Failure.RATE_LIMIT, 0.5, asked=20.0) == Retry(21.0)
    assert decide(Failure.RATE_LIMIT, asked=31.0) == GiveUp()
    assert decide(Failure.RATE_LIMIT, asked=31.0, elsewhere=True) == Elsewhere()
    assert decide(Failure.RATE_LIMIT, asked=0.0) == Retry(0.5)


@pytest.mark.parametrize("failure", TRANSIENT)
def test_a_client_that_tries_again_by_itself_gets_one_retry_of_the_connection_at_once(failure: Failure) -> None:
    first = decide(failure, client=SDK)
    assert first == (Retry(0.0) if failure is Failure.CONNECT else GiveUp())
    assert decide(failure, client=SDK, tries=2) == GiveUp()


def test_a_503_that_names_a_time_goes_through_to_a_client_that_waits_itself() -> None:
    assert decide(Failure.CONNECT, client=SDK, asked=5.0) == GiveUp()
    assert decide(Failure.CONNECT, asked=5.0) == Retry(5.0)


@pytest.mark.parametrize("failure", TRANSIENT)
def test_a_stream_that_is_open_is_begun_anew_once_for_every_client(failure: Failure) -> None:
    for client in (Client(), SDK):
        assert isinstance(decide(failure, client=client, opened=True), Retry)
        assert decide(failure, client=client, opened=True, tries=2) == GiveUp()


@pytest.mark.parametrize("failure", [*Failure, None])
def test_nothing_is_generated_twice_once_something_was_shown(failure: Failure | None) -> None:
    for extra in ({}, {"spare_key": True}, {"elsewhere": True}, {"client": SDK}):
        assert decide(failure, opened=True, shown=True, **extra) == GiveUp()


def test_an_upstream_that_hung_is_not_asked_again() -> None:
    assert decide(Failure.TIMEOUT, hung=True) == GiveUp()
    assert decide(Failure.TIMEOUT, hung=True, elsewhere=True) == Elsewhere()


def test_without_funds_nothing_is_asked_again_though_elsewhere_is() -> None:
    assert decide(Failure.SERVER, funds=False) == GiveUp()
    assert decide(Failure.RATE_LIMIT, funds=False, spare_key=True) == GiveUp()
    assert decide(Failure.SERVER, funds=False, elsewhere=True) == Elsewhere()


@pytest.mark.parametrize("failure", TRANSIENT)
def test_with_another_target_left_only_the_connection_is_tried_again(failure: Failure) -> None:
    assert decide(failure, elsewhere=True) == (Retry(0.0) if failure is Failure.CONNECT else Elsewhere())
    assert decide(failure, elsewhere=True, tries=2) == Elsewhere()


def test_another_target_takes_over_on_the_classes_that_are_set() -> None:
    assert decide(Failure.QUOTA, elsewhere=True) == Elsewhere()
    assert decide(Failure.OVERFLOW, elsewhere=True) == GiveUp()
    assert decide(Failure.OVERFLOW) == GiveUp()


def test_another_key_is_tried_at_once_where_the_failure_may_be_the_keys() -> None:
    for failure in (Failure.RATE_LIMIT, Failure.QUOTA, Failure.AUTHENTICATION, Failure.BILLING, Failure.PERMISSION):
        assert decide(failure, spare_key=True, client=SDK, tries=2) == Retry(0.0)
        assert decide(failure, spare_key=True, client=SDK, tries=3) == GiveUp()
        assert decide(failure, spare_key=True, opened=True) == Retry(0.0)
        assert decide(failure, spare_key=True, opened=True, tries=2) == GiveUp()
    assert decide(Failure.NOT_FOUND, spare_key=True) == GiveUp()


@pytest.mark.parametrize(
    ("agent", "headers", "name", "retries", "gives_up"),
    [
        ("claude-cli/2.1.0 (external, cli)", {}, "claude-code", True, True),
        ("Cline/3.1", {}, "cline", True, True),
        ("codex_exec/0.60 (Linux)", {}, "codex", True, False),
        ("opencode/1.0 ai-sdk/provider-utils/3", {}, "opencode", True, False),
        ("ai-sdk/openai-compatible/1.0 runtime/bun/1.3.13", {}, "ai-sdk", True, True),
        ("ai-sdk/openai-compatible/1.0 runtime/node.js/22", {}, "ai-sdk", True, True),
        ("Kilo-Code/7.7.7 ai-sdk/provider-utils/4.0.27 runtime/bun/1.3.14", {}, "kilo", True, False),
        ("OpenAI/Python 3.1", {}, "sdk", True, False),
        ("AsyncAnthropic/Python 2.12", {}, "sdk", True, False),
        ("curl/8", {}, "", False, False),
        ("", {"x-stainless-retry-count": "0"}, "sdk", True, False),
        ("python-httpx/1", {"x-stainless-lang": "python"}, "", False, False),
    ],
)
def test_clients_are_known_by_their_headers(
    agent: str, headers: dict[str, str], name: str, retries: bool, gives_up: bool
) -> None:
    found = client_of({"user-agent": agent, **headers})
    assert (found.name, found.retries, found.gives_up) == (name, retries, gives_up)
    assert found.resends is ("runtime/bun/" in agent)


@pytest.mark.parametrize(
    ("error", "breaks"),
    [
        (UpstreamError("lost", broken=True), True),
        (UpstreamError("busy", cause=Cause.OVERLOADED), True),
        (UpstreamError("wrong"), False),
        (UpstreamError("slow down", cause=Cause.RATE_LIMIT), False),
        (ProxyError("ours", cause=Cause.OVERLOADED), False),
    ],
)
def test_a_stream_breaks_off_for_those_who_ask_again_then(error: ProxyError, breaks: bool) -> None:
    assert breaks_off(Client(resends=True), error) is breaks
    assert breaks_off(Client(retries=True), error) is False


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"Retry-After": " 7.5 "}, 7.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Mon, 01 Jan 2024 00:00:30 GMT"}, 30.0),
        ({"retry-after": "Mon, 01 Jan 2023 00:00:00 GMT"}, 0.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9" * 400}, None),
    ],
)
def test_the_time_that_an_answer_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, 1_704_067_200.0) == seconds


def test_at_most_a_tenth_more_than_came_in() -> None:
    budget, sent = Budget(0.1, 10), 0
    for _ in range(10_000):
        budget.came()
        if budget.enough:
            budget.take()
            sent += 1
    assert 1000 < sent <= 10 + 1000


def test_a_long_calm_pays_for_no_storm() -> None:
    budget = Budget(0.1, 10)
    for _ in range(10_000):
        budget.came()
    assert budget.left == 10
    assert not Budget(0.1, 0).enough


@pytest.mark.parametrize(
    ("used", "share", "reserve", "left"),
    [(0, 0.1, 20, 20), (4, 0.1, 20, 16), (10, 0.1, 4, 0), (4, 0.1, 4, 0), (0, 0.5, 4, 4), (0, 0.0, 0, 0)],
)
def test_other_numbers_forgive_nothing_that_was_used(used: int, share: float, reserve: int, left: float) -> None:
    budget = Budget(0.1, 10)
    for _ in range(used):
        budget.take()
    budget.use(share, reserve)
    assert budget.left == left
    budget.came()
    assert budget.left == min(reserve, left + share)
