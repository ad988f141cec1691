"""The operation `/v1/responses/compact`: a Responses request whose answer is its own summary."""

from collections.abc import Iterable

import msgspec

from trimtab.conversation import Conversation
from trimtab.dialects.responses import Responses
from trimtab.events import Event


class Compaction(Responses):
    """The dialect of that operation."""

    def compacts(self, conversation: Conversation) -> bool:
        """Always."""
        return True

    def fold(self, events: Iterable[Event], model: str) -> bytes:
        """The compaction object. Raises UpstreamError where the events tell of a failure."""
        response = msgspec.json.decode(super().fold(events, model))
        kept = {name: response[name] for name in ("id", "created_at", "output")}
        return msgspec.json.encode({**kept, "object": "response.compaction", "usage": response["usage"] or _NONE})


_NONE = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}
"""The usage where the upstream told none: the schema wants one."""

COMPACTION = Compaction()
"""The one instance for parsing."""
