"""What the proxy is told: pipelines.toml, ./.env and the environment, checked as a whole before anything starts."""

from trimtab.endpoints import endpoint

from .changes import changes
from .load import load
from .sections import Config, CoreOptions, PipelineOptions, RetryOptions, ServeOptions, StageSpec, StoreOptions, leaves

__all__ = [
    "Config",
    "CoreOptions",
    "PipelineOptions",
    "RetryOptions",
    "ServeOptions",
    "StageSpec",
    "StoreOptions",
    "changes",
    "endpoint",
    "leaves",
    "load",
]
