"""The errors that the echo answers; the dialects word them."""

from __future__ import annotations


class Fault(Exception):
    """A request that is refused; `code` tells faults of one status apart where a dialect does so."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
