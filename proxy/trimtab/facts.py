"""What stages tell each other, and the core: typed values found by their class.

A fact is put whole and never changed; a later stage puts a new one. Third parties define their own as frozen structs.
"""

import msgspec


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all facts."""


class Credentials(Fact, frozen=True):
    """Which key goes upstream, and who the client is; put by auth. Its text never shows a key."""

    key: str | None
    client: str = "anonymous"
    """A short id of the client's key, fit for logs."""
    lent: bool = False
    """Whether the key is the server's own: only then may an upstream's own key stand in its place."""

    def __repr__(self) -> str:
        return f"Credentials(client={self.client!r}, key={'set' if self.key else 'none'})"


class TokenCount(Fact, frozen=True):
    """Tokens of the prompt as it would be sent."""

    total: int
    messages: tuple[int, ...] = ()
    """Tokens of each message, in order."""
    overhead: int = 0
    """Tokens of system, tools and framing."""
    encoding: str = "cl100k_base"
    forward: bool = False
    """Whether a `count` request may be answered by the upstream's own count."""
