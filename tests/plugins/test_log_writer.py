"""The thread behind the log."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger

from trimtab.testing import StillClock
from trimtab_stages import log_writer
from trimtab_stages.log_writer import Writer


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message).strip()), level="TRACE", format="{message}")
    yield lines
    logger.remove(sink)


class Gate:
    """A sink that waits until it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.busy = threading.Event()
        self.got: list[Any] = []

    def __call__(self, record: Any) -> None:
        self.busy.set()
        assert self.open.wait(10)
        self.got.append(record)


def test_records_are_written_in_order() -> None:
    got: list[int] = []
    writer = Writer(got.append, StillClock())
    writer.start()
    for number in range(100):
        assert writer.put(number, 10)
    assert writer.flush()
    assert got == [*range(100)]
    writer.put(100, 10)
    writer.stop()
    writer.stop()
    assert got[-1] == 100


def test_the_queue_is_bounded_in_bytes(said: list[str]) -> None:
    gate, clock = Gate(), StillClock()
    writer = Writer(gate, clock, limit=100)
    writer.start()
    assert writer.put("larger than all, yet alone", 500)
    assert gate.busy.wait(10)
    assert not writer.put("no room", 1)
    gate.open.set()
    assert writer.flush()
    assert writer.put("room again", 60)
    assert writer.flush()
    assert writer.put("more room", 60)
    writer.stop()
    assert gate.got == ["larger than all, yet alone", "room again", "more room"]
    assert writer.dropped == 1
    assert said == ["log: 1 records lost: no room in the queue"]


def test_losses_are_told_once_a_minute(said: list[str]) -> None:
    def broken(record: Any) -> None:
        raise OSError(28, "No space left on device") if record else ValueError("quotes the prompt")

    clock = StillClock()
    writer = Writer(broken, clock)
    writer.start()
    for _ in range(3):
        writer.put(1, 1)
        assert writer.flush()
    assert said == ["log: 1 records lost, the last for OSError: No space left on device"]
    clock.advance(60)
    assert writer.flush()
    assert said[1:] == ["log: 2 records lost, the last for OSError: No space left on device"]
    writer.put(0, 1)
    writer.stop()
    assert said[2:] == ["log: 1 records lost, the last for ValueError"]
    assert writer.failed == 4


def test_the_chore_is_done_when_due() -> None:
    clock, done = StillClock(), list[float]()
    writer = Writer(lambda record: None, clock, chore=lambda: done.append(clock.monotonic()), every=100)
    writer.start()
    for seconds in (50, 49, 1, 99, 1):
        clock.advance(seconds)
        assert writer.flush()
    writer.stop()
    assert done == [100, 200]


def test_an_idle_thread_looks_for_its_chore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "LOOK_EVERY", 0.001)
    clock, done = StillClock(), threading.Event()
    writer = Writer(lambda record: None, clock, chore=done.set, every=100)
    writer.start()
    clock.advance(100)
    assert done.wait(10)
    writer.stop()


def test_a_chore_that_fails_ends_nothing() -> None:
    def fail() -> None:
        raise OSError("the folder is gone")

    clock, got = StillClock(), list[int]()
    writer = Writer(got.append, clock, chore=fail, every=1)
    writer.start()
    clock.advance(1)
    assert writer.flush()
    writer.put(1, 1)
    writer.stop()
    assert got == [1]


def test_a_flush_of_a_thread_that_hangs_gives_up() -> None:
    gate = Gate()
    writer = Writer(gate, StillClock())
    writer.start()
    writer.put(1, 1)
    assert not writer.flush(0.01)
    gate.open.set()
    writer.stop()
