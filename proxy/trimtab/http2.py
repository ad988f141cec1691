"""HTTP/2 as hypercorn serves it, without what lets one stream end or hold up all others of its connection.

Hypercorn 0.18 keeps a stream that its client resets until a task of its own comes to it, and each such step costs with
the number of those that wait: 5,000 resets held the loop for 8 s, and beyond 1,000 the connection broke. What still
comes of a body that was answered already, as one too large is, broke the connection with all its streams too.
"""

import asyncio
from contextlib import suppress

from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, PriorityUpdated, RequestReceived, StreamReset
from hypercorn.protocol.h2 import H2Protocol
from priority.priority import MissingStreamError


class Http2(H2Protocol):
    """One connection."""

    async def _handle_events(self, events: list[Event]) -> None:
        for event in events:
            if not self._is_vain(event):
                await super()._handle_events([event])
            if isinstance(event, StreamReset) and event.stream_id is not None:
                await self._let_go(event.stream_id)
                # One read may hold 1,000 of them: the other connections get their turns in between.
                await asyncio.sleep(0)
        await self._flush()

    def _is_vain(self, event: Event) -> bool:
        """Whether an event is for no stream of ours; its sender is told where it would wait."""
        if isinstance(event, DataReceived) and event.stream_id not in self.streams:
            # It counts for the window of the connection, which the other streams need too.
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            return True
        if isinstance(event, RequestReceived) and not _is_plain(event):
            self.connection.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
            return True
        # RFC 9113 5.3.1 takes priorities back; each is a stream to hypercorn, and of 1,000 its connection broke.
        return isinstance(event, PriorityUpdated)

    async def _let_go(self, stream: int) -> None:
        """Nobody waits for a stream any more: what it has to send goes at once."""
        buffer = self.stream_buffers.pop(stream, None)
        if buffer is not None:
            await buffer.close()
        with suppress(MissingStreamError):
            self.priority.remove_stream(stream)

    async def _send_data(self, stream_id: int) -> None:
        # One that was let go while it was being sent.
        with suppress(KeyError, MissingStreamError):
            await super()._send_data(stream_id)


def _is_plain(request: RequestReceived) -> bool:
    """Whether a request has a path of ASCII and is no CONNECT: there are no WebSockets here, and no tunnels."""
    fields = dict(request.headers)
    return fields.get(b":method") != b"CONNECT" and fields.get(b":path", b"\xff").isascii()
