"""Asks a server over raw sockets that stay open, and takes the times."""

import asyncio
import re
from collections.abc import Iterable
from time import monotonic_ns, perf_counter
from typing import NamedTuple, cast

from .bodies import Make
from .mock import CHUNKS, STAMP

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_FIELDS = (
    "host: 127.0.0.1\r\nauthorization: Bearer bench\r\nanthropic-version: 2023-06-01\r\n"
    "content-type: application/json\r\n"
)
_LAST = b"\r\n0\r\n\r\n"
_STAMP_SIZE = 24
TIMEOUT = 30.0
STAGGER = 0.005
"""Seconds between the starts of two streams, so that they do not all fall due at the same moment."""


class BadAnswer(Exception):
    """A target answered something else than it should."""


class Plan(NamedTuple):
    """A load: which bodies, over how many connections, and when it ends: after so many seconds or requests."""

    path: str
    make: Make
    connections: int = 1
    seconds: float = 3.0
    most: int = 20_000
    streams: bool = False
    fields: str = ""
    """Lines of further headers, each with its end."""


class Measured(NamedTuple):
    """What a load took: milliseconds of each request, and the delay of each chunk of a stream."""

    seconds: float
    latencies: list[float]
    delays: list[float]
    firsts: list[float]
    """Milliseconds from each stream's request to its first chunk."""


class Connection(asyncio.Protocol):
    """A client's connection, one request at a time."""

    def __init__(self) -> None:
        self._done: asyncio.Future[bytes] | None = None
        self.delays: list[float] = []
        self.firsts: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    async def ask(self, parts: Iterable[bytes]) -> bytes:
        """Send a request; the answer's bytes, of a stream only the last ones."""
        self._done = asyncio.get_running_loop().create_future()
        self._data, self._need, self._streamed, self._waits = b"", 0, False, True
        self._asked = monotonic_ns()
        self.transport.writelines(parts)
        async with asyncio.timeout(TIMEOUT):
            return await self._done

    def data_received(self, data: bytes) -> None:
        """Take a piece of the answer, and the stamps in it."""
        now = monotonic_ns()
        self._data += data
        if not self._need and not self._streamed and not self._begin():
            return
        if self._streamed:
            self._stamps(now)
            finished = self._data.endswith(_LAST)
        else:
            finished = len(self._data) >= self._need
        if finished and self._done is not None and not self._done.done():
            self._done.set_result(self._data)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the request that waits."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(BadAnswer(f"the connection was closed: {error}"))

    def _begin(self) -> bool:
        """Read the head once it is whole."""
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return False
        length = _LENGTH.search(self._data, 0, end + 2)
        self._need = end + 4 + int(length[1]) if length else 0
        self._streamed = length is None
        if not self._data.startswith(b"HTTP/1.1 200") and self._done is not None:
            self._done.set_exception(BadAnswer(self._data[:500].decode(errors="replace")))
        return True

    def _stamps(self, now: int) -> None:
        end = 0
        for match in STAMP.finditer(self._data):
            self.delays.append((now - int(match[1])) / 1e6)
            if self._waits:
                self._waits = False
                self.firsts.append((now - self._asked) / 1e6)
            end = match.end()
        # What is left may hold the start of a stamp, or of the last chunk.
        self._data = self._data[max(end, len(self._data) - _STAMP_SIZE) :]


async def load(port: int, plan: Plan) -> Measured:
    """Run a load to its end. Raises BadAnswer when an answer is not what it should be."""
    loop = asyncio.get_running_loop()
    open_ones = [await loop.create_connection(Connection, "127.0.0.1", port) for _ in range(plan.connections)]
    latencies: list[float] = []
    begun = perf_counter()
    try:
        async with asyncio.timeout(plan.seconds + 2 * TIMEOUT), asyncio.TaskGroup() as group:
            for number, (_, connection) in enumerate(open_ones):
                work = (
                    _stream(connection, plan, number) if plan.streams else _repeat(connection, plan, begun, latencies)
                )
                group.create_task(work)
    except ExceptionGroup as several:
        # Of a group that `except*` handles, what is raised anew would come as a group again.
        first = several.exceptions[0]
        if not isinstance(first, BadAnswer | TimeoutError):
            raise
        raise BadAnswer(str(first) or f"no answer within {TIMEOUT:g} s") from None
    finally:
        for transport, _ in open_ones:
            transport.close()
    delays = [delay for _, connection in open_ones for delay in connection.delays]
    firsts = [first for _, connection in open_ones for first in connection.firsts]
    return Measured(perf_counter() - begun, latencies, delays, firsts)


async def _repeat(connection: Connection, plan: Plan, begun: float, latencies: list[float]) -> None:
    while perf_counter() - begun < plan.seconds and len(latencies) < plan.most:
        parts = _request(plan)
        asked = perf_counter()
        await connection.ask(parts)
        latencies.append((perf_counter() - asked) * 1000)


async def _stream(connection: Connection, plan: Plan, number: int) -> None:
    await asyncio.sleep(number * STAGGER)
    await connection.ask(_request(plan))
    if len(connection.delays) != CHUNKS:
        raise BadAnswer(f"a stream had {len(connection.delays)} chunks, not {CHUNKS}")


def _request(plan: Plan) -> list[bytes]:
    parts = plan.make()
    head = f"POST {plan.path} HTTP/1.1\r\ncontent-length: {sum(map(len, parts))}\r\n{_FIELDS}{plan.fields}\r\n"
    return [head.encode(), *parts]
