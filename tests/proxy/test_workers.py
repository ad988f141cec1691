"""The parent's decisions; processes, signals and sockets are in wire/test_workers.py."""

import socket
import sys
import time

import pytest

from trimtab import workers
from trimtab.errors import ConfigError
from trimtab.server import listen
from trimtab.workers import EARLY, LONGEST_REST, Parent, Worker, listeners


@pytest.mark.parametrize("limit", [1, 3, 10, 64])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_shares_of_all_make_up_the_whole_and_none_is_nothing(limit: int, count: int) -> None:
    shares = [Worker(number, count).share(limit) for number in range(1, count + 1)]
    assert sum(shares) == max(limit, count)
    assert max(shares) - min(shares) <= 1
    assert min(shares) >= 1


def test_no_limit_is_shared_as_none() -> None:
    assert Worker(2, 3).share(0) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one socket is shared")
def test_each_worker_listens_on_the_one_address_and_nobody_else_may() -> None:
    found = listeners(listen, "127.0.0.1", 0, 3)
    try:
        assert len({one.getsockname() for one in found}) == 1
        port = found[0].getsockname()[1]
        for again in (lambda: listeners(listen, "127.0.0.1", port, 2), lambda: listen("127.0.0.1", port)):
            with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"):
                again()
    finally:
        for one in found:
            one.close()


def test_a_system_that_cannot_fork_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.fork")
    with pytest.raises(ConfigError, match="--workers needs a system that can fork"):
        listeners(listen, "127.0.0.1", 0, 2)


@pytest.fixture
def parent() -> Parent:
    made = Parent([socket.socket(), socket.socket()], lambda worker, listener: None, 60.0)
    made._close()
    return made


def test_who_dies_early_again_and_again_waits_longer_and_longer(parent: Parent) -> None:
    parent._begun = True
    [child, _] = parent._children
    waits = []
    for _ in range(8):
        child.born = time.monotonic()
        parent._ended(child, -9)
        waits.append(round(child.due - time.monotonic()))
    assert waits == [0, 1, 2, 4, 8, 16, 30, LONGEST_REST]
    child.born = time.monotonic() - EARLY
    parent._ended(child, 1)
    assert child.due <= time.monotonic()


@pytest.mark.parametrize(("code", "told"), [(2, 2), (-9, 1), (0, 1)])
def test_a_first_worker_that_cannot_start_ends_it_all(parent: Parent, code: int, told: int) -> None:
    parent._ended(parent._children[0], code)
    assert (parent._code, parent._stopping is not None) == (told, True)


def test_a_worker_that_fails_while_it_stops_is_told_by_the_exit_code(parent: Parent) -> None:
    parent._begun, parent._stopping = True, time.monotonic()
    for child, code in zip(parent._children, (0, -11), strict=True):
        parent._ended(child, code)
    assert parent._code == 1


def test_a_worker_tells_that_it_serves() -> None:
    one, other = socket.socketpair()
    with one, other:
        Worker(3, 4, ready=one.fileno()).serves()
        assert other.recv(9) == bytes([workers.READY + 3])
        Worker().serves()
