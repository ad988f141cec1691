"""What every test may use."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from loguru import logger

# The suite makes the same examples in every run; TRIMTAB_LAWS=N makes new ones, as many as that.
# How long an example takes says more of the machine than of the code: no time fails a law.
settings.register_profile(
    "suite",
    derandomize="TRIMTAB_LAWS" not in os.environ,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")


@pytest.fixture
def anyio_backend() -> str:
    """Everything runs on asyncio, as in production."""
    return "asyncio"


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The messages that are logged meanwhile."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="DEBUG", format="{message}")
    yield lines
    logger.remove(sink)
