"""Starts the pretended provider and the proxy, runs the sessions, and prints what they cost."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, chdir, contextmanager
from time import perf_counter
from typing import Any, NamedTuple

from loguru import logger

from trimtab.app import make_app
from trimtab.config import Config, load
from trimtab.echo import EchoOptions, echo_app
from trimtab.errors import ConfigError
from trimtab.events import Usage
from trimtab.runtime import Runtime
from trimtab.server import listen
from trimtab.server import run as serve
from trimtab.store import DiskStore

from .session import ChatSession, MessagesSession, Session
from .table import Row, row, summary, table
from .talk import DemoFailed, Talk

MOST_ROUNDS = 5
BUDGET = 1.6
"""Seconds after which a dialect's session is not measured once more."""

Say = Callable[[str], None]


class Ports(NamedTuple):
    """Where the proxy listens, and a second provider that only direct questions reach, so that neither warms the
    other's cache."""

    proxy: int
    direct: int


class Taken(NamedTuple):
    """One turn of one session: what it cost, and its milliseconds both ways."""

    usage: Usage
    proxied: float
    direct: float


class Plan(NamedTuple):
    """A session, and the model's name for the proxy and for the provider."""

    session: type[Session]
    asked: str
    served: str


PLANS = (Plan(MessagesSession, "glm-4.6", "glm-4.6"), Plan(ChatSession, "glm-4.6-openai", "glm-4.6"))
WARM_UP = (Plan(MessagesSession, "glm-4.5", "glm-4.5"), Plan(ChatSession, "glm-4.5-openai", "glm-4.5"))
"""Another model, since a provider's cache is per model."""


def run(arguments: argparse.Namespace) -> None:
    """`trimtab demo`. Raises SystemExit(1) when it fails, after saying why."""
    try:
        with _quiet(), asyncio.Runner(loop_factory=_loop) as runner:
            runner.run(_demo(arguments.turns, arguments.port))
    except (DemoFailed, ConfigError) as error:
        sys.stderr.write(f"trimtab demo: {error}\n")
        raise SystemExit(1) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """What goes wrong reaches the client as an answer, and the demo prints that."""
    packages = ("trimtab", "trimtab_stages")
    for package in packages:
        logger.disable(package)
    try:
        yield
    finally:
        for package in packages:
            logger.enable(package)


def _loop() -> asyncio.AbstractEventLoop:
    """The loop that `trimtab serve` runs on."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _demo(turns: int, port: int) -> None:
    if turns < 1:
        raise DemoFailed(f"a session of {turns} turns shows nothing: give --turns 1 or more")
    with tempfile.TemporaryDirectory(prefix="trimtab-demo-") as folder:
        async with _servers(folder, turns, port) as (ports, config):
            await asyncio.to_thread(_talk, ports, config, turns)


@asynccontextmanager
async def _servers(folder: str, turns: int, port: int) -> AsyncIterator[tuple[Ports, Config]]:
    """Two providers, and the proxy in front of the first."""
    async with AsyncExitStack() as stack:
        options = EchoOptions(tool_turns=turns - 1, keep=0)
        upstream, direct = [await stack.enter_async_context(_serving(echo_app(options), 0)) for _ in range(2)]
        config = configuration(folder, upstream)
        store = DiskStore(config.store.path, compress=config.store.compress)
        stack.push_async_callback(store.close)
        proxy = await stack.enter_async_context(_serving(make_app(Runtime(config, store=store)), port))
        yield Ports(proxy, direct), config


@asynccontextmanager
async def _serving(app: Any, port: int) -> AsyncIterator[int]:
    listener, stop = listen("127.0.0.1", port), asyncio.Event()
    task = asyncio.create_task(serve(app, listener, 1.0, stop))
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        await task


def configuration(folder: str, upstream: int) -> Config:
    """The defaults, with the provider's address and a cache of their own: no file or variable of the user counts."""
    environ = {
        "UPSTREAM_BASE": f"http://127.0.0.1:{upstream}",
        "OPENAI_UPSTREAM_BASE": f"http://127.0.0.1:{upstream}/v1",
        "CACHE_DIR": f"{folder}/cache",
    }
    with chdir(folder):
        return load(environ=environ)


def _talk(ports: Ports, config: Config, turns: int, say: Say = print) -> None:
    for plan in WARM_UP:
        measure(plan, ports, 1, rounds=1)
    stages = ", ".join(config.pipelines["default"])
    say(f"A coding agent's session of {turns} turns with a pretended provider, all in this process.")
    say(f"The proxy: http://127.0.0.1:{ports.proxy} ({stages})")
    for plan in PLANS:
        rows, rounds = measure(plan, ports, turns)
        say(f"\n{plan.session.title}: POST {plan.session.path}, model {plan.asked}, streamed, held {rounds} times")
        say(f"\n{table(rows)}\n\n{summary(rows)}")
    say(_CLOSING)


_CLOSING = """
cached: tokens that the provider found in its prefix cache. ms: from sending a turn to the last
byte of its answer. of it added: measured, not estimated. Each session was also held with the
provider itself, turn by turn beside the one through the proxy, with a cache of its own and text
that neither way had seen; this is the difference of the two medians. It holds reading and
counting the new messages and a second HTTP connection, all in one process; a busy machine adds.

For your own agent run `trimtab serve` and let the agent keep its key:
  Anthropic agents   ANTHROPIC_BASE_URL=http://127.0.0.1:5000
  OpenAI agents      base URL http://127.0.0.1:5000/v1, model glm-4.6-openai"""


def measure(plan: Plan, ports: Ports, turns: int, rounds: int = MOST_ROUNDS) -> tuple[list[Row], int]:
    """Hold the session several times both ways; the costs are those of the first, the times are medians."""
    begun = perf_counter()
    held: list[list[Taken]] = []
    while len(held) < rounds and (not held or perf_counter() - begun < BUDGET):
        held.append(_both_ways(plan, ports, turns, len(held)))
    rows = [
        row(taken[0].usage, [one.proxied for one in taken], [one.direct for one in taken])
        for taken in zip(*held, strict=True)
    ]
    return rows, len(held)


def _both_ways(plan: Plan, ports: Ports, turns: int, number: int) -> list[Taken]:
    """One session each way, turn by turn, each way being the first in every other turn."""
    salt = f"{number:04d}"
    proxied, direct = plan.session(plan.asked, salt), plan.session(plan.served, salt)
    with Talk(proxied, ports.proxy) as through, Talk(direct, ports.direct) as beside:
        return [_one(through, beside, swap=bool((turn + number) % 2)) for turn in range(turns)]


def _one(through: Talk, beside: Talk, *, swap: bool) -> Taken:
    early = beside.turn() if swap else None
    usage, proxied = through.turn()
    _, direct = early or beside.turn()
    return Taken(usage, proxied, direct)
