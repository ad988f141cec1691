"""The environment of the SDKs' own tests: their wheels, what their tests need, and their source distributions."""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from suites.servers import say, step

OPENAI, ANTHROPIC, STEADY = "3.54.0", "2.12.0", "0.22.2"
NEEDS = [
    *(f"openai=={OPENAI}", f"anthropic=={ANTHROPIC}", "httpx2", "httpx-aiohttp"),
    *("pytest", "pytest-asyncio", "pytest-xdist", "respx", "dirty-equals", "inline-snapshot", "rich", "nest-asyncio"),
    *("http-snapshot", "time-machine", "distro", "docstring-parser", "jiter"),
]
SOURCES = [f"openai=={OPENAI}", f"anthropic=={ANTHROPIC}"]
SCHEMATHESIS = "4.32.5"
LIMIT = 600
"""Seconds that a step of the preparation may take."""


class Unprepared(Exception):
    """A step of the preparation failed; its words follow."""


def tests(folder: Path) -> Path:
    """The `bin` of the SDKs' environment under `folder`, which is made where it is missing or of another list."""
    mark, stamp = folder / "ready", hashlib.sha256("\n".join(NEEDS).encode()).hexdigest()
    bin_ = folder / "venv" / "bin"
    if mark.exists() and mark.read_text() == stamp:
        return bin_
    mark.unlink(missing_ok=True)
    say(f"The environment of the SDKs' tests is made in {folder} (25 MB to download, about a minute).")
    _need("an empty environment", [sys.executable, "-m", "venv", "--clear", folder / "venv"])
    pip = [bin_ / "python", "-m", "pip", "--disable-pip-version-check", "--no-input", "--retries", "2"]
    _need("pip install", [*pip, "install", "-q", *NEEDS])
    packed = ["--no-deps", "--no-binary", "openai,anthropic", "-d", folder / "sdist"]
    _need("pip download", [*pip, "download", "-q", *packed, *SOURCES])
    for archive in sorted((folder / "sdist").glob("*.tar.gz")):
        _need(f"unpack {archive.name}", ["tar", "xzf", archive, "-C", folder / "sdist"])
    mark.write_text(stamp)
    return bin_


def steady(folder: Path) -> Path:
    """The command `steady` under `folder`, installed by npm where it is missing."""
    found = folder / "steady" / "node_modules" / ".bin" / "steady"
    if not found.exists():
        wanted = ["--no-audit", "--no-fund", f"@stdy/cli@{STEADY}"]
        _need("npm install", ["npm", "install", "--prefix", folder / "steady", *wanted])
    return found


def schemathesis(folder: Path) -> Path:
    """The command `schemathesis` in an environment of its own under `folder`, made where it is missing."""
    found = folder / "schemathesis" / "bin" / "schemathesis"
    if not found.exists():
        _need("an empty environment", [sys.executable, "-m", "venv", "--clear", folder / "schemathesis"])
        pip = [found.with_name("python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "--retries", "2"]
        _need("pip install", [*pip, "install", "-q", f"schemathesis=={SCHEMATHESIS}"])
    return found


def _need(name: str, command: Sequence[object]) -> None:
    ended = step(name, command, LIMIT)
    if ended.code:
        raise Unprepared(f"{name} failed ({ended.code}):\n{ended.out[-2000:]}")
