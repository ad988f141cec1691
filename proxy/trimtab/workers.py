"""Several processes on one port: the parent starts them, replaces one that dies, and passes signals on.

Each worker has a listening socket of its own on the same address (SO_REUSEPORT, where the kernel spreads connections
over them); elsewhere all share one. The parent keeps every socket open, so that connections which nobody took yet
outlive a worker and are served by the next one. It does nothing else: no loop, no thread, so that it may fork.
"""

import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

import msgspec
from loguru import logger

from trimtab.errors import ConfigError

MOST = 64
"""Workers at most: their numbers stand in one byte beside those of signals."""
READY = 128
"""A byte of this value and above is a worker that is ready; one below it is a signal."""
FIRST_REST, LONGEST_REST = 1.0, 30.0
"""Seconds that the place of a worker stays empty that dies early again and again, at first and at most."""
EARLY = 10.0
"""Seconds of life under which a worker died early."""
NET = 15.0
"""Seconds behind the time of grace after which what is left of the workers is killed."""
STOPS = (signal.SIGTERM, signal.SIGINT)


class Worker(msgspec.Struct, frozen=True):
    """Which of the processes this one is."""

    number: int = 1
    """From 1 on."""
    count: int = 1
    ready: int | None = None
    """Where the parent is told that it serves (a descriptor)."""
    lifeline: int | None = None
    """A descriptor that comes to its end when the parent is gone."""

    def share(self, limit: int) -> int:
        """This worker's part of a limit; the parts of all make up the whole, but none is less than 1."""
        whole, rest = divmod(limit, self.count)
        return max(1, whole + (self.number <= rest)) if limit else 0

    def serves(self) -> None:
        """Tell the parent that this worker serves."""
        if self.ready is not None:
            os.write(self.ready, bytes([READY + self.number]))


Work = Callable[[Worker, socket.socket], None]
"""Serves on a socket until a signal ends it. Raises ConfigError when it cannot start."""


def listeners(listen: Callable[..., socket.socket], host: str, port: int, count: int) -> list[socket.socket]:
    """A socket for each worker, all on one address. Raises ConfigError when it is in use."""
    if not hasattr(os, "fork"):
        raise ConfigError("--workers needs a system that can fork: leave it out")
    if sys.platform != "linux":
        return [listen(host, port)] * count
    # A socket that shares its address would not notice that somebody else has it.
    probe = listen(host, port)
    port = probe.getsockname()[1]
    probe.close()
    return [listen(host, port, shared=True) for _ in range(count)]


class _Child(msgspec.Struct):
    """A worker, as the parent sees it."""

    number: int
    pid: int | None = None
    born: float = 0.0
    due: float = 0.0
    rest: float = 0.0


class Parent:
    """Keeps the workers running until a signal ends them all."""

    def __init__(self, sockets: Sequence[socket.socket], work: Work, grace: float) -> None:
        self._sockets = list(sockets)
        self._work = work
        self._grace = grace
        self._children = [_Child(number) for number in range(1, len(sockets) + 1)]
        self._begun = False
        self._stopping: float | None = None
        self._code = 0

    def run(self) -> int:
        """Run them; the exit code: 0 after a stop, that of the first worker when it cannot start."""
        self._read, self._write = os.pipe()
        self._life, self._held = os.pipe()
        os.set_blocking(self._write, False)
        os.set_blocking(self._read, False)
        old = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (*STOPS, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._start(self._children[0])
        try:
            while self._stopping is None or any(child.pid for child in self._children):
                for byte in self._wait():
                    self._take(byte)
                self._reap()
                self._care()
        finally:
            signal.set_wakeup_fd(old)
            self._close()
            for descriptor in (self._read, self._write, self._life, self._held):
                os.close(descriptor)
        return self._code

    def _wait(self) -> bytes:
        """Signals and words of workers; nothing when something else is due."""
        dues = [child.due for child in self._children if child.pid is None and child.due and self._stopping is None]
        dues += [self._stopping] if self._stopping is not None else []
        patience = max(0.0, min(dues) - time.monotonic()) if dues else None
        if not select.select([self._read], [], [], patience)[0]:
            return b""
        return os.read(self._read, 4096)

    def _take(self, byte: int) -> None:
        if byte >= READY:
            self._ready()
        elif byte in STOPS:
            self._stop(byte)
        elif byte == signal.SIGHUP:
            self._pass(byte)

    def _ready(self) -> None:
        """The first worker serves, so the others will: what is wrong with the settings was told once."""
        if not self._begun and self._stopping is None:
            self._begun = True
            for child in self._children[1:]:
                self._start(child)

    def _stop(self, number: int) -> None:
        """Have the workers stop; new connections are refused as soon as these have closed their sockets too."""
        if self._stopping is None:
            self._stopping = time.monotonic() + self._grace + NET
            self._close()
        self._pass(number)

    def _pass(self, number: int) -> None:
        for child in self._children:
            if child.pid:
                os.kill(child.pid, number)

    def _reap(self) -> None:
        for child in self._children:
            if child.pid:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    child.pid = None
                    self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Child, code: int) -> None:
        if self._stopping is not None:
            self._code = self._code or (1 if code else 0)
            return
        if not self._begun:
            # It said why.
            self._code = code if code > 0 else 1
            self._stopping = time.monotonic()
            return
        now = time.monotonic()
        if now - child.born >= EARLY:
            child.rest = 0.0
        child.due, child.rest = now + child.rest, min(LONGEST_REST, max(FIRST_REST, 2 * child.rest))
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        logger.error("worker {} of {} ended ({}): another takes its place", child.number, len(self._children), how)

    def _care(self) -> None:
        """Start what is due, kill what does not end."""
        now = time.monotonic()
        if self._stopping is not None:
            if now >= self._stopping:
                self._pass(signal.SIGKILL)
                self._stopping = now + 1
            return
        for child in self._children:
            if self._begun and child.pid is None and now >= child.due:
                self._start(child)

    def _start(self, child: _Child) -> None:
        # A signal that came between the fork and the child's own handlers would be taken for the parent's, and lost.
        held = {*STOPS, signal.SIGHUP}
        signal.pthread_sigmask(signal.SIG_BLOCK, held)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            self._child(child.number, held)
        child.pid, child.born = pid, time.monotonic()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, held)

    def _child(self, number: int, held: set[signal.Signals]) -> NoReturn:
        code = 1
        try:
            # Ctrl-C is for the parent, which passes it on.
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            for name in (*STOPS, signal.SIGCHLD):
                signal.signal(name, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
            os.close(self._read)
            os.close(self._held)
            mine = self._sockets[number - 1]
            for other in self._sockets:
                if other is not mine:
                    other.close()
            self._work(Worker(number, len(self._children), self._write, self._life), mine)
            code = 0
        except ConfigError as error:
            sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
            code = 2
        except BaseException:
            # Without values of variables: a key might be among them.
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _close(self) -> None:
        for listener in self._sockets:
            listener.close()
