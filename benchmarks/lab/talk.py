"""An HTTP/1.1 client that takes any answer, and a process of `watched.py` around a block."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

START_WITHIN = 90.0
STOP_WITHIN = 20.0


class Said(NamedTuple):
    """An answer; `whole` says whether it came to its end by its own length or last chunk."""

    status: int
    head: bytes
    body: bytes
    whole: bool


class Watched(NamedTuple):
    """A running proxy."""

    port: int
    pid: int
    report: dict[str, Any]
    """Filled when it has ended."""


@asynccontextmanager
async def watched(folder: Path, environ: Mapping[str, str]) -> AsyncIterator[Watched]:
    """The proxy with the pipelines.toml in `folder`; its log is in proxy.log."""
    report = folder / "report.json"
    with (folder / "proxy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.lab.watched", str(folder / "pipelines.toml"), str(report),
            env={**os.environ, **environ}, stdout=PIPE, stderr=log,
        )  # fmt: skip
        assert process.stdout is not None
        async with asyncio.timeout(START_WITHIN):
            port = int(await process.stdout.readline())
        proxy = Watched(port, process.pid, {})
        try:
            yield proxy
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_WITHIN)
            except TimeoutError:
                process.kill()
                proxy.report["errors"] = ["it did not stop"]
            if report.exists():
                proxy.report.update(json.loads(report.read_text()))
            elif process.returncode:
                proxy.report["errors"] = [f"it ended with {process.returncode}"]


async def read_answer(reader: asyncio.StreamReader, *, bodiless: bool = False) -> Said | None:
    """The next answer of a connection, not an interim one; None when it was closed without one; `bodiless` to HEAD."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        while head[9:12] == b"100":
            head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
        return None
    status, fields = int(head[9:12]), head.lower()
    body, whole = b"", True
    if bodiless:
        return Said(status, head, body, whole)
    try:
        if b"transfer-encoding: chunked" in fields:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readexactly(2)
        elif b"content-length:" in fields:
            length = int(fields.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            body = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError, ValueError):
        whole = False
    return Said(status, head, body, whole)
