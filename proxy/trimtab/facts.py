"""What stages tell each other, and the core: typed values found by their class.

A fact is put whole and never changed; a later stage puts a new one. Third parties define their own as frozen structs.
"""

from bisect import bisect_right
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Any

import msgspec

from trimtab.conversation import Conversation
from trimtab.models import Target


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all facts."""


class Credentials(Fact, frozen=True):
    """Which key goes upstream, and who the client is; put by auth. Its text never shows a key."""

    key: str | None
    client: str = "anonymous"
    """A short id of the client's key, fit for logs."""
    lent: bool = False
    """Whether the key is the server's own: only then may an upstream's own key stand in its place."""

    lendable: bool = False
    """Whether the server's keys may be lent to this client: for upstreams that its own key is not sent to."""

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
    ratio: float = 1.0
    """Tokens that the upstream has lately reported for each of ours: for reports and for deciding whether to write a
    record, never for an edit."""
    most: int | None = None
    """Where the count is still being made (`Counting`): tokens at most, surely; the others are estimates then."""

    @property
    def calibrated(self) -> int:
        """What the upstream is likely to report; the same warning holds."""
        return round(self.total * self.ratio)


class Counting(Fact, frozen=True):
    """The count goes on beside the request, since even the most it can come to is far from the window.

    A stage that `needs` TokenCount runs when it is made, but for one that is `rough`.
    """

    settle: Callable[[], Awaitable[None]]
    """Waits for the count, which stands in TokenCount then."""
    patient: bool
    """Whether a reply waits for the count, so that its headers tell it; not where the table has yet to be loaded."""
    then: Callable[[Callable[[Any], None]], None]
    """Takes what is to be done with the exchange as soon as the count is made."""


class Sizer(Fact, frozen=True):
    """What counts a whole conversation, so that the answer to a `count` request is about the body that would leave."""

    of: Callable[[Conversation, Target], Awaitable[int]]
    """Tokens, calibrated, of a conversation in the target's dialect."""


class RiskLevel(IntEnum):
    """How near a prompt and its answer come to the window; they can be compared, and print as their names."""

    SAFE = 0
    CAUTION = 1
    WARNING = 2
    CRITICAL = 3
    OVERFLOW = 4

    def __str__(self) -> str:
        return self.name

    def __format__(self, spec: str) -> str:
        return format(self.name, spec)


class Risk(Fact, frozen=True):
    """How full the window of the target is with the prompt as it would be sent and room for the answer."""

    level: RiskLevel
    used: int
    """Tokens of the prompt, not calibrated."""
    reserve: int
    """Tokens kept for the answer."""
    limit: int | None = None
    """The window, None where it is not known; then the level says nothing."""
    likely: float = 0.0
    """The share of the window by the calibrated count: for reports and for deciding whether to write a record, never
    for an edit."""

    bounds: tuple[float, float, float] = (0.70, 0.80, 0.90)
    """The shares of the window from which on the level is CAUTION, WARNING and CRITICAL."""

    def level_of(self, share: float) -> RiskLevel:
        """The level of a share of the window."""
        return RiskLevel.OVERFLOW if share > 1 else RiskLevel(bisect_right(self.bounds, share))

    @property
    def outlook(self) -> RiskLevel:
        """The level of `likely`, for the same purposes only."""
        return self.level_of(self.likely)

    @property
    def utilization(self) -> float:
        """The share of the window that prompt and answer take, 0 where the window is not known."""
        return (self.used + self.reserve) / self.limit if self.limit else 0.0


class Condensed(Fact, frozen=True):
    """What was shortened so that the conversation goes on within its window; put by condense."""

    form: str
    """How: the rung of the ladder, `truncation` or `cut`."""
    messages: int
    """Messages from the start of the conversation that it reaches over, or results that were cut."""
    truncated: bool = False
    """Whether something is gone that nothing stands for."""
    forced: bool = False
    """Whether the request would not have fitted without it."""


class Overflowed(Fact, frozen=True):
    """The upstream says that the prompt is too long; put by the core before `request` is called once more."""

    used: int | None = None
    """Tokens of the prompt as the upstream counts them, None where it did not tell."""
    limit: int | None = None
    """Tokens it takes."""


class Scale(Fact, frozen=True):
    """In which units a client is told tokens: `told` for every `real` ones."""

    told: int
    real: int
    count: bool = True
    """Whether that holds for the answer to a `count` request too."""

    def __call__(self, tokens: int) -> int:
        """Tokens in the client's units, rounded; never none where there are some."""
        if tokens <= 0:
            return tokens
        return max(1, (2 * tokens * self.told + self.real) // (2 * self.real))
