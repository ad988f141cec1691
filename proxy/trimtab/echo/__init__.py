"""The embedded upstream: a pretended provider with a true prefix cache, for demos, tests and benchmarks."""

from .app import echo_app
from .nouns import EchoOptions, Recorded
from .state import Echo

__all__ = ["Echo", "EchoOptions", "Recorded", "echo_app"]
