"""Which headers pass, both ways: allow-lists, so that nothing passes that nobody thought of."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from random import getrandbits

from trimtab.conversation import DialectName
from trimtab.errors import BadRequest, Cause
from trimtab.models import Upstream

TO_UPSTREAM = frozenset(
    (
        "accept-language",
        "anthropic-beta",
        "anthropic-dangerous-direct-browser-access",
        "anthropic-version",
        "http-referer",
        "idempotency-key",
        "openai-beta",
        "openai-organization",
        "openai-project",
        "originator",
        "session-id",
        "session_id",
        "conversation_id",
        "user-agent",
        "x-app",
        "x-title",
    )
)
TO_UPSTREAM_PREFIXES = ("x-stainless-", "x-claude-", "x-cc-")
VENDORS_OWN = (
    "conversation_id",
    "idempotency-key",
    "openai-organization",
    "openai-project",
    "session-id",
    "session_id",
)
VENDORS_OWN_PREFIXES = ("x-cc-", "x-claude-")
"""What names an account, a session or a request at one vendor: no other one is sent it."""
TO_CLIENT = frozenset(("retry-after", "retry-after-ms", "x-should-retry", "request-id", "openai-processing-ms"))
TO_CLIENT_PREFIXES = ("anthropic-ratelimit-", "anthropic-organization-", "x-ratelimit-")
ANTHROPIC_VERSION = "2023-06-01"

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f]|[^\x00-\xff]")


def incoming(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers of an ASGI scope by lower-case name, a repeated one joined with commas."""
    found: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def request_id(headers: Mapping[str, str]) -> str:
    """The client's `x-request-id` where it is short and harmless, else a new one."""
    # Not secret, and the system's randomness costs a call to it.
    given = headers.get("x-request-id")
    return given if given and _REQUEST_ID.fullmatch(given) else f"req_{getrandbits(96):024x}"


def to_upstream(
    headers: Mapping[str, str],
    upstream: Upstream,
    key: str | None,
    identity: str | None,
    client: DialectName,
    *,
    theirs: bool = True,
    unchanged: bool = True,
) -> dict[str, str]:
    """The headers of a request that goes upstream; `identity` is the request's id, None where ids are switched off.

    `theirs` says whether it goes to the vendor that the client meant, `unchanged` whether it is the first body sent for
    the request, the one that the client's `idempotency-key` may stand for.

    Raises BadRequest (401) for a key that no header can carry.
    """
    passed = {
        name: _as_sent(value)
        for name, value in headers.items()
        if name in TO_UPSTREAM or name.startswith(TO_UPSTREAM_PREFIXES)
    }
    if client != upstream.dialect:
        passed = {name: value for name, value in passed.items() if not name.startswith(("anthropic-", "openai-"))}
    if not theirs:
        passed = {
            name: value
            for name, value in passed.items()
            if name not in VENDORS_OWN and not name.startswith(VENDORS_OWN_PREFIXES)
        }
    if not unchanged:
        passed.pop("idempotency-key", None)
    if upstream.dialect == "messages":
        passed.setdefault("anthropic-version", ANTHROPIC_VERSION)
    passed["content-type"] = "application/json"
    passed["accept"] = _as_sent(headers.get("accept", "application/json"))
    passed["accept-encoding"] = "gzip, deflate"
    if identity is not None:
        passed["x-request-id"] = identity
    if key is not None and _CONTROL.search(key):
        raise BadRequest(
            "the key holds a control character, which no header may carry: check how it was pasted",
            cause=Cause.AUTHENTICATION,
        )
    if key is not None and upstream.auth == "bearer":
        passed["authorization"] = f"Bearer {key}"
    elif key is not None and upstream.auth == "x-api-key":
        passed["x-api-key"] = key
    # Lower case, so that a header of the table takes the place of one of ours instead of standing beside it.
    return {**passed, **{name.lower(): value for name, value in upstream.headers.items()}}


def _as_sent(value: str) -> str:
    """A value without line ends, in the letters that lead back to its bytes: what we send is encoded as UTF-8."""
    value = _CONTROL.sub("?", value)
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def to_client(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an upstream's answer that a client acts on."""
    return {
        name: value
        for raw, value in headers.items()
        if (name := raw.lower()) in TO_CLIENT or name.startswith(TO_CLIENT_PREFIXES)
    }


_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def encode(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI wants them, each name once, in lower case; of two the later one counts.

    What cannot stand in a value is replaced by a question mark, a bad name left out.
    """
    known = {_name(name): str(value) for name, value in headers.items()}
    known.pop(b"", None)
    all_values = "".join(known.values())
    if all_values.isascii() and all_values.isprintable():
        return [(name, value.encode()) for name, value in known.items()]
    return [(name, _UNSAFE.sub("?", value).encode("latin-1")) for name, value in known.items()]


@lru_cache(maxsize=1024)
def _name(name: str) -> bytes:
    """The bytes of a header's name, none for a bad one; there are few names."""
    return name.lower().encode("latin-1") if _NAME.fullmatch(name) else b""
