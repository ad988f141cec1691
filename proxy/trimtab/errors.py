"""What can go wrong, as one tree.

    ProxyError            cause, message, headers; rendered once, at the edge, in the client's dialect
      ConfigError         start only: a setting cannot work
      BadRequest          the client's fault: what it sent cannot be read or served
      Refused             a stage says no
      StageFailed         ours: a stage raised or broke an invariant
        Missing           a stage before it did not do its work
      UpstreamError       theirs: status and body of the upstream pass through
        UpstreamTimeout   theirs: nothing came in time

A message names place, reason and remedy, and never holds a key or a prompt.
"""

from collections.abc import Mapping
from enum import StrEnum

LOST = "provider returned error: connection lost (premature close)"
"""Begins the message of a reply that broke off. In an open stream agents know by words whether trying again may help:
Cline by `provider returned error`, pi by `connection lost`, Continue by `premature close` (read in their sources)."""
TIMED_OUT = "provider returned error: timed out (aborted)"
"""The same for silence: pi knows `timed out`, Continue `aborted`."""


class Cause(StrEnum):
    """Why a request failed, in words of no dialect; each dialect has its own status and type for it."""

    MALFORMED = "malformed"
    AUTHENTICATION = "authentication"
    BILLING = "billing"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    METHOD = "method"
    WEBSOCKET = "websocket"
    TOO_LARGE = "too_large"
    HEADERS = "headers"
    SLOW = "slow"
    HOST = "host"
    BUSY = "busy"
    OVERFLOW = "overflow"
    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    OVERLOADED = "overloaded"
    UPSTREAM = "upstream"
    TIMEOUT = "timeout"
    UNSUPPORTED = "unsupported"
    INTERNAL = "internal"


class ProxyError(Exception):
    """A failure the client is told about; `headers` go into the answer as they are, `code` takes the place of OpenAI's
    word for the cause."""

    def __init__(
        self,
        message: str,
        *,
        cause: Cause = Cause.INTERNAL,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause
        self.param = param
        self.headers = dict(headers or {})
        self.code = code


class ConfigError(ProxyError):
    """One or more settings cannot work; `problems` lists them all, each with place, reason and remedy."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class BadRequest(ProxyError):
    """What the client sent cannot be read or served."""

    def __init__(
        self,
        message: str,
        *,
        cause: Cause = Cause.MALFORMED,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message, cause=cause, param=param, headers=headers, code=code)


class Refused(ProxyError):
    """A stage says no: a missing key, a limit reached."""

    def __init__(
        self,
        message: str,
        *,
        cause: Cause = Cause.PERMISSION,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, cause=cause, param=param, headers=headers)


class StageFailed(ProxyError):
    """A stage raised or broke an invariant of the conversation."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(f"stage '{stage}' failed: {reason}", cause=Cause.INTERNAL)
        self.stage = stage
        self.reason = reason


class Missing(StageFailed):
    """A stage lacks a fact, since the one that provides it was undone or left out: not its own failure."""


class UpstreamError(ProxyError):
    """The upstream refused or broke off; `status` and `body` are its own where it gave them."""

    def __init__(
        self,
        message: str,
        *,
        cause: Cause = Cause.UPSTREAM,
        status: int | None = None,
        body: bytes | None = None,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
        own: bool = False,
        unreached: bool = False,
        broken: bool = False,
    ) -> None:
        super().__init__(message, cause=cause, headers=headers)
        self.broken = broken
        """Whether an answer that had begun broke off: its connection was lost, or its last events are missing."""
        self.own = own
        """Whether the message is in our words alone, fit for the log."""
        self.unreached = unreached
        """Whether the connection failed before any answer: refused, reset, no name, TLS, too long to open."""
        self.status = status
        self.body = body
        self.content_type = content_type


class UpstreamTimeout(UpstreamError):
    """The upstream did not connect, answer or go on in time."""

    def __init__(self, message: str, *, unreached: bool = False, began: bool = False) -> None:
        super().__init__(message, cause=Cause.TIMEOUT, own=True, unreached=unreached)
        self.began = began
        """Whether an answer had begun."""


class ForeignValue(ValueError):
    """A value in a store that no store of ours wrote: a pickle, or no bytes."""
