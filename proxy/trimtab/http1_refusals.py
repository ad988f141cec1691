"""What an HTTP/1.1 connection answers by itself, before a path is known."""

import json

from trimtab.http1_turn import STATUS_LINES

WORDS = {
    400: "this is no HTTP/1.1 request",
    408: "the head of the request did not come in time: send it at once, or raise serve.head-timeout",
    431: "the headers are larger than serve.max-header-kb allows: send less, or raise it",
    500: "the proxy failed on this request; its log says why",
    501: "this transfer-encoding is not known here: send the body as it is, or chunked",
    503: "too many requests wait on this connection for the answers before them: read those first",
}
TWO_LENGTHS = "the head gives both content-length and transfer-encoding: send one of them"
"""Who stands before us may have read the other one (RFC 9112 6.3)."""
CUT_SHORT = "the body ended before it was whole: send as much as content-length says, or the last chunk"
NO_METHOD = "this method is not known here: models are asked with POST, in capital letters"
"""RFC 9110 9.1."""
ONE_HOST = "the head must name one host"
"""RFC 9112 3.2."""


class Refused(Exception):
    """A request that cannot be served; what stands behind it on its connection cannot be read."""

    def __init__(self, status: int, words: str | None = None) -> None:
        super().__init__(status)
        self.status, self.words = status, words


def told(status: int, words: str | None = None) -> bytes:
    """The body of an error that clients of every dialect can read."""
    error = {
        "type": "invalid_request_error",
        "message": words or WORDS.get(status, WORDS[400]),
        "param": None,
        "code": None,
    }
    return json.dumps({"type": "error", "error": error}).encode()


def refusal(refused: Refused, *, bodiless: bool = False) -> bytes:
    """The whole answer; `bodiless` leaves its body out, for a HEAD request."""
    body = told(refused.status, refused.words)
    line = STATUS_LINES[refused.status]
    head = b"%b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (line, len(body)) + (b"" if bodiless else body)
