"""Failures in the words of each dialect (protocol.md 2.7 as data), and an upstream's words back into causes."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from trimtab.dialects import edits
from trimtab.dialects.codes import ZAI, Code
from trimtab.dialects.edits import Path
from trimtab.errors import Cause, ProxyError, UpstreamError


class Problem(NamedTuple):
    """How a cause looks: status and type for messages; status, type and code for chat; whether to try again."""

    messages_status: int
    messages_type: str
    chat_status: int
    chat_type: str
    chat_code: str | None
    retry: bool = False


PROBLEMS = {
    Cause.MALFORMED: Problem(400, "invalid_request_error", 400, "invalid_request_error", None),
    Cause.AUTHENTICATION: Problem(401, "authentication_error", 401, "invalid_request_error", "invalid_api_key"),
    Cause.BILLING: Problem(402, "billing_error", 429, "insufficient_quota", "insufficient_quota"),
    Cause.PERMISSION: Problem(403, "permission_error", 403, "invalid_request_error", "model_not_allowed"),
    Cause.NOT_FOUND: Problem(404, "not_found_error", 404, "invalid_request_error", "model_not_found"),
    Cause.METHOD: Problem(405, "invalid_request_error", 405, "invalid_request_error", "method_not_allowed"),
    # The status on which Codex goes on over HTTP.
    Cause.WEBSOCKET: Problem(426, "invalid_request_error", 426, "invalid_request_error", "no_websockets"),
    Cause.TOO_LARGE: Problem(413, "request_too_large", 413, "invalid_request_error", "request_too_large"),
    Cause.HEADERS: Problem(431, "invalid_request_error", 431, "invalid_request_error", "headers_too_large"),
    Cause.SLOW: Problem(408, "timeout_error", 408, "invalid_request_error", "request_timeout", retry=True),
    Cause.HOST: Problem(421, "invalid_request_error", 421, "invalid_request_error", "wrong_host"),
    # The proxy itself has no room, or is going: another moment, or another one, may serve.
    Cause.BUSY: Problem(503, "overloaded_error", 503, "server_error", "server_overloaded", retry=True),
    Cause.OVERFLOW: Problem(400, "invalid_request_error", 400, "invalid_request_error", "context_length_exceeded"),
    Cause.RATE_LIMIT: Problem(429, "rate_limit_error", 429, "rate_limit_error", "rate_limit_exceeded", retry=True),
    # A quota comes back in hours: a client that retries at once only burns its attempts.
    Cause.QUOTA: Problem(429, "rate_limit_error", 429, "insufficient_quota", "insufficient_quota"),
    Cause.OVERLOADED: Problem(529, "overloaded_error", 503, "server_error", "server_overloaded", retry=True),
    Cause.UPSTREAM: Problem(500, "api_error", 502, "server_error", "upstream_error", retry=True),
    Cause.TIMEOUT: Problem(504, "timeout_error", 504, "server_error", "timeout", retry=True),
    Cause.UNSUPPORTED: Problem(501, "api_error", 501, "invalid_request_error", "unsupported"),
    # A stage that fails does so again for the same request.
    Cause.INTERNAL: Problem(500, "api_error", 500, "server_error", "internal_error"),
}

_CAUSES = {
    "authentication_error": Cause.AUTHENTICATION,
    "invalid_api_key": Cause.AUTHENTICATION,
    "billing_error": Cause.BILLING,
    "permission_error": Cause.PERMISSION,
    "model_not_allowed": Cause.PERMISSION,
    "not_found_error": Cause.NOT_FOUND,
    "model_not_found": Cause.NOT_FOUND,
    "request_too_large": Cause.TOO_LARGE,
    "context_length_exceeded": Cause.OVERFLOW,
    "exceed_context_size_error": Cause.OVERFLOW,
    "model_context_window_exceeded": Cause.OVERFLOW,
    "rate_limit_error": Cause.RATE_LIMIT,
    "rate_limit_exceeded": Cause.RATE_LIMIT,
    "insufficient_quota": Cause.QUOTA,
    "overloaded_error": Cause.OVERLOADED,
    "server_overloaded": Cause.OVERLOADED,
    "timeout_error": Cause.TIMEOUT,
    "timeout": Cause.TIMEOUT,
    # Last, for a type says less than a code.
    "invalid_request_error": Cause.MALFORMED,
    "api_error": Cause.UPSTREAM,
    "server_error": Cause.UPSTREAM,
}

_OVERFLOWS = (
    "prompt is too long",
    "prompt exceeds max length",
    "maximum context length",
    "more than max tokens allowed",
)
_KEY = re.compile(r"\b(?:sk-[\w*.-]{4,}|[0-9a-f]{32}\.\w{8,})|(?<=Bearer )[\w.~+/=-]{8,}")
_SHOWN = 2000

WAIT = "5"
"""Seconds to wait where an upstream that was asked too often names none."""


class Complaint(NamedTuple):
    """What an upstream says went wrong."""

    message: str
    cause: Cause
    native: str


def complaint(error: Any) -> Complaint:
    """Read the `error` member of an upstream's answer, of whatever form."""
    if not isinstance(error, dict):
        return Complaint(hide(str(error))[:_SHOWN], Cause.UPSTREAM, "")
    message = next((text for name in ("message", "msg", "detail") if isinstance(text := error.get(name), str)), "")
    words = [str(error[name]) for name in ("code", "type") if isinstance(error.get(name), str | int)]
    cause = next((_meaning(word) for word in words if word in ZAI or word in _CAUSES), Cause.UPSTREAM)
    if any(text in message.lower() for text in _OVERFLOWS):
        cause = Cause.OVERFLOW
    native = words[0] if words else ""
    return Complaint(hide(message or native or "the upstream gave no reason")[:_SHOWN], cause, native)


def _meaning(word: str) -> Cause:
    return ZAI[word].cause if word in ZAI else _CAUSES[word]


def native_of(body: bytes | None) -> str:
    """The upstream's own code in an error body; empty where there is none."""
    found = _json(body or b"")
    error = found.get("error", found) if isinstance(found, dict) else None
    return str(error.get("code") or "") if isinstance(error, dict) else ""


def code_of(body: bytes | None) -> Code | None:
    """What z.ai's code in an error body means, None where there is none that we know."""
    return ZAI.get(native_of(body))


def complaint_of(body: bytes) -> str:
    """What an error body says, in its own words; empty where it is none."""
    found = _json(body)
    return complaint(found.get("error", found)).message if isinstance(found, dict) else ""


def cause_of(body: bytes) -> Cause | None:
    """The cause that an upstream's error body names by its own words, None where it names none."""
    found = _json(body)
    if not isinstance(found, dict):
        return None
    error = found.get("error", found)
    named = complaint(error)
    known = named.cause is not Cause.UPSTREAM or (isinstance(error, dict) and str(error.get("type")) in _CAUSES)
    known = known or named.native in ZAI
    return named.cause if known else None


def hide(text: str) -> str:
    """Text without what looks like a key: some upstreams quote the one they refuse."""
    return _KEY.sub("***", text)


def message(error: ProxyError) -> str:
    """What the client reads: our own words, or the upstream's inside them."""
    if error.cause is Cause.RATE_LIMIT and isinstance(error, UpstreamError):
        return _timed(_message(error), wait_of(error))
    return _message(error)


def _timed(text: str, wait: str) -> str:
    """A refusal with the time to wait in it: some clients read that and no header."""
    return text if not wait or "try again in" in text.lower() else f"{text.rstrip('. ')}. Please try again in {wait}s."


def wait_of(error: ProxyError) -> str:
    """Whole seconds that a client should wait when it came too often; empty where the upstream says it otherwise."""
    given = error.headers.get("retry-after", WAIT)
    return given if given.isdecimal() else ""


def _message(error: ProxyError) -> str:
    if not isinstance(error, UpstreamError) or error.body is None or error.cause is Cause.OVERFLOW:
        return hide(error.message)
    found = _json(error.body)
    if not isinstance(found, dict):
        kind = (error.content_type or "no content type").partition(";")[0]
        return f"the upstream answered {error.status} with {kind}"
    theirs = complaint(found.get("error", found))
    # z.ai's numbers say more than their texts; shorter ones only repeat the status.
    code = f" (upstream code {theirs.native})" if theirs.native.isdecimal() and len(theirs.native) > 3 else ""
    return theirs.message + code


def retried(error: ProxyError) -> dict[str, str]:
    """The headers of an error answer that no dialect owns."""
    code = code_of(error.body) if isinstance(error, UpstreamError) else None
    again = "true" if (PROBLEMS[error.cause] if code is None else code).retry else "false"
    told = {"content-type": "application/json", **error.headers}
    # Claude Code reads a key that is refused anew and asks again, unless it is told not to (seen with tools/agents).
    if not (isinstance(error, UpstreamError) and error.cause is Cause.AUTHENTICATION and code is None):
        told.setdefault("x-should-retry", again)
    if error.cause is Cause.RATE_LIMIT and not told.keys() & {"retry-after", "retry-after-ms"}:
        told["retry-after"] = WAIT
    return told


def own_form(error: ProxyError, outer: bool) -> bytes | None:
    """The upstream's body where it has the dialect's own shape, keys hidden; `outer` asks for `"type":"error"`.

    An overflow is always told in our words, since clients act on their exact text; and so is what z.ai tells by a code
    beside a type that says something else.
    """
    if not isinstance(error, UpstreamError) or error.body is None or error.status is None:
        return None
    found = _json(error.body)
    if error.cause is Cause.OVERFLOW or not isinstance(found, dict) or (found.get("type") == "error") is not outer:
        return None
    inner = found.get("error")
    code, table = code_of(error.body), PROBLEMS[error.cause]
    if (
        code is not None
        and isinstance(inner, dict)
        and inner.get("type") != (table.messages_type if outer else table.chat_type)
    ):
        return None
    shaped = isinstance(inner, dict) and isinstance(inner.get("message"), str) and isinstance(inner.get("type"), str)
    return hide(error.body.decode()).encode() if shaped else None


def completed(body: bytes, members: Mapping[Path, Any]) -> bytes:
    """An upstream's error body with those members that it lacks."""
    found = _json(body)
    lacking = {path: value for path, value in members.items() if path[-1] not in (edits.at(found, path[:-1]) or {})}
    try:
        return (
            edits.edit(body, {path: msgspec.json.encode(value) for path, value in lacking.items()}) if lacking else body
        )
    except edits.Misfit:
        return body


def own_status(error: ProxyError) -> int | None:
    """The upstream's status where it is one of an error; z.ai's codes say more than its statuses."""
    status = getattr(error, "status", None)
    if code_of(getattr(error, "body", None)) is not None:
        return None
    return status if isinstance(status, int) and 400 <= status <= 599 else None


def one_line(body: bytes) -> bytes:
    """JSON without white space between its tokens, fit for one data line."""
    return msgspec.json.format(body, indent=-1)


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def no_reply(body: bytes) -> UpstreamError:
    """The failure behind a body that should be a reply: the error it tells, or that it is none."""
    found = _json(body)
    if isinstance(found, dict) and found.get("error") is not None:
        told = complaint(found["error"])
        return UpstreamError(told.message, cause=told.cause)
    return UpstreamError("the upstream's answer is no reply of its dialect")
