"""What every test may use."""

from collections.abc import Iterator

import pytest
from loguru import logger


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
