"""What a connection answers by itself."""

import json

from trimtab.http1_refusals import TWO_LENGTHS, Refused, refusal, told


def test_errors_before_a_path_is_known_are_read_by_every_client() -> None:
    for status in (400, 408, 431, 500, 501, 503):
        found = json.loads(told(status))
        assert found["type"] == "error"
        assert set(found["error"]) == {"type", "message", "param", "code"}


def test_an_answer_is_whole_and_ends_the_connection() -> None:
    head, _, body = refusal(Refused(400, TWO_LENGTHS)).partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 400 Bad Request",
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"connection: close",
    ]
    assert json.loads(body)["error"]["message"] == TWO_LENGTHS
    assert refusal(Refused(400, TWO_LENGTHS), bodiless=True) == head + b"\r\n\r\n"
