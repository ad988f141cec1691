"""Runs the app in this process on hypercorn, with the defaults that agents need."""

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from hypercorn.asyncio import serve as hypercorn_serve
from loguru import logger

from trimtab import config as configuration
from trimtab import workers as several
from trimtab.app import make_app
from trimtab.config import ServeOptions
from trimtab.connections import Settings, abort
from trimtab.errors import ConfigError
from trimtab.runtime import Runtime
from trimtab.store import DiskStore
from trimtab.store_redis import RedisStore
from trimtab.trim import trimming
from trimtab.workers import Worker

try:
    import uvloop
except ImportError:  # no wheel for this platform
    uvloop = None  # type: ignore[assignment]  # the loop of the standard library serves then

BACKLOG = 2048
NET = 2.0
"""Seconds in which streams that were ended at the end of their time must be gone."""
LONGEST_LINE = 4000
"""Characters of a log line."""


def log_to_stderr(*, debug: bool) -> None:
    """One line per record. Values of variables never stand in a traceback: a key might be among them."""
    logger.remove()
    logger.configure(patcher=_harmless)
    line = "<dim>{time:YYYY-MM-DD HH:mm:ss.SSS}</dim> <level>{level: <7}</level> {message}"
    logger.add(sys.stderr, level="DEBUG" if debug else "INFO", format=line, diagnose=False, backtrace=debug)


def _harmless(record: Any) -> None:
    """No record may begin a line of its own, drive a terminal, or fill a screen; bodies (level 1) go to files only."""
    if record["level"].no >= 5:
        text = record["message"][:LONGEST_LINE]
        if not text.isprintable():
            text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
        record["message"] = text


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket; `shared` lets others of this user have the same address.

    Raises ConfigError when the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=shared)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port") from None
    listener.setblocking(False)  # noqa: FBT003  # the standard library's own signature
    return listener


def settings(descriptor: int, grace: float, serve: ServeOptions | None = None) -> Settings:
    """Hypercorn's settings.

    Its own defaults would close a connection after 5 s of thought or 1,000 requests, cut streams 3 s after a stop, and
    refuse heads over 16 KB.
    """
    serve = serve or ServeOptions()
    config = Settings()
    config.bind = [f"fd://{descriptor}"]
    config.backlog = BACKLOG
    config.keep_alive_timeout = 300
    config.keep_alive_max_requests = 10**9
    config.graceful_timeout = grace + NET + 1
    config.shutdown_timeout = grace + 5
    # Heads above the limit are told so by the app, in the client's dialect; only those far above it by the server.
    config.h11_max_incomplete_size = 2 * serve.max_header_kb * 1024
    config.head_timeout = serve.head_timeout
    config.include_server_header = False
    config.include_date_header = False
    config.accesslog = None
    config.errorlog = None
    return config


async def run(
    app: Any,
    listener: socket.socket,
    grace: float,
    stop: asyncio.Event,
    serve: ServeOptions | None = None,
    cut: Callable[[], None] = lambda: None,
) -> None:
    """Serve until `stop` is set, then give open streams `grace` seconds; takes the listener over.

    After them `cut` ends what is still under way. Hypercorn's own time is only the net behind that, and on Python 3.12
    and later, without uvloop, it does not hold (the loop's server waits for its connections first): then they are
    broken off.
    """
    config = settings(listener.detach(), grace, serve)

    async def stopped() -> None:
        await stop.wait()

    async def ending() -> None:
        await stop.wait()
        await asyncio.sleep(grace)
        cut()
        await asyncio.sleep(NET)
        if left := abort(config):
            logger.warning("{} connections were broken off", left)

    end = asyncio.create_task(ending())
    try:
        await hypercorn_serve(app, config, shutdown_trigger=stopped)
    finally:
        end.cancel()


def store_of(config: configuration.Config) -> DiskStore | RedisStore:
    """The store that a configuration names."""
    told = config.store
    if told.url is not None:
        return RedisStore(told.url, compress=told.compress, log=told.log)
    return DiskStore(told.path, compress=told.compress, log=told.log)


def serve(
    config: configuration.Config,
    load: Callable[[], configuration.Config] | None = None,
    *,
    server: str = "hypercorn",
    workers: int = 1,
) -> int:
    """`trimtab serve`: run until SIGINT or SIGTERM; SIGHUP reads pipelines.toml again. Returns the exit code."""
    if workers == 1:
        run_here(_serve(config, listen(config.serve.host, config.serve.port), load, server))
        return 0
    sockets = several.listeners(listen, config.serve.host, config.serve.port, workers)
    log_to_stderr(debug=config.serve.debug)

    def work(worker: Worker, listener: socket.socket) -> None:
        run_here(_serve(_newest(config, load), listener, load, server, worker))

    return several.Parent(sockets, work, config.serve.grace).run()


def _newest(config: configuration.Config, load: Callable[[], configuration.Config] | None) -> configuration.Config:
    """The configuration as it stands now, for a worker that takes another's place; the first one where it is broken."""
    try:
        return config if load is None else load()
    except ConfigError as error:
        logger.error("pipelines.toml is not used, but what it said at the start: {}", "; ".join(error.problems))
        return config


async def _serve(
    config: configuration.Config,
    listener: socket.socket,
    load: Callable[[], configuration.Config] | None,
    server: str,
    worker: Worker = Worker(),  # noqa: B008  # frozen
) -> None:
    log_to_stderr(debug=config.serve.debug)
    # Whatever is written from here on, by libraries too, is for this user alone.
    os.umask(0o077)
    store = store_of(config)
    runtime = Runtime(config, store=store, load=load, worker=worker)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        if runtime.draining:
            logger.warning("stopped at once; requests under way are cut")
            logger.complete()
            os._exit(1)
        runtime.draining = True
        logger.info(
            "stopping: {} requests under way get up to {:g} s; the same signal again stops at once",
            runtime.current.users,
            config.serve.grace,
        )
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(signal.SIGHUP, lambda: runtime.spawn(runtime.reload()))
    if worker.lifeline is not None:
        loop.add_reader(worker.lifeline, _orphaned, loop, worker.lifeline, end)
    spare_garbage_collection()
    # Before the server, which would wrap a stage's complaint into a traceback of its own.
    await runtime.start()
    for note in config.notes:
        logger.warning(note)
    for hint in config.hints:
        logger.info(hint)
    one = f", worker {worker.number} of {worker.count}" if worker.count > 1 else ""
    logger.info("trimtab listens on http://{}:{} ({}){}", *listener.getsockname()[:2], config.path, one)
    worker.serves()
    giving = asyncio.create_task(trimming(runtime.counters.snapshot))
    try:
        if server == "uvicorn":
            from trimtab import uvicorn_server  # noqa: PLC0415  # an extra

            await uvicorn_server.run(make_app(runtime), listener, config.serve.grace, stop, runtime.cut)
        else:
            await run(make_app(runtime), listener, config.serve.grace, stop, config.serve, runtime.cut)
    finally:
        giving.cancel()
        await store.close()
    logger.info("stopped{}", one)


def _orphaned(loop: asyncio.AbstractEventLoop, lifeline: int, end: Callable[[], None]) -> None:
    """The parent is gone: nobody would replace this worker, or pass a signal on to it."""
    loop.remove_reader(lifeline)
    end()


def spare_garbage_collection() -> None:
    """Leave what lives as long as the process out of the collector's rounds, and have fewer of them.

    Nearly all that a request makes goes by its count of references; the rest waits a little longer.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def echo(host: str, port: int, *, delay: float = 0.0, chunk_delay: float = 0.0) -> None:
    """`trimtab echo`: the embedded upstream on a port of its own."""
    from trimtab.echo import EchoOptions, echo_app  # noqa: PLC0415  # the proxy itself needs none

    listener = listen(host, port)
    app = echo_app(EchoOptions(delay=delay, chunk_delay=chunk_delay, keep=0))

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        logger.info("echo listens on http://{}:{} (chat at /v1, messages at /)", *listener.getsockname()[:2])
        await run(app, listener, 1.0, stop)

    run_here(main())


def run_here(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on uvloop where it is installed, else on asyncio's own loop."""
    asyncio.run(work) if uvloop is None else uvloop.run(work)
