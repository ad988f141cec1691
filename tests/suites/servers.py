"""Servers of a suite, and the steps of its run: each within its time, and told when it begins and ends."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

PAUSE = 0.1
"""Seconds between two looks for a server."""
PATIENCE = 60
"""Seconds until a server listens."""


class Ended(NamedTuple):
    """How a step ended."""

    code: int
    out: str
    seconds: float


def say(line: str) -> None:
    """Print a line at once, so that who waits sees how far it is."""
    print(line, flush=True)


def step(
    name: str,
    command: Sequence[object],
    limit: int,
    *,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Ended:
    """Run a command for `limit` seconds at most; one that takes longer is ended with its children, code 124."""
    say(f"     {name} ...")
    began = time.monotonic()
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(environ or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        out, code = process.communicate(timeout=limit)[0], process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, code = process.communicate()[0] + f"\nended after {limit} s\n", 124
    except BaseException:
        # Interrupted too: its children must not stay.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return Ended(code, out, time.monotonic() - began)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Server:
    """A server that is waited for and ended; what it says goes to `output`."""

    def __init__(
        self, port: int, *command: object, environ: Mapping[str, str] | None = None, output: IO[str] | None = None
    ) -> None:
        self.port = port
        said = subprocess.DEVNULL if output is None else output
        self._process = subprocess.Popen(
            [str(part) for part in command], env={**os.environ, **(environ or {})}, stdout=said, stderr=said
        )

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "Server":
        try:
            self._wait()
        except BaseException:
            # Interrupted too: what was started must not stay.
            self.__exit__()
            raise
        return self

    def _wait(self) -> None:
        for _ in range(int(PATIENCE / PAUSE)):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self._process.poll() is not None:
                break
            time.sleep(PAUSE)
        raise TimeoutError(f"nothing listens on port {self.port}: see what {self._process.args!r} said")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
