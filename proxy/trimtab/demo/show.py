"""Starts the pretended providers and the proxy, runs the sessions both ways, and prints what they cost."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, chdir
from time import perf_counter
from typing import Any, NamedTuple

from trimtab.app import make_app
from trimtab.config import Config, load
from trimtab.echo import EchoOptions, echo_app
from trimtab.errors import ConfigError
from trimtab.models import Prices
from trimtab.offline.command import quiet
from trimtab.runtime import Runtime
from trimtab.server import listen
from trimtab.server import run as serve
from trimtab.store import DiskStore

from .session import ChatSession, MessagesSession, Session
from .table import Row, row, summary, table
from .talk import DemoFailed, Talk, Turn

MOST_ROUNDS = 5
BUDGET = 1.6
"""Seconds after which a dialect's session is not measured once more."""

Say = Callable[[str], None]


class Ports(NamedTuple):
    """Where the proxy listens, and a second provider that only direct questions reach, so that neither warms the
    other's cache."""

    proxy: int
    direct: int


class Plan(NamedTuple):
    """A session through the proxy, and the form of it that the provider reads without one."""

    session: type[Session]
    beside: type[Session]
    note: str


MODEL = "glm-4.6"
PLANS = (
    Plan(MessagesSession, MessagesSession, "not translated"),
    Plan(ChatSession, MessagesSession, "translated to the Anthropic upstream and back"),
)
WARM_UP = "glm-4.5"
"""Another model, since a provider's cache is per model."""


def run(arguments: argparse.Namespace) -> None:
    """`trimtab demo`. Raises SystemExit(1) when it fails, after saying why."""
    try:
        with quiet(), asyncio.Runner(loop_factory=_loop) as runner:
            runner.run(_demo(arguments.turns, arguments.port))
    except (DemoFailed, ConfigError) as error:
        sys.stderr.write(f"trimtab demo: {error}\n")
        raise SystemExit(1) from None


def _loop() -> asyncio.AbstractEventLoop:
    """The loop that `trimtab serve` runs on."""
    try:
        import uvloop  # noqa: PLC0415  # loaded where it is used
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
    for plan in PLANS:
        measure(plan, ports, 1, model=WARM_UP, rounds=1)
    row = config.models.model(MODEL)
    if row.prices is None:
        raise DemoFailed(f"the model table has no prices for {MODEL}")
    stages = ", ".join(config.pipelines["default"])
    say(f"A coding agent's session of {turns} turns with a pretended provider, all in this process.")
    say(f"The proxy: http://127.0.0.1:{ports.proxy}\nIts stages: {stages}")
    for plan in PLANS:
        rows, rounds = measure(plan, ports, turns)
        say(f"\n{plan.session.title}: POST {plan.session.path}, model {MODEL}, streamed")
        ran = f"run {rounds} times direct, {rounds} times proxied"
        say(f"{plan.note}; {ran}\n\n{table(rows, row.prices)}\n\n{summary(rows, row.prices)}")
    say(_closing(row.prices, row.window or 0))


def _closing(prices: Prices, window: int) -> str:
    return _CLOSING.format(
        model=MODEL, input=prices.input, cached=prices.cached, window=window, block=EchoOptions.block
    )


_CLOSING = """
How it was measured. The agent ends its turns with environment blocks, as Cline and Roo Code do.
Each session ran both ways, turn by turn: through the proxy, and with a second provider that
got the same messages unedited (of the chat session as Anthropic Messages, since that is what this
upstream reads). Tokens in and cached are no estimates: each provider counts what reaches it, and
has a prefix cache of its own, in blocks of {block} tokens.

saved    tokens that did not reach the provider: direct less proxied
cost     of the input: ${input:.2f} a million tokens, ${cached:.2f} where cached (model table, {model})
window   the proxy's headers x-context-risk and x-context-utilization: its count of the prompt as
         sent, and the answer's max_tokens, as a share of {window:,} tokens
ms       from sending a turn through the proxy to the last byte of its answer; added: less the same
         turn direct. Medians of all the times it ran, each with text that neither way had seen.
         They hold reading, editing and counting, and a second HTTP connection, all in one process.

How much is saved depends on the agent: one that sends no such blocks saves nothing here.

For your own agent run `trimtab serve` and let the agent keep its key:
  Anthropic agents   ANTHROPIC_BASE_URL=http://127.0.0.1:5000
  OpenAI agents      base URL http://127.0.0.1:5000/v1, model glm-4.6"""


def measure(
    plan: Plan, ports: Ports, turns: int, *, model: str = MODEL, rounds: int = MOST_ROUNDS
) -> tuple[list[Row], int]:
    """Hold the session several times both ways; the costs are those of the first, the times are medians."""
    begun = perf_counter()
    held: list[list[Row]] = []
    while len(held) < rounds and (not held or perf_counter() - begun < BUDGET):
        held.append(_both_ways(plan, ports, turns, model, len(held)))
    rows = [row([one.direct for one in taken], [one.proxied for one in taken]) for taken in zip(*held, strict=True)]
    return rows, len(held)


def _both_ways(plan: Plan, ports: Ports, turns: int, model: str, number: int) -> list[Row]:
    """One session each way, turn by turn, each way being the first in every other turn."""
    salt = f"{plan.session.dialect[0]}{number:03d}"
    proxied, direct = plan.session(model, salt), plan.beside(model, salt)
    with Talk(proxied, ports.proxy) as through, Talk(direct, ports.direct) as beside:
        return [_one(through, beside, swap=bool((turn + number) % 2)) for turn in range(turns)]


def _one(through: Talk, beside: Talk, *, swap: bool) -> Row:
    early: Turn | None = beside.turn() if swap else None
    proxied = through.turn()
    return Row(early or beside.turn(), proxied)
