"""Calls upstreams. Nothing outside this package touches aiohttp."""

from .pool import Call, Forwarder, Response, State

__all__ = ["Call", "Forwarder", "Response", "State"]
