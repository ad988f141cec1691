"""The server around the app: sockets, log lines, start and stop."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from trimtab.errors import ConfigError
from trimtab.server import listen, log_to_stderr
from wire.harness import PATIENCE, connect, proxying, request
from wire.scripted import playing

pytestmark = pytest.mark.anyio


def sockets() -> int:
    """Open descriptors of this process, which holds both ends."""
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in Linux's /proc")
async def test_a_client_that_closes_an_idle_connection_leaves_no_socket_behind(tmp_path: Path) -> None:
    async with playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        before = sockets()
        for _ in range(5):
            reader, writer = await connect(proxy.url)
            writer.write(request("GET", "/health"))
            await reader.readuntil(b'"ok"}')
            writer.close()
            await writer.wait_closed()
        # Without our own end of a connection, hypercorn would keep each for the keep-alive time of 300 s.
        async with asyncio.timeout(PATIENCE):
            while sockets() > before:  # noqa: ASYNC110  # the kernel tells no event of ours
                await asyncio.sleep(0)


def test_an_address_in_use_is_a_clear_error() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}: .*choose another --port"):
            listen("127.0.0.1", port)


@pytest.fixture
def quiet() -> Iterator[None]:
    """Put loguru back as it was."""
    yield
    logger.remove()
    logger.configure(patcher=lambda record: None)


@pytest.mark.usefixtures("quiet")
def test_no_record_begins_a_line_of_its_own_or_drives_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr(debug=False)
    logger.info("path {}", "/x\n2026 INFO forged\x1b[2J")
    logger.info("long {}", "y" * 100_000)
    first, second = capsys.readouterr().err.splitlines()
    assert "/x\\n2026 INFO forged\\x1b[2J" in first
    assert len(second) < 5000
