"""What follows on an upstream's failure, as a pure function: try again after some seconds, go elsewhere, or give up.

No I/O, no clock, no chance of its own: all it needs is given. Sources of the rules: protocol.md 1.6 (which of z.ai's
codes may be tried again), protocol.md 2.7 (what the SDKs do by themselves), tools/agents (what each agent does on each
fault).
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import lru_cache
from math import ceil

import msgspec

from trimtab.errors import Cause, ProxyError, UpstreamError


class Failure(StrEnum):
    """Classes of failures; their names are the words of `retry.fallback-on`."""

    CONNECT = "connect"
    """Nobody answered: refused, reset, no name, TLS, no connection in time; 502 and 503."""
    SERVER = "server"
    """Another 5xx, an error event, or no reply of the dialect."""
    OVERLOADED = "overloaded"
    """529, and what z.ai calls 1305 and 1312."""
    RATE_LIMIT = "rate-limit"
    TIMEOUT = "timeout"
    """408 and 504, and an upstream that was silent too long."""
    QUOTA = "quota"
    BILLING = "billing"
    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    NOT_FOUND = "not-found"
    OVERFLOW = "overflow"


_TRANSIENT = frozenset(
    (Failure.CONNECT, Failure.SERVER, Failure.OVERLOADED, Failure.RATE_LIMIT, Failure.TIMEOUT),
)
"""What may be gone when the same is asked again."""
OF_KEY = frozenset(
    (Failure.RATE_LIMIT, Failure.QUOTA, Failure.BILLING, Failure.AUTHENTICATION, Failure.PERMISSION),
)
"""What another key of the same upstream may not meet."""

_BY_CAUSE: Mapping[Cause, Failure] = {
    Cause.OVERLOADED: Failure.OVERLOADED,
    Cause.RATE_LIMIT: Failure.RATE_LIMIT,
    Cause.TIMEOUT: Failure.TIMEOUT,
    Cause.QUOTA: Failure.QUOTA,
    Cause.BILLING: Failure.BILLING,
    Cause.AUTHENTICATION: Failure.AUTHENTICATION,
    Cause.PERMISSION: Failure.PERMISSION,
    Cause.NOT_FOUND: Failure.NOT_FOUND,
    Cause.OVERFLOW: Failure.OVERFLOW,
}


class Unready(UpstreamError):
    """A request that was not sent: the upstream rests, or all its places are taken."""

    def __init__(self, message: str, failure: Failure, wait: float) -> None:
        cause = Cause.RATE_LIMIT if failure is Failure.RATE_LIMIT else Cause.OVERLOADED
        super().__init__(message, cause=cause, headers={"retry-after": str(ceil(wait))}, own=True)
        self.failure = failure
        """The class that decides what takes over."""


def failure_of(error: ProxyError) -> Failure | None:
    """The class of an upstream's failure; None where another attempt could only fail alike, or the failure is ours."""
    if isinstance(error, Unready):
        return error.failure
    if not isinstance(error, UpstreamError):
        return None
    if error.unreached:
        return Failure.CONNECT
    known = _BY_CAUSE.get(error.cause)
    if error.status in (502, 503) and known in (None, Failure.OVERLOADED):
        return Failure.CONNECT
    if known is not None or error.cause is not Cause.UPSTREAM:
        return known
    return Failure.SERVER if error.status is None or error.status >= 500 or error.status < 300 else None


class Client(msgspec.Struct, frozen=True):
    """What is known of a client's own way with failures."""

    name: str = ""
    """The agent by its user agent, empty where it is none we know."""
    retries: bool = False
    """Whether it tries again by itself."""
    gives_up: bool = False
    """Whether it ends on a stream that breaks, without another try of its own."""
    resends: bool = False
    """Whether an error event behind a text ends it, and a break does not: where a kept connection breaks in an answer,
    its runtime (Bun 1.3) asks again and puts the new answer behind the old one. Seen with Cline 3.0 and Kilo 7.7."""


_AGENTS = (
    # By their user agents; which of them give up on a broken stream was seen with each, one by one (tools/agents).
    ("claude-code", re.compile(r"^claude-(?:cli|code)/", re.IGNORECASE), True),
    ("cline", re.compile(r"\bcline\b", re.IGNORECASE), True),
    ("codex", re.compile(r"^codex", re.IGNORECASE), False),
    ("kilo", re.compile(r"\bkilo", re.IGNORECASE), False),
    ("opencode", re.compile(r"^opencode/", re.IGNORECASE), False),
    ("continue", re.compile(r"^continue", re.IGNORECASE), False),
    ("pi", re.compile(r"^pi(?:-coding-agent)?/", re.IGNORECASE), False),
    ("aider", re.compile(r"^(?:aider|litellm)\b", re.IGNORECASE), False),
    # It tries a request again, and no stream that has begun. Cline 3 names itself by nothing else.
    ("ai-sdk", re.compile(r"^ai(?:-sdk)?/|\bai-sdk/", re.IGNORECASE), True),
    ("sdk", re.compile(r"^(?:async)?(?:openai|anthropic)/", re.IGNORECASE), False),
)

_BUN = re.compile(r"\bruntime/bun/")
"""As the AI SDK tells what it runs on."""


def client_of(headers: Mapping[str, str]) -> Client:
    """Which client a request came from, by its headers (lower-case names)."""
    return _client(headers.get("user-agent", ""), "x-stainless-retry-count" in headers)


@lru_cache(maxsize=64)
def _client(agent: str, sdk: bool) -> Client:
    for name, pattern, gives_up in _AGENTS:
        if pattern.search(agent):
            resends = _BUN.search(agent) is not None
            return Client(name, retries=True, gives_up=gives_up, resends=resends)
    return Client("sdk" if sdk else "", retries=sdk)


def breaks_off(client: Client, error: ProxyError) -> bool:
    """Whether an open stream breaks off for a client, with no word of the error, because it then asks again.

    So does one that an upstream ended as overloaded, which may be over at once; other errors it may meet every time.
    """
    if not client.resends or not isinstance(error, UpstreamError):
        return False
    return error.broken or error.cause is Cause.OVERLOADED


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that an answer asks to wait, `now` being seconds since 1970; None where it asks for none."""
    fields = {name.lower(): value.strip() for name, value in headers.items()}
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        if re.fullmatch(r"\d{1,9}(\.\d*)?", fields.get(name, "")):
            return float(fields[name]) / unit
    try:
        return max(0.0, parsedate_to_datetime(fields.get("retry-after", "")).timestamp() - now)
    except (ValueError, OverflowError):
        return None


class Budget:
    """How many more requests than came in may go out: `share` of them, and `reserve` to begin with.

    What is not used adds up to `reserve` and no more, so that a long calm pays for no storm.
    """

    def __init__(self, share: float, reserve: int) -> None:
        self._share = share
        self._reserve = float(reserve)
        self.left = self._reserve
        """Retries that may be made now."""

    def use(self, share: float, reserve: int) -> None:
        """Take other numbers; what was used up stays so."""
        self.left = min(max(0.0, self.left + reserve - self._reserve), reserve)
        self._share, self._reserve = share, float(reserve)

    def came(self) -> None:
        """A request came in."""
        self.left = min(self._reserve, self.left + self._share) if self._reserve else 0.0

    @property
    def enough(self) -> bool:
        """Whether another request may go out."""
        # What sums of tenths lack of a whole is no lack.
        return self.left > 1 - 1e-9

    def take(self) -> None:
        """Another request goes out."""
        self.left = max(0.0, self.left - 1)


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """All that the next step depends on."""

    failure: Failure | None
    asked: float | None = None
    """Seconds that the upstream asked to wait."""
    client: Client = Client()
    opened: bool = False
    """Whether the client's stream is open, be it with pings only: an error can no longer be a status."""
    shown: bool = False
    """Whether text or a tool call has reached the client."""
    hung: bool = False
    """Whether the upstream said nothing at all until its time was over, or was not asked since it is not ready."""
    tries: int = 1
    """Requests sent to this target so far."""
    funds: bool = True
    """Whether the budget of all requests allows another one."""
    spare_key: bool = False
    """Whether the upstream has another key that is not cooling down."""
    elsewhere: bool = False
    """Whether another target is left."""


class Retry(msgspec.Struct, frozen=True):
    """Ask the same target again after so many seconds."""

    wait: float = 0.0


class Elsewhere(msgspec.Struct, frozen=True):
    """Ask the next target."""


class GiveUp(msgspec.Struct, frozen=True):
    """Tell the client."""


Step = Retry | Elsewhere | GiveUp


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The rules, with the numbers of `[retry]`."""

    attempts: int = 3
    first_wait: float = 1.0
    max_wait: float = 30.0
    fallback_on: frozenset[str] = frozenset()

    def decide(self, now: Situation, chance: float) -> Step:
        """The next step; `chance` is in [0, 1) and moves the wait by up to a half."""
        if now.failure is None or now.shown:
            return GiveUp()
        most = min(2, self.attempts) if now.opened else self.attempts
        if now.spare_key and now.failure in OF_KEY and now.funds and now.tries < most:
            return Retry()
        if self._again(now):
            wait = self._wait(now, chance)
            if wait is not None:
                return Retry(wait)
        if now.elsewhere and now.failure in self.fallback_on:
            return Elsewhere()
        return GiveUp()

    def _again(self, now: Situation) -> bool:
        """Whether the same target may be asked again."""
        if now.failure not in _TRANSIENT or not now.funds or now.hung:
            return False
        if now.opened:
            # The client cannot try again by itself any more: one generation anew, and no more.
            return now.tries < min(2, self.attempts)
        if now.client.retries or now.elsewhere:
            return now.failure is Failure.CONNECT and now.tries < min(2, self.attempts)
        return now.tries < self.attempts

    def _wait(self, now: Situation, chance: float) -> float | None:
        """Seconds before the same target is asked again; None where it asks for more than we grant."""
        if now.asked is not None and now.asked > self.max_wait:
            return None
        if now.failure is Failure.CONNECT and (now.client.retries or now.elsewhere):
            # A 503 that names a time is no fault of the connection: whoever tries again by itself is told.
            return 0.0 if not now.asked else None
        grown = min(self.max_wait, self.first_wait * 2.0 ** (now.tries - 1)) * (0.5 + chance / 2)
        return min(self.max_wait, max(grown, (now.asked or 0.0) * (1 + chance / 10)))
