"""trimtab: a self-hosted model endpoint for coding agents."""

__version__ = "0.1.0"
