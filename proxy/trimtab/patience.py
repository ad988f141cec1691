"""How long one request waits for the store: for all that it asks together, and not for each of it anew.

A stage may ask a hundred times for records of a long conversation. A store that takes two seconds for each would hold
the request up for minutes, and never be too slow.
"""

from contextlib import suppress
from contextvars import ContextVar, Token


class Waited:
    """The seconds in which a request has waited for the store; those of several questions at once count once."""

    __slots__ = ("_asking", "_seconds", "_since")

    def __init__(self) -> None:
        self._asking, self._seconds, self._since = 0, 0.0, 0.0

    def begin(self, now: float) -> None:
        """A question begins, at a time of a clock that only grows."""
        if not self._asking:
            self._since = now
        self._asking += 1

    def end(self, now: float) -> None:
        """A question ends."""
        self._asking -= 1
        if not self._asking:
            self._seconds += now - self._since

    def seconds(self, now: float) -> float:
        """How long it has waited by now."""
        return self._seconds + (now - self._since if self._asking else 0.0)


_waited: ContextVar[Waited | None] = ContextVar("waited", default=None)


def waited() -> Waited:
    """That of the request whose stages are at work; a new one where none are."""
    return _waited.get() or Waited()


def together() -> Token[Waited | None]:
    """What is asked from here on, up to `apart`, waits together."""
    return _waited.set(Waited())


def apart(token: Token[Waited | None]) -> None:
    """The end of what `together` began."""
    with suppress(ValueError):
        # A request that is thrown away half done ends in another context; the one it began in goes with it.
        _waited.reset(token)
