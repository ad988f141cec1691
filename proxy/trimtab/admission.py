"""Who is let in: the host a request names, the size of its head, and room in memory for its body.

What is refused here costs no stage and no upstream. Each error names its option.
"""

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from trimtab.errors import BadRequest, Cause, ProxyError

if TYPE_CHECKING:
    from trimtab.config import ServeOptions

MB = 1024 * 1024
RETRY = {"retry-after": "5"}
"""When there may be room again, in seconds; requests of agents last seconds to minutes."""
GOING = {"retry-after": "5", "connection": "close"}
"""The same of a proxy that stops: another connection may reach one that serves."""
LOCAL = ("localhost", "127.0.0.1", "[::1]")
"""Names under which this machine reaches itself."""


class Room:
    """Bytes of request bodies in memory, of all requests under way.

    Only what has arrived is booked, so a client that announces much and sends nothing takes no room. A request alone
    always fits: its own size is bounded by serve.max-request-mb.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self.refused = 0

    def seat(self) -> "Seat":
        """A place for one request; use it as a context manager."""
        return Seat(self)


class Seat:
    """What one request takes of the room."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.bytes = 0

    def take(self, size: int) -> None:
        """Book `size` bytes more. Raises ProxyError (503, with retry-after) when others leave no room for them."""
        room = self._room
        if room.bytes > self.bytes and room.bytes + size > room.limit:
            room.refused += 1
            told = f"requests under way fill the {room.limit // MB} MB of serve.max-inflight-mb: try again in a moment"
            raise ProxyError(told, cause=Cause.BUSY, headers=RETRY)
        self.bytes += size
        room.bytes += size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._room.bytes -= self.bytes
        self.bytes = 0


PER_FIELD = 4
"""Bytes of a header's line beside its name and value."""


class Door:
    """What a request's head must satisfy; made anew with every configuration."""

    def __init__(self, serve: "ServeOptions") -> None:
        self._head = serve.max_header_kb * 1024
        named = [name.lower() for name in serve.hosts]
        self._hosts = frozenset((*named, serve.host.lower(), *LOCAL)) if serve.loopback or named else None
        self._known: set[str] = set()

    def check(self, headers: Iterable[tuple[bytes, bytes]], host: str | None, target: int = 0) -> None:
        """Raise BadRequest for a head that is too large (431) or names a host that is not ours (421).

        `target` is the length of the path and query, which count as part of the head.
        A page that is open in a browser of this machine reaches 127.0.0.1 under its own name, once its DNS says so
        (DNS rebinding); the browser then takes our answers for those of the page's site. Its requests name that site.
        """
        if target + sum([len(name) + len(value) + PER_FIELD for name, value in headers]) > self._head:
            told = f"the headers and the path are larger than {self._head // 1024} KB: send less"
            told += ", or raise serve.max-header-kb"
            raise BadRequest(told, cause=Cause.HEADERS)
        if host is None or self._hosts is None or host in self._known:
            return
        if bare(host) not in self._hosts:
            told = (
                "this proxy does not answer to the host that the request names: use its own, or add it to serve.hosts"
            )
            raise BadRequest(told, cause=Cause.HOST)
        if len(self._known) < 100:
            self._known.add(host)


def bare(host: str) -> str:
    """A Host header without its port, lower case."""
    name, colon, port = host.strip().lower().rpartition(":")
    return name if colon and port.isdecimal() else host.strip().lower().removesuffix(":")
