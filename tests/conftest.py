"""What every test may use."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings
from loguru import logger

# The suite makes the same examples in every run; TRIMTAB_LAWS=N makes new ones, as many as that.
settings.register_profile("suite", derandomize="TRIMTAB_LAWS" not in os.environ)
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
