"""Remembers what a function made of a client's text, bounded in bytes: a count of entries bounds nothing there."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def kept(max_bytes: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Like `lru_cache`, for arguments that are strings, bytes and tuples of them: at most `max_bytes` of them are kept.

    The results come on top; choose `max_bytes` by what they hold. What is larger alone is worked out every time.
    """

    def wrapped(function: Callable[P, T]) -> Callable[P, T]:
        known: OrderedDict[Hashable, T] = OrderedDict()
        held = 0

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            nonlocal held
            key = (args, *kwargs.items())
            if key in known:
                known.move_to_end(key)
                return known[key]
            made = function(*args, **kwargs)
            size = weight(key)
            if size <= max_bytes and key not in known:
                known[key] = made
                held += size
                while held > max_bytes:
                    held -= weight(known.popitem(last=False)[0])
            return made

        return call

    return wrapped


ENTRY = 200
"""Bytes of an entry beside its text."""


def weight(args: object) -> int:
    """Bytes of some arguments."""
    if isinstance(args, tuple):
        return ENTRY + sum(map(weight, args))
    return len(args) if isinstance(args, str | bytes) else 0
