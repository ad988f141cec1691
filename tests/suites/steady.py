"""The published specifications as upstream: `steady`, which holds each request against its specification.

What a client sends by itself is told first, without the proxy: an SDK is newer than the specifications, and some of its
requests are no longer what those say. Behind the proxy nothing may be told that the same client does not cause alone;
of a translated request, which is the proxy's own writing, nothing at all.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from suites.legs import CHAT, MESSAGES, WRITTEN, Leg, run_comply, run_sdk
from suites.servers import Server, free_port, say

SPECS = {"messages": "anthropic.json", "chat": "openai_chat.json"}
SDKS = {"messages": MESSAGES, "chat": CHAT, "responses": WRITTEN}
FORMS = {"messages": "anthropic", "chat": "openai-chat", "responses": "open-responses"}

PIPELINES = """
[pipeline.default]
stages = ["auth", "env-dedup", "token-count", "risk-assess", "route", "scale", "log"]
[upstream.published]
dialect = "{dialect}"
base-url = "{url}"
auth = "{auth}"
[retry]
attempts = 1
"""
AUTH = {"messages": "x-api-key", "chat": "bearer"}
ADDRESSES = {"messages": "", "chat": "/chat/completions"}
"""What follows a server's address: the one of chat has no /v1, so it is told whole."""


class Told(NamedTuple):
    """What steady told of the requests of a while."""

    requests: int
    invalid: int
    faults: Counter[tuple[str, str]]
    """How often which fault was told, as (place, words)."""


class Published:
    """A running `steady` and its log, read from where the last look ended."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log
        self._seen = 0

    def told(self) -> Told:
        """What it told since the last look."""
        lines = self._log.read_text().split("\n")[:-1]
        fresh, self._seen = lines[self._seen :], len(lines)
        requests = [line for line in map(json.loads, fresh) if line["type"] == "request"]
        faults = Counter(
            (f"{line['request']['path']} {fault['requestPath']}", fault["message"])
            for line in requests
            for fault in line["diagnostics"]
        )
        return Told(len(requests), sum(bool(line["diagnostics"]) for line in requests), faults)


@contextmanager
def published(command: Path, folder: Path, dialect: str) -> Iterator[Published]:
    """The specification of a dialect as a server."""
    port, spec = free_port(), files("llm_comply") / "specs" / SPECS[dialect]
    asked = ["--host", "127.0.0.1", "-p", port, "--log-format=json", "--reject-on-sdk-error=false", spec]
    log = folder / f"steady-{dialect}.log"
    with log.open("w") as output, Server(port, command, *asked, output=output) as server:
        yield Published(server.url, log)


@contextmanager
def proxied(folder: Path, dialect: str, url: str) -> Iterator[Server]:
    """The proxy with one upstream."""
    config = folder / f"steady-{dialect}.toml"
    config.write_text(PIPELINES.format(dialect=dialect, url=url + ADDRESSES[dialect], auth=AUTH[dialect]))
    port = free_port()
    serve = [sys.executable, "-m", "trimtab", "serve", "--port", port, "--config", config]
    environ = {"CACHE_DIR": str(folder / "cache")}
    with (folder / "proxy.log").open("w") as output, Server(port, *serve, environ=environ, output=output) as server:
        yield server


def legs(command: Path, bin_: Path, folder: Path) -> Iterator[Leg]:
    """Every client, before the specification of each dialect."""
    for dialect in SPECS:
        with published(command, folder, dialect) as upstream:
            _ask(dialect, bin_, folder, upstream.url, "" if dialect == "chat" else None)
            own = upstream.told()
            yield Leg(f"steady {dialect}: {dialect} without the proxy", True, _words(own))
            with proxied(folder, dialect, upstream.url) as proxy:
                for client in SDKS:
                    _ask(client, bin_, folder, proxy.url)
                    known = own.faults if client == dialect else Counter[tuple[str, str]]()
                    yield judged(f"steady {dialect}: {client} through the proxy", upstream.told(), known)


def _ask(client: str, bin_: Path, folder: Path, url: str, base: str | None = None) -> None:
    """Send what an SDK's tests and llm-comply send; what they make of the answers does not matter here."""
    suite = SDKS[client]
    run_sdk(suite if base is None else suite._replace(base=base), bin_, folder, url)
    run_comply(FORMS[client], "gpt-5", url, "/v1" if base is None else base)


def judged(name: str, told: Told, known: Counter[tuple[str, str]]) -> Leg:
    """Good when requests came, and none had a fault that its client alone does not have."""
    ours = told.faults - known
    for (place, words), count in sorted(ours.items()):
        say(f"     {count} x {place}: {words}")
    return Leg(name, told.requests > 0 and not ours, _words(told))


def _words(told: Told) -> str:
    kinds = "".join(f"\n       {count} x {place}: {words}" for (place, words), count in sorted(told.faults.items()))
    return f"{told.requests} requests, {told.invalid} not as specified{kinds}"
