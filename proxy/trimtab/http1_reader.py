"""Reads the requests of one HTTP/1.1 connection: llhttp does, and what it lets pass and is not for us is refused."""

import re
from typing import Any, NamedTuple, Protocol

import httptools

from trimtab.http1_refusals import NO_METHOD, ONE_HOST, TWO_LENGTHS, Refused
from trimtab.http1_turn import Turn

Fields = list[tuple[bytes, bytes]]

_VERSIONS = (b" HTTP/1.1", b" HTTP/1.0")
_LINE = re.compile(rb"(?:\r\n)*([!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}) [!-~]+ HTTP/1\.[01]\r\n")
"""A request's first line, whatever its method (RFC 9112 3, RFC 9110 5.6.2)."""


class Asked(NamedTuple):
    """The head of a request, its names in lower case."""

    method: str
    version: str
    target: bytes
    fields: Fields
    keep: bool
    """Whether another request may follow on the connection."""
    waits: bool
    """Whether its client waits for a 100 before it sends the body."""


class Asks(Protocol):
    """Whom the requests are for."""

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""

    def ask(self, asked: Asked) -> Turn:
        """A head is whole: its request is served at once, or in turn. Raises Refused."""


class Reader:
    """Bytes in, requests out."""

    def __init__(self, line: Asks) -> None:
        self._line = line
        self._parser: Any = httptools.HttpRequestParser(self)
        self._url = self._first = b""
        self._fields: Fields = []
        self.coming: Turn | None = None
        """The request whose body is being read."""
        self.in_head = False
        """Whether a head has begun and is not whole."""
        self.odd = 0
        """Bytes of a head since it began, or of what stands between the pieces of a body."""
        self.last = False
        """Whether the client said that nothing follows its latest request."""
        self.ended = False
        """Whether nothing that comes is for us any more."""

    @property
    def method(self) -> str:
        """That of the request that is being read; empty where it is not known."""
        return str(self._parser.get_method().decode()) if self._url else ""

    def feed(self, data: bytes) -> bytes | None:
        """Read what came; returns the bytes of a connection that goes on in HTTP/2. Raises Refused."""
        self.odd += len(data)
        if self.coming is None and not self.in_head and not self.last:
            self._look(data)
        return self._feed(data)

    def _look(self, data: bytes) -> None:
        """Refuse a first line of RTSP, ICE or HTTP/0.9, which llhttp reads as if it were ours. Raises Refused."""
        end = data.find(b"\r\n")
        if end > 0 and not data.endswith(_VERSIONS, 0, end):
            raise Refused(400)
        self._first = data

    def close(self) -> None:
        """Let go of what holds us: of many short connections the collector's rounds took 100 ms."""
        self.ended, self._parser = True, None
        del self._line

    def _feed(self, data: bytes) -> bytes | None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None
        except httptools.HttpParserError as error:
            if not self.last or self.coming is not None:
                raise self._refusal(error) from None
            # Its client had said that nothing follows.
            self.ended = True
            return None
        else:
            return None
        # Out here, since what is refused in the rest has this exception as its context otherwise.
        return self._upgrade(rest)

    def _refusal(self, error: Exception) -> Refused:
        # Where in what came it stands is not told: a line can be looked at only where it is the first.
        if isinstance(error, httptools.HttpParserInvalidMethodError) and _LINE.match(self._first):
            return Refused(501, NO_METHOD)
        return Refused(400, TWO_LENGTHS if "be present with" in str(error) else None)

    def _upgrade(self, rest: bytes) -> bytes | None:
        """llhttp stops behind a head that asks for another protocol; the body that it may have is in `rest`."""
        method, version = self._parser.get_method(), self._parser.get_http_version().encode()
        if method == b"CONNECT":
            self.ended = True
            return None
        names = {name for name, _ in self._fields}
        bodiless = names.isdisjoint((b"content-length", b"transfer-encoding"))
        if bodiless and self._line.idle and (b"upgrade", b"h2c") in self._fields:
            self.ended = True
            return _head(method, self._url, version, self._fields) + rest
        # There are no WebSockets here, and an upgrade may be ignored (RFC 9110 7.8): it is a request like others.
        plain = [field for field in self._fields if field[0] != b"upgrade"]
        self._parser = httptools.HttpRequestParser(self)
        return self._feed(_head(method, self._url, version, plain) + rest)

    # What llhttp calls.

    def on_message_begin(self) -> None:
        """A head begins."""
        self.in_head = True
        self._url, self._fields = b"", []

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; those behind a body are let go."""
        if self.in_head:
            self._fields.append((name.lower(), value.rstrip()))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self.in_head, self.odd, self._first = False, 0, b""
        parser, version, told = self._parser, self._parser.get_http_version(), dict(self._fields)
        method = parser.get_method().decode()
        _check(version, told, self._fields)
        if parser.should_upgrade() and method != "CONNECT":
            return
        modern = version == "1.1"
        # RFC 9112 6.1: who sends chunks to HTTP/1.0 has passed on what it did not read.
        odd = method == "CONNECT" or (not modern and b"transfer-encoding" in told)
        self.last = odd or not parser.should_keep_alive()
        waits = modern and told.get(b"expect", b"").lower() == b"100-continue"
        self.coming = self._line.ask(Asked(method, version, self._url, self._fields, not self.last, waits))

    def on_body(self, data: bytes) -> None:
        """A piece of a body."""
        self.odd = 0
        if self.coming is not None:
            self.coming.add(data)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self.odd = 0
        if self.coming is not None:
            self.coming.complete()
            self.coming = None


def _head(method: bytes, url: bytes, version: bytes, fields: Fields) -> bytes:
    lines = b"".join([b"%b: %b\r\n" % field for field in fields])
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, url, version, lines)


def _check(version: str, told: dict[bytes, bytes], fields: Fields) -> None:
    """Refuse what llhttp lets pass and is not for us. Raises Refused."""
    if version not in ("1.1", "1.0"):
        raise Refused(400)
    if told.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
        raise Refused(501)
    if b"host" not in told and version == "1.1":
        raise Refused(400, ONE_HOST)
    if len(told) < len(fields):
        names = [name for name, _ in fields]
        if names.count(b"host") > 1:
            raise Refused(400, ONE_HOST)
        # llhttp reads the last one only; who stands before us may have read the first (RFC 9112 6.1).
        if names.count(b"transfer-encoding") > 1:
            raise Refused(501)
