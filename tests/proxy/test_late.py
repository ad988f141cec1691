"""What an upstream tells of an overflow, in each of its forms."""

import pytest

from trimtab.dialects import DIALECTS
from trimtab.errors import BadRequest, Cause, UpstreamError
from trimtab.facts import Overflowed
from trimtab.late import check, told

BODY = (
    b'{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":%s},"finish_reason":"%s"}],"usage":{"prompt_tokens":3,"completion_tokens":0,"total_tokens":3}}'
)


def test_numbers_are_read_where_there_are_any() -> None:
    text = b'{"error":{"message":"prompt is too long: 9000 tokens > 6000 maximum"}}'
    assert told(UpstreamError("x", cause=Cause.OVERFLOW, body=text)) == Overflowed(used=9000, limit=6000)
    assert told(UpstreamError("Prompt exceeds max length", cause=Cause.OVERFLOW)) == Overflowed()


@pytest.mark.parametrize("error", [UpstreamError("x", cause=Cause.RATE_LIMIT), BadRequest("x", cause=Cause.OVERFLOW)])
def test_other_errors_are_none(error: UpstreamError | BadRequest) -> None:
    assert told(error) is None


def test_an_empty_end_for_want_of_room_is_an_overflow() -> None:
    with pytest.raises(UpstreamError, match="too long for the model") as caught:
        check(BODY % (b'""', b"model_context_window_exceeded"), DIALECTS["chat"])
    assert caught.value.cause is Cause.OVERFLOW


@pytest.mark.parametrize(
    "body",
    [
        BODY % (b'"some words"', b"model_context_window_exceeded"),
        BODY % (b'""', b"stop"),
        BODY % (b'"model_context_window_exceeded"', b"stop"),
    ],
)
def test_an_answer_that_says_something_or_ends_otherwise_passes(body: bytes) -> None:
    check(body, DIALECTS["chat"])


def test_the_completion_is_not_part_of_the_prompt() -> None:
    text = (
        b"This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (11 in the messages, "
        b"4989 in the completion). Please reduce the length."
    )
    assert told(UpstreamError("x", cause=Cause.OVERFLOW, body=text)) == Overflowed(used=11, limit=4096)
