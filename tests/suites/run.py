"""Runs what other people test gateways with against the proxy before `trimtab echo`.

    python tests/suites/run.py FOLDER

FOLDER keeps the environment of the suites (40 MB), made at the first run. What each suite is and expects is told in
tests/README.md.
"""

import argparse
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

OPENAI, ANTHROPIC, COMPLY = "3.54.0", "2.12.0", "0.5.0"
NEEDS = [
    *(f"llm-comply=={COMPLY}", f"openai=={OPENAI}", f"anthropic=={ANTHROPIC}", "httpx2", "httpx-aiohttp"),
    *("pytest", "pytest-asyncio", "pytest-xdist", "respx", "dirty-equals", "inline-snapshot", "rich", "nest-asyncio"),
    *("http-snapshot", "time-machine", "distro", "docstring-parser", "jiter"),
]
PAUSE = 0.1
"""Seconds between two looks for a server."""

PIPELINES = """
[pipeline.default]
stages = ["auth", "env-dedup", "token-count", "risk-assess", "route", "scale", "log"]
# Names that llm-comply skips no case for.
[model."gpt-5-echo"]
upstreams = { chat = "zai-chat", messages = "zai-messages" }
[model."gpt-5-echo-translated"]
upstreams = { messages = "zai-messages" }
[model."claude-sonnet-4-echo"]
upstreams = { messages = "zai-messages" }
[model."claude-sonnet-4-echo-translated"]
upstreams = { chat = "zai-chat" }
"""
ANTHROPIC_TESTS = ("tests/api_resources/test_messages.py", "tests/api_resources/beta/test_messages.py")
OPENAI_TESTS = ("tests/api_resources/chat/test_completions.py", "-k", "create")


def prepare(folder: Path) -> Path:
    """The environment and the SDKs' source distributions, made where they are missing; returns its `bin`."""
    bin_ = folder / "venv" / "bin"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        pip = [str(bin_ / "pip"), "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "-q", *NEEDS], check=True)
        sdists = [f"openai=={OPENAI}", f"anthropic=={ANTHROPIC}"]
        packed = ["--no-deps", "--no-binary", "openai,anthropic", "-d", str(folder / "sdist")]
        subprocess.run([*pip, "download", "-q", *packed, *sdists], check=True)
        for archive in (folder / "sdist").glob("*.tar.gz"):
            subprocess.run(["tar", "xzf", archive, "-C", folder / "sdist"], check=True)
        (folder / "ready").touch()
    return bin_


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Server:
    """A server that is waited for and ended."""

    def __init__(
        self, port: int, *command: object, environ: Mapping[str, str] | None = None, output: IO[str] | None = None
    ) -> None:
        self.port = port
        self._process = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **(environ or {})},
            stdout=output or subprocess.DEVNULL,
            stderr=output or subprocess.DEVNULL,
        )

    def __enter__(self) -> "Server":
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(PAUSE)
        raise TimeoutError(f"nothing listens on port {self.port}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


def comply(bin_: Path, url: str) -> list[tuple[str, bool, str]]:
    """llm-comply, in the client's own dialect and translated."""
    found = []
    for form, names in (("openai-chat", "gpt-5-echo"), ("anthropic", "claude-sonnet-4-echo")):
        for model in (names, f"{names}-translated"):
            asked = ["run", "--format", form, "-u", f"{url}/v1", "-k", "key", "-m", model]
            if form == "anthropic":
                asked += ["-H", "anthropic-version:2023-06-01"]
            done = subprocess.run([bin_ / "llm-comply", *asked], capture_output=True, text=True, check=False)
            said = re.search(r"(?:All \d+ tests passed|\d+/\d+ passed)[^─\n]*", done.stdout)
            found.append((f"llm-comply {form} {model}", done.returncode == 0, said.group(0).strip() if said else "?"))
            if done.returncode:
                print(done.stdout)
    return found


def sdk(bin_: Path, folder: Path, name: str, url: str, tests: tuple[str, ...]) -> tuple[str, bool, str]:
    """An SDK's own tests."""
    place = next((folder / "sdist").glob(f"{name}-*/"))
    done = subprocess.run(
        [bin_.resolve() / "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "--durations=0", *tests],
        cwd=place,
        env={**os.environ, "TEST_API_BASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    said = re.findall(r"^(?:FAILED|ERROR) .*|.*\d+ (?:passed|failed).*", done.stdout, re.MULTILINE)
    if done.returncode:
        print("\n".join(said[:20]))
    return f"{name}'s own tests", done.returncode == 0, said[-1] if said else done.stdout[-200:]


def main() -> int:
    """Run all; 1 where anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    bin_ = prepare(folder)
    (folder / "pipelines.toml").write_text(PIPELINES)
    echo, port = free_port(), free_port()
    bases = {"UPSTREAM_BASE": f"http://127.0.0.1:{echo}", "OPENAI_UPSTREAM_BASE": f"http://127.0.0.1:{echo}/v1"}
    command = [sys.executable, "-m", "trimtab"]
    serve = [*command, "serve", "--port", port, "--config", folder / "pipelines.toml"]
    url = f"http://127.0.0.1:{port}"
    environ = bases | {"CACHE_DIR": str(folder / "cache")}
    with Server(echo, *command, "echo", "--port", echo), Server(port, *serve, environ=environ):
        found = comply(bin_, url)
        found.append(sdk(bin_, folder, "anthropic", url, ANTHROPIC_TESTS))
        found.append(sdk(bin_, folder, "openai", f"{url}/v1", OPENAI_TESTS))
    for name, good, said in found:
        print(f"{'ok  ' if good else 'FAIL'} {name}: {said}")
    return 0 if all(good for _, good, _ in found) else 1


if __name__ == "__main__":
    sys.exit(main())
