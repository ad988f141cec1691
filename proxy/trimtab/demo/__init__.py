"""`trimtab demo`: an agent's session through the running proxy, without a key, a model or a network."""

from .show import run

__all__ = ["run"]
