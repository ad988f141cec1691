"""An event loop whose time is its own: whenever nothing is left to do, it jumps to the next timer."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Looks for ready files, waits never, and lets the loop's clock pass what it should have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.turns = 0

    def select(self, timeout: float | None = None) -> Any:
        """What is ready now; with nothing to wait for, a loop that no timer will ever wake stands still."""
        if timeout is None:
            raise AssertionError("everything waits, and nothing will ever wake it")
        self.turns += 1
        self.now += max(0.0, timeout)
        return super().select(0)


class FakeLoop(asyncio.SelectorEventLoop):
    """Time passes only where everybody waits, and then at once. It begins at 0."""

    def __init__(self) -> None:
        self.jumping = _Jumping()
        super().__init__(self.jumping)

    def time(self) -> float:
        """Seconds since the loop was made, in its own time."""
        return self.jumping.now


def turns() -> int:
    """How often the running loop went round."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, FakeLoop)
    return loop.jumping.turns


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in fake time; a task or timer that it leaves behind is a failure."""
    with asyncio.Runner(loop_factory=FakeLoop) as runner:
        loop = runner.get_loop()
        complaints: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        result = runner.run(_alone(main))
    assert complaints == []
    return result


async def _alone(main: Coroutine[Any, Any, T]) -> T:
    result = await main
    await asyncio.sleep(0)  # one round, in which tasks that were cancelled end
    await asyncio.sleep(0)
    loop: Any = asyncio.get_running_loop()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    timers = [handle for handle in loop._scheduled if not handle.cancelled()]
    assert (left, timers) == (set(), [])
    return result
