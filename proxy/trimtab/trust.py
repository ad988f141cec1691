"""Whose certificates are believed: the system's, read when the first upstream that needs them is asked.

aiohttp reads the file twice while it is imported, 0.11 s of a start. Here its contexts read it when a connection is
made with them for the first time, whoever makes it; the proxy has a thread do that before (`read`).
"""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_READING = ("load_default_certs", "set_default_verify_paths")
_lock = threading.Lock()
_owing: list[ssl.SSLContext] = []


class _Later(ssl.SSLContext):
    """A context that has yet to read the certificates."""

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """Read them before the first use."""
        _settle(self)
        return ssl.SSLContext.wrap_bio(self, *arguments, **named)

    def wrap_socket(self, *arguments: Any, **named: Any) -> ssl.SSLSocket:
        """Read them before the first use."""
        _settle(self)
        return ssl.SSLContext.wrap_socket(self, *arguments, **named)


@contextmanager
def later() -> Iterator[None]:
    """Contexts that would read the system's certificates meanwhile read them later. Not for two threads at once."""
    own = {name: vars(ssl.SSLContext).get(name) for name in _READING}
    for name in _READING:
        setattr(ssl.SSLContext, name, _owe)
    try:
        yield
    finally:
        for name, method in own.items():
            if method is None:
                delattr(ssl.SSLContext, name)
            else:
                setattr(ssl.SSLContext, name, method)


def ready() -> bool:
    """Whether no context that looks at certificates has yet to read them."""
    return not any(context.verify_mode for context in _owing)


def read() -> None:
    """Read what `ready` speaks of, in 0.06 s, for most of which other threads go on; any thread may do it."""
    for context in [context for context in _owing if context.verify_mode]:
        _settle(context)


def _owe(context: ssl.SSLContext, *_: Any) -> None:
    context.__class__ = _Later
    _owing.append(context)


def _settle(context: ssl.SSLContext) -> None:
    with _lock:
        if context in _owing:
            context.load_default_certs()
            context.__class__ = ssl.SSLContext
            _owing.remove(context)
