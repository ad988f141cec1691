"""What goes to an upstream, and what its refusals mean."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import msgspec

from trimtab import headers, strict
from trimtab.conversation import Image
from trimtab.dialects.codes import BAD_PARAMETER, reset_in
from trimtab.dialects.problems import cause_of, code_of, complaint_of, native_of
from trimtab.endpoints import endpoint, host
from trimtab.errors import Cause, Refused, UpstreamError
from trimtab.exchange import Exchange, Operation
from trimtab.facts import Credentials
from trimtab.models import Target, Upstream
from trimtab.splice import scan, splice
from trimtab.translate import gone, translate
from trimtab.upstream import Call, Response

if TYPE_CHECKING:
    from trimtab.runtime import Runtime

_ERROR_BODY = 4 * 1024 * 1024
"""Bytes of a refusal that are read at most."""

SHORTEST_KEY = 8
"""Characters from which a header's value is taken for a key; a shorter one may be any word."""

_CAUSES: Mapping[int, Cause] = {
    400: Cause.MALFORMED,
    401: Cause.AUTHENTICATION,
    402: Cause.BILLING,
    403: Cause.PERMISSION,
    404: Cause.NOT_FOUND,
    405: Cause.METHOD,
    408: Cause.TIMEOUT,
    413: Cause.TOO_LARGE,
    422: Cause.MALFORMED,
    429: Cause.RATE_LIMIT,
    501: Cause.UNSUPPORTED,
    503: Cause.OVERLOADED,
    504: Cause.TIMEOUT,
    529: Cause.OVERLOADED,
}


def call_for(
    runtime: "Runtime",
    exchange: Exchange,
    target: Target,
    operation: Operation = "generate",
    *,
    keyed: tuple[str | None] | None = None,
) -> Call:
    """The HTTP request that carries an exchange to its target, in its dialect; books what was dropped.

    `keyed` is the key to send, or that there is none; None takes the first that may be sent.
    """
    query = exchange.incoming.query if target.dialect == exchange.dialect else ""
    translated = translate(exchange.conversation, target)
    for name in translated.dropped:
        exchange.drop(name)
    if runtime.config.core.strict:
        strict.check(exchange.dropped, {*translated.tools, *gone(exchange.conversation, target.dialect)})
    exchange.stop_words, exchange.told_schema = translated.stop_words, translated.told_schema
    exchange.sent = translated.body
    if operation == exchange.operation and exchange.first_sent is None:
        exchange.first_sent = translated.body
    return compose(runtime, exchange, target, translated.body, operation, query, keyed)


def relieved(exchange: Exchange, target: Target, call: Call, error: UpstreamError) -> Call | None:
    """The call once more without its limit of output, which z.ai's vision models refuse (protocol.md P23).

    None where that is not what the upstream refused; the next refusal stands.
    """
    if not (native_of(error.body) == BAD_PARAMETER and target.model.images and exchange.conversation.has(Image)):
        return None
    scanned = scan(call.body, ())
    limits = [name for name in ("max_tokens", "max_completion_tokens") if name in scanned.members]
    if not limits:
        return None
    for name in limits:
        exchange.drop(name)
    body = splice(scanned, dict.fromkeys(limits), {})
    exchange.sent = body
    # The key of the client's request stood for the first body.
    kept = {name: value for name, value in call.headers.items() if name != "idempotency-key"}
    return msgspec.structs.replace(call, body=body, headers=kept)


def compose(
    runtime: "Runtime",
    exchange: Exchange,
    target: Target,
    body: bytes,
    operation: Operation = "generate",
    query: str = "",
    keyed: tuple[str | None] | None = None,
) -> Call:
    """An HTTP request to a target with the exchange's key, or the one given, and its identity.

    The client's query and what names its account or session stay with the vendor that its request is for, and its
    `idempotency-key` with the first body.
    """
    upstream = target.upstream
    (key,) = keyed or keys(exchange, upstream)[:1]
    theirs = host(upstream.base_url) == vendor(exchange)
    query = query if theirs else ""
    unchanged = operation == exchange.operation and body == exchange.first_sent
    url = endpoint(upstream.base_url, upstream.dialect, operation)
    identity = exchange.id if runtime.config.serve.request_id else None
    return Call(
        url=f"{url}{'&' if '?' in url else '?'}{query}" if query else url,
        headers=headers.to_upstream(
            exchange.incoming.headers, upstream, key, identity, exchange.dialect, theirs=theirs, unchanged=unchanged
        ),
        body=body,
        connect_timeout=upstream.connect_timeout,
        name=upstream.name,
        private=frozenset(name.lower() for name in upstream.headers),
    )


def keys(exchange: Exchange, upstream: Upstream) -> tuple[str | None, ...]:
    """The keys for an upstream, at least one: what auth decided; without auth the client's own, or the upstream's.

    A key belongs to one vendor: it goes to the host that the request is for first, and to no other by way of a fallback
    or of `ask`; that needs keys of its own. Raises Refused (403) when none may be sent.
    """
    credentials, own = exchange.get(Credentials) or _without_auth(exchange), pool(upstream)
    theirs = host(upstream.base_url) == vendor(exchange)
    if credentials.lent:
        if own or theirs or credentials.key is None:
            return own or (credentials.key,)
    elif credentials.key is None or (theirs and upstream.takes_client_keys):
        return (credentials.key,)
    elif credentials.lendable and own:
        return own
    if upstream.auth == "none":
        return (None,)
    told = f"the key of this request is not sent to upstream '{upstream.name}': give that one a `key` of its own"
    raise Refused(f"{told}, or set `forwarding = true`" if theirs else told)


def vendor(exchange: Exchange) -> str:
    """The host that a request is for: that of its first target."""
    if not exchange.vendor:
        exchange.vendor = host(exchange.target.upstream.base_url)
    return exchange.vendor


def has_key(exchange: Exchange, upstream: Upstream) -> bool:
    """Whether there is a key that may be sent to an upstream, or the request has none; else it is no fallback."""
    try:
        return bool(keys(exchange, upstream))
    except Refused:
        return False


def _without_auth(exchange: Exchange) -> Credentials:
    own = client_key(exchange.incoming.headers)
    return Credentials(key=own, lent=own is None, lendable=True)


def pool(upstream: Upstream) -> tuple[str, ...]:
    """The server's own keys for an upstream, each once."""
    return tuple(dict.fromkeys(key for key in (upstream.key, *upstream.keys) if key))


def client_name(exchange: Exchange) -> str:
    """Whom a request is counted to, where clients take turns: its key's id, else its address."""
    credentials = exchange.get(Credentials)
    return exchange.incoming.peer if credentials is None else credentials.client


def client_key(fields: Mapping[str, str]) -> str | None:
    """The key that a client presents, in either of the two usual headers."""
    scheme, _, token = fields.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return fields.get("x-api-key") or None


def _cause(status: int, body: bytes) -> Cause:
    """What the body names (an overflow, a quota) says more than the status, unless it only names whose fault it is."""
    code = code_of(body)
    if code is not None:
        return code.cause
    named = cause_of(body)
    if named is None or named in (Cause.MALFORMED, Cause.UPSTREAM):
        return _CAUSES.get(status, Cause.UPSTREAM)
    return named


def without_keys(body: bytes, call: Call) -> bytes:
    """An upstream's words without the keys that it was sent; some quote the one they refuse."""
    for name, value in call.headers.items():
        if name in ("authorization", "x-api-key") or name in call.private:
            for part in (value, value.partition(" ")[2]):
                if len(part) >= SHORTEST_KEY:
                    body = body.replace(part.encode(), b"***")
    return body


async def refusal(call: Call, response: Response) -> UpstreamError:
    """The error for an answer with a status of 300 or more, its body kept."""
    status = response.status
    try:
        body = await response.read(_ERROR_BODY)
    except UpstreamError:
        # The status says enough, and more than that its explanation broke off.
        body = b""
    body = without_keys(body, call)
    return UpstreamError(
        f"upstream '{call.name}' answered {status}",
        cause=_cause(status, body),
        status=status,
        body=body,
        content_type=response.content_type,
        headers=_waits(_cause(status, body), body, response),
    )


def _waits(cause: Cause, body: bytes, response: Response) -> dict[str, str]:
    """The headers for the client, with the time at which a quota is reset where only the text names it."""
    told = headers.to_client(response.headers)
    if cause is Cause.QUOTA and not told.keys() & {"retry-after", "retry-after-ms"}:
        seconds = reset_in(complaint_of(body), _now(response))
        if seconds is not None:
            told["retry-after"] = str(seconds)
    return told


def _now(response: Response) -> datetime:
    """The upstream's own time, which its texts mean."""
    try:
        return parsedate_to_datetime(response.headers.get("date", ""))
    except ValueError:
        return datetime.now(UTC)
