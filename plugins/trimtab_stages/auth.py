"""Who may use the proxy, and which key goes upstream. It never fails open: what no rule allows is refused."""

import hmac
import os
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from loguru import logger

from trimtab.api import (
    Cause,
    ConfigError,
    Credentials,
    Exchange,
    Incoming,
    Rates,
    Refused,
    Reply,
    Services,
    Stage,
    StageOptions,
    hookimpl,
    replace,
)
from trimtab_stages.auth_client import Client, by_digest, check
from trimtab_stages.auth_key import own_key

PROXIED = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "forwarded",
    "x-real-ip",
    "via",
    "cf-connecting-ip",
)
"""Headers of a reverse proxy; behind one everybody seems to come from this machine."""
HOW = "send it as `Authorization: Bearer ...` or `x-api-key`"


class AuthOptions(StageOptions, frozen=True, kw_only=True):
    """Options of auth; their text shows which keys are set, never a key."""

    server_key: str | None = None
    """The key the proxy has for its upstreams."""
    forward_client_key: bool = True
    """Whether a client's own upstream key is passed on."""
    client_keys: tuple[str, ...] = ()
    """Keys that clients must present to the proxy itself."""
    clients: Mapping[str, Client] = {}
    """Clients by name, each with its key and what it may do."""
    open: bool = False
    """Whether the server key is lent to everybody who can reach the proxy."""
    per_minute: int = 0
    """Model requests a client may make in any minute; 0 is no limit."""
    max_streams: int = 0
    """Model requests of a client under way at the same time; 0 is no limit."""

    def __post_init__(self) -> None:
        if min(self.per_minute, self.max_streams) < 0:
            raise ValueError("per-minute and max-streams must be 0 (no limit) or more")
        if not all(key.strip() for key in self.client_keys):
            raise ValueError("client-keys holds an empty key: delete it")
        by_digest(self.clients)

    def __repr__(self) -> str:
        return (
            f"AuthOptions(server_key={'set' if self.server_key else 'none'}, "
            f"forward_client_key={self.forward_client_key}, client_keys={len(self.client_keys)}, "
            f"clients={len(self.clients)}, "
            f"open={self.open}, per_minute={self.per_minute}, max_streams={self.max_streams})"
        )


class Auth(Stage[AuthOptions]):
    """Checks the client's key and puts the Credentials."""

    name = "auth"
    Options = AuthOptions
    provides = frozenset({Credentials})
    once = True
    operations = frozenset({"generate", "count", "inspect"})

    def __init__(self, options: AuthOptions, label: str | None = None) -> None:
        # Client keys stay here as hashes only: what is not kept cannot leak.
        server_key = (options.server_key or "").strip() or None
        super().__init__(replace(options, client_keys=(), clients={}, server_key=server_key), label)
        self._named = by_digest(options.clients)
        self._hashes = (*(_digest(key.strip()) for key in options.client_keys), *self._named)
        self._lends = server_key is not None
        self._replaces = False
        self._help = f"this proxy wants one of its client keys (auth.client-keys): {HOW}"
        self._rates: Rates | None = None
        self._workers = 1
        self._under_way: Counter[str] = Counter()
        self._places: dict[Exchange, str] = {}

    @hookimpl
    async def start(self, services: Services) -> None:
        """Check that a key can be had at all; make a client key where strangers could use the server's."""
        options = self.options
        self._lends = self._lends or any(row.key or row.keys for row in services.models.upstreams.values())
        self._replaces = any(
            (row.key or row.keys) and not row.takes_client_keys for row in services.models.upstreams.values()
        )
        if not self._lends and not options.forward_client_key:
            raise ConfigError(
                "auth.forward-client-key is false and there is no server key: set auth.server-key (SERVER_API_KEY), "
                "or `key` in the table of an upstream"
            )
        if options.open and self._hashes:
            logger.warning("auth.open has no effect beside auth.client-keys: delete one of them")
        self._rates, self._workers = services.rates, services.workers
        if self._lends and not (services.loopback or self._hashes or options.open or services.dry):
            self._guard(services.directory)

    def _guard(self, directory: str) -> None:
        path = os.path.join(directory, "client-key")
        self._hashes = (_digest(own_key(path)),)
        self._help = (
            f"this proxy wants its client key, kept in {path} on the machine it runs on: {HOW}; "
            "`auth.open = true` lends the server key to everybody instead"
        )

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        """Put the Credentials, or refuse."""
        incoming = exchange.incoming
        keys = presented(incoming.headers)
        own = _upstream_key(incoming.headers) if self.options.forward_client_key else None
        found = self._member(keys, own) if self._hashes else self._guest(keys, own, incoming)
        # First of all, so that the log names who is refused below.
        exchange.put(found)
        rule = self._rule(keys)
        if rule is not None:
            check(rule, exchange)
        if exchange.operation == "generate":
            limits = (None, None) if rule is None else (rule.max_streams, rule.per_minute)
            self._take_place(exchange, found.client, _or(limits[0], self.options.max_streams))
            await self._count(found.client, _or(limits[1], self.options.per_minute))
        return None

    def _rule(self, keys: list[str]) -> Client | None:
        """What the named client may do that shows one of these keys, which were found to be client keys before."""
        if not self._named:
            return None
        return next((self._named[digest][1] for key in keys if (digest := _digest(key)) in self._named), None)

    def _name(self, key: str) -> str:
        named = self._named.get(_digest(key)) if self._named else None
        return client_id(key) if named is None else named[0]

    @hookimpl
    def done(self, exchange: Exchange) -> None:
        """Free the place of a model request."""
        client = self._places.pop(exchange, None)
        if client is not None:
            self._under_way[client] -= 1
            if not self._under_way[client]:
                del self._under_way[client]

    def _take_place(self, exchange: Exchange, client: str, limit: int) -> None:
        """Raise Refused (429) for a client that has as many requests under way as it may."""
        if not limit or exchange in self._places:
            return
        if self._under_way[client] >= max(1, limit // self._workers):
            text = f"{limit} requests of this client are under way (auth.max-streams): wait until one ends"
            raise Refused(text, cause=Cause.RATE_LIMIT, headers={"retry-after": "5"})
        self._under_way[client] += 1
        self._places[exchange] = client

    async def _count(self, client: str, limit: int) -> None:
        """Raise Refused (429), with the seconds to wait, for a client whose minute is full."""
        if limit and self._rates is not None and (wait := await self._rates.enter(client, limit)):
            text = f"rate limit: {limit} requests per minute; try again in {wait}s"
            raise Refused(text, cause=Cause.RATE_LIMIT, headers={"retry-after": str(wait)})

    def _member(self, keys: list[str], own: str | None) -> Credentials:
        """With client keys set: one must be presented; it stays here."""
        known = [key for key in keys if self._known(key)]
        if not known:
            raise _unauthorized(self._help)
        if own is not None and not self._known(own):
            return Credentials(key=own, client=self._name(known[0]), lendable=True)
        return Credentials(key=self.options.server_key, client=self._name(known[0]), lent=True, lendable=True)

    def _known(self, key: str) -> bool:
        digest, found = _digest(key), False
        for kept in self._hashes:
            # All are compared, so that the time says nothing about which one came near.
            found |= hmac.compare_digest(digest, kept)
        return found

    def _guest(self, keys: list[str], own: str | None, incoming: Incoming) -> Credentials:
        """Without client keys: the client's own key, else the server's for those it may be lent to."""
        if own is None and keys and self.options.forward_client_key:
            own = keys[0]
        lendable = self._lends and (self.options.open or is_local(incoming))
        # A key that nobody checks, here or upstream, is no identity: a client could show another one each time.
        checked = own is not None and not (lendable and self._replaces)
        client = client_id(own) if own is not None and checked else "anonymous"
        if own is not None:
            return Credentials(key=own, client=client, lendable=lendable)
        if not self._lends:
            return Credentials(key=None, client=client)
        if lendable:
            return Credentials(key=self.options.server_key, client=client, lent=True, lendable=True)
        raise _unauthorized(self._refusal())

    def _refusal(self) -> str:
        bring = f"; bring your own upstream key ({HOW})" if self.options.forward_client_key else ""
        return (
            f"this proxy lends its key to programs on its own machine only{bring}, or have auth.client-keys set there; "
            "`auth.open = true` lends it to everybody"
        )


def _or(own: int | None, general: int) -> int:
    """The client's own limit where it has one."""
    return general if own is None else own


def presented(headers: Mapping[str, str]) -> list[str]:
    """The keys a client shows, `Authorization` before `x-api-key`; some clients send both."""
    scheme, _, bearer = headers.get("authorization", "").strip().partition(" ")
    keys = (bearer if scheme.lower() == "bearer" else "", headers.get("x-api-key", ""))
    return [key for raw in keys if (key := raw.strip())]


def _upstream_key(headers: Mapping[str, str]) -> str | None:
    return headers.get("x-upstream-key", "").strip() or None


def client_id(key: str) -> str:
    """A short id of a key, fit for logs."""
    return _digest(key).hex()[:8]


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


def is_local(incoming: Incoming) -> bool:
    """Whether a request comes from a program of this machine: through no reverse proxy, and from no page of a site."""
    page = incoming.headers.get("origin")
    if page is not None:
        # A frame of any site may say "null".
        host = urlsplit(page).hostname or ""
        if host != "localhost" and not _loopback(host):
            return False
    return _loopback(incoming.peer) and not any(name in incoming.headers for name in PROXIED)


LONGEST_ADDRESS = 100
"""Characters beyond which nothing is an address, so that none is kept."""


def _loopback(peer: str) -> bool:
    return len(peer) <= LONGEST_ADDRESS and _known_loopback(peer)


@lru_cache(maxsize=1024)
def _known_loopback(peer: str) -> bool:
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def _unauthorized(text: str) -> Refused:
    return Refused(text, cause=Cause.AUTHENTICATION, headers={"www-authenticate": "Bearer"})
