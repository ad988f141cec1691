"""Ids of replies."""

import secrets
from collections.abc import Callable

Token = Callable[[], str]
"""Makes the random part of an id."""


def token() -> str:
    """The random part of an id."""
    return secrets.token_hex(12)


def fitting(upstream: str, prefix: str, make: Token) -> str:
    """The upstream's id where it begins as the dialect's do, since some clients look; else a new one."""
    return upstream if upstream.startswith(prefix) else prefix + make()
