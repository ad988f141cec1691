"""Overflows in the words clients act on."""

import pytest

from trimtab.conversation import DialectName
from trimtab.errors import Cause, Refused, UpstreamError
from trimtab.exchange import Exchange
from trimtab.facts import TokenCount
from trimtab.overflow import completion, numbers, told, words
from trimtab.testing import StageBench

CHAT = (
    "This model's maximum context length is 200000 tokens. However, your messages resulted in 213462 tokens. "
    "Please reduce the length of the messages."
)


def exchange(dialect: str = "messages") -> Exchange:
    body = {"model": "small", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
    return StageBench().exchange(body, dialect=dialect)


def overflow(body: bytes | None, message: str = "upstream 'x' answered 400") -> UpstreamError:
    return UpstreamError(message, cause=Cause.OVERFLOW, status=400, body=body)


def test_a_number_without_end_is_none() -> None:
    # int() refuses 5,000 digits; a search from each of 300,000 would take minutes.
    for digits in ("9" * 5_000, "9" * 300_000):
        assert numbers(f"prompt is too long: {digits} tokens > {digits} maximum") is None
        assert completion(f"{digits} in the completion") == 0


@pytest.mark.parametrize(
    "text",
    [
        "prompt is too long: 213462 tokens > 200000 maximum",
        '{"error":{"message":"request (213462 tokens) exceeds the available context size (200000 tokens), try"}}',
        CHAT,
    ],
)
def test_the_upstreams_numbers_are_found(text: str) -> None:
    assert numbers(text) == (213462, 200000)


@pytest.mark.parametrize(
    ("dialect", "text"), [("messages", "prompt is too long: 213462 tokens > 200000 maximum"), ("chat", CHAT)]
)
def test_the_words_are_the_ones_clients_know(dialect: DialectName, text: str) -> None:
    error = overflow(b'{"error":{"message":"prompt is too long: 213462 tokens > 200000 maximum"}}')
    assert told(exchange(dialect), error).message == text
    assert error.param == "messages"


def test_without_numbers_our_count_and_window_stand_in() -> None:
    asked = exchange()
    asked.put(TokenCount(total=12_345))
    code = b'{"error":{"code":"1261","message":"Prompt exceeds max length"}}'
    assert told(asked, overflow(code)).message == "prompt is too long: 12345 tokens > 10000 maximum"
    asked.put(TokenCount(total=9_000))
    assert told(asked, overflow(code)).message == "prompt is too long: 10001 tokens > 10000 maximum"


def test_an_overflow_told_in_a_stream_is_read_from_its_message() -> None:
    error = overflow(None, "prompt is too long: 7 tokens > 5 maximum")
    assert told(exchange("chat"), error).message == words("chat", 7, 5)


def test_nothing_known_still_says_what_it_is() -> None:
    assert "prompt is too long" in told(exchange(), overflow(b"")).message


def test_other_failures_stay_as_they_are() -> None:
    for error in (Refused("no"), UpstreamError("busy", cause=Cause.OVERLOADED), Refused("big", cause=Cause.OVERFLOW)):
        message = error.message
        assert told(exchange(), error).message == message


@pytest.mark.parametrize(
    "text",
    [
        "Prompt exceeds max length",
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (11 in the messages, "
        "4989 in the completion).",
        "prompt is too long: 4096 tokens > 1 maximum",
    ],
)
def test_a_prompt_far_below_the_window_is_an_invalid_request_in_the_upstreams_words(text: str) -> None:
    asked = exchange()
    asked.put(TokenCount(total=11))
    error = told(asked, overflow(text.encode()))
    assert (error.cause, error.message) == (Cause.MALFORMED, "upstream 'x' answered 400")
    asked.put(TokenCount(total=900))
    assert told(asked, overflow(text.encode())).cause is Cause.OVERFLOW
