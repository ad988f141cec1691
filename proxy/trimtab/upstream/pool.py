"""Calls upstreams over pooled connections of aiohttp."""

import asyncio
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import TracebackType
from typing import NamedTuple, Protocol, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec
from yarl import URL

from trimtab import trust
from trimtab.errors import LOST, UpstreamError, UpstreamTimeout
from trimtab.upstream import straight

with trust.later():
    import aiohttp
    from aiohttp.http import HttpProcessingError

MAX_BODY = 512 * 1024 * 1024
"""Bytes of a reply that is not streamed, above which an upstream is taken to have lost its way."""

_ADDRESSES = 256
"""Addresses of which is kept how they are reached; clients may bring queries of their own."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request to an upstream."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    connect_timeout: float = 10.0
    method: str = "POST"
    name: str = ""
    """The upstream's name, for messages."""
    private: frozenset[str] = frozenset()
    """Names of the headers that its row adds, which may hold keys."""

    def __repr__(self) -> str:
        return f"Call({self.method} {self.name})"


class Body(aiohttp.BytesPayload):
    """A request body that is written at once.

    aiohttp warns of bodies over 1 MB given as bytes, since a file could be read in pieces; ours is in memory anyway.
    """

    def __init__(self, value: bytes) -> None:
        aiohttp.payload.Payload.__init__(self, value, content_type="application/json")
        self._size = len(value)


class Answered(Protocol):
    """What of aiohttp's answers is used."""

    @property
    def status(self) -> int:
        """The status code."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""

    @property
    def content(self) -> aiohttp.StreamReader:
        """The body."""

    def release(self) -> object:
        """Give the connection back."""

    def close(self) -> None:
        """Close the connection."""


class Response:
    """An upstream's answer; close it, or use it as an async context manager."""

    def __init__(self, call: Call, response: Answered, state: "State") -> None:
        self._call = call
        self._response = response
        self._state: State | None = state
        state.open += 1
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    @property
    def content_type(self) -> str:
        """The media type without parameters, lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def chunk(self) -> bytes:
        """The next bytes as they come, decompressed; empty at the end. Raises UpstreamError when it breaks off."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise _broke_off(self._call, error) from error

    async def read(self, limit: int = MAX_BODY, heard: Callable[[], None] | None = None) -> bytes:
        """The whole body; `heard` is called for each piece. Raises UpstreamError when it breaks off or is too long."""
        chunks, size = [], 0
        while chunk := await self.chunk():
            if heard is not None:
                heard()
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                raise UpstreamError(f"upstream '{self._call.name}' sent more than {limit} bytes")
        return b"".join(chunks)

    async def drain(self, seconds: float = 1.0) -> None:
        """Wait a little for the end behind the last word, so that the connection can serve the next request."""
        try:
            async with asyncio.timeout(seconds):
                while await self.chunk():
                    pass
        except (TimeoutError, UpstreamError):
            return

    def close(self) -> None:
        """Give the connection back when the body was read, else close it, which ends the upstream's work."""
        if self._state is not None:
            self._state.open -= 1
            self._state = None
        if self._response.content.is_eof():
            self._response.release()
        else:
            self._response.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class State(msgspec.Struct):
    """What became of the requests to one upstream."""

    requests: int = 0
    open: int = 0
    last_status: int | None = None


class Address(NamedTuple):
    """An address, and how it is reached."""

    url: URL
    proxy: str | None
    """The proxy that leads there."""
    way: straight.Way | None
    """None where aiohttp's session has to be asked."""


class Forwarder:
    """A pool of connections to all upstreams. Open and close it inside a running loop."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._known: dict[tuple[str, str], Address] = {}
        self._states: dict[str, State] = {}

    async def open(self) -> None:
        """Make the pool."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent",),
            read_bufsize=straight.BUFFER,
            auto_decompress=True,
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, call: Call) -> Response:
        """Send a request and wait for the answer's head. Cancelling it closes the connection.

        Raises UpstreamError when nobody answers, UpstreamTimeout when the connection takes too long to open.
        """
        if self._session is None:
            raise UpstreamError("the proxy is not started")
        address = self._known.get((call.method, call.url)) or self._address(call.method, call.url)
        if address.url.scheme == "https" and not trust.ready():
            await asyncio.to_thread(trust.read)
        state = self._states.get(call.name)
        if state is None:
            state = self._states[call.name] = State()
        state.requests += 1
        try:
            response = await self._ask(self._session, address, call)
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            raise _no_answer(call, error) from error
        state.last_status = response.status
        return Response(call, response, state)

    def state(self, name: str) -> dict[str, object]:
        """What /health shows of an upstream."""
        return msgspec.structs.asdict(self._states.get(name, State()))

    async def _ask(self, session: aiohttp.ClientSession, address: Address, call: Call) -> Answered:
        timeout = _timeout(call.connect_timeout)
        if address.way is not None and call.body and session.connector is not None:
            return await straight.ask(session.connector, address.way, call.headers, call.body, timeout)
        data = Body(call.body) if call.body else None
        return await session.request(
            call.method,
            address.url,
            data=data,
            headers=call.headers,
            proxy=address.proxy,
            allow_redirects=False,
            timeout=timeout,
        )

    def _address(self, method: str, url: str) -> Address:
        """The URL, byte for byte, and the proxy that the environment (HTTPS_PROXY, NO_PROXY, ...) names for it."""
        parts, whole = urlsplit(url), URL(url, encoded=True)
        # NO_PROXY names hosts.
        proxy = None if proxy_bypass(parts.netloc.rpartition("@")[2]) else getproxies().get(parts.scheme)
        if len(self._known) >= _ADDRESSES:
            self._known.clear()
        address = Address(whole, proxy, straight.way(method, whole) if proxy is None else None)
        self._known[method, url] = address
        return address


@lru_cache(maxsize=64)
def _timeout(connect: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect)


def _no_answer(call: Call, error: Exception) -> UpstreamError:
    if isinstance(error, aiohttp.ConnectionTimeoutError) or type(error) is TimeoutError:
        text = f"upstream '{call.name}' did not accept a connection within {call.connect_timeout:g} s"
        return UpstreamTimeout(text, unreached=True)
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        reason = "its TLS certificate or handshake was refused"
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        reason = "its name cannot be resolved"
    elif isinstance(error, aiohttp.ClientConnectorError):
        reason = f"no connection: {error.os_error.strerror or type(error.os_error).__name__}"
    elif isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        reason = "it closed the connection without an answer"
    else:
        reason = type(error).__name__
    return UpstreamError(f"upstream '{call.name}' did not answer: {reason}", own=True, unreached=True)


def _broke_off(call: Call, error: Exception) -> UpstreamError:
    told = f"{LOST}: upstream '{call.name}' broke off its answer ({type(error).__name__})"
    return UpstreamError(told, own=True, broken=True)
