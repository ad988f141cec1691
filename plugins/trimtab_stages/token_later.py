"""Counts beside the request, which goes on with an estimate where nobody can need more.

The sure bound is in bytes: a token takes at least one, and the JSON of a message is longer than its text and frame.
"""

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, TypeVar

from loguru import logger

from trimtab.api import (
    Conversation,
    Counting,
    Document,
    Exchange,
    Image,
    StageFailed,
    TokenCount,
    framing,
)

FROM = 50_000
"""Bytes from which new messages are counted beside the request: 10 ms of source code."""
HEAD_START = 0.1
"""Seconds that a first request gets before the table of tokens is loaded, which takes 0.3 s of the interpreter."""
PER_TOKEN = 4
"""Bytes that are taken for a token meanwhile."""

M = TypeVar("M")


def bound(conversation: Conversation) -> int | None:
    """Tokens at most; None where bytes do not tell, since a picture or a page is more than its name."""
    if conversation.has(Image) or conversation.has(Document):
        return None
    head, frame = conversation.head, framing(conversation.dialect)
    tools, system = head.raw("tools") or b"", head.raw("system") or head.raw("instructions") or b""
    messages = conversation.messages
    # Tools are counted as templates write them, a space behind each colon and comma.
    offered = 2 * len(tools) + frame.tool * (tools.count(b",") + 1)
    around = offered + len(system) + frame.offer + frame.opening
    return around + sum([len(message.raw) for message in messages]) + frame.message * len(messages)


def estimate(conversation: Conversation, most: int, encoding: str, ratio: float) -> TokenCount:
    """What stands in TokenCount until the count is made."""
    messages = tuple([-(-len(message.raw) // PER_TOKEN) for message in conversation.messages])
    around = sum([len(conversation.head.raw(name) or b"") for name in ("tools", "system", "instructions")]) // PER_TOKEN
    return TokenCount(
        total=sum(messages) + around, messages=messages, overhead=around, encoding=encoding, ratio=ratio, most=most
    )


class Later(Generic[M]):
    """One count on its way: `count` makes it, and `put` puts it in the place of `rough`.

    It holds no exchange, so that nothing of a request is left to the garbage collector.
    """

    def __init__(
        self,
        exchange: Exchange,
        rough: TokenCount,
        count: Callable[[], Awaitable[M]],
        put: Callable[[Exchange, M], None],
    ) -> None:
        self._exchange = weakref.ref(exchange)
        self._rough = rough
        self._count = count
        self._take = put
        self._hurry = asyncio.Event()
        self._told: list[Callable[[Exchange], None]] = []
        self._task: asyncio.Task[M]

    def begin(self, spawn: Callable[[Coroutine[Any, Any, M]], "asyncio.Task[M]"], *, cold: bool) -> Counting:
        """Have the count made; where the table is cold, when the request has had its start."""
        self._task = spawn(self._run(HEAD_START if cold else 0.0))
        self._task.add_done_callback(self._ended)
        return Counting(settle=self.settle, patient=not cold, then=self._told.append)

    async def _run(self, wait: float) -> M:
        if wait:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._hurry.wait()
        return await self._count()

    async def settle(self) -> None:
        """Wait for the count. Raises StageFailed where it cannot be made."""
        self._hurry.set()
        try:
            counted = await asyncio.shield(self._task)
        except Exception as error:
            # Whatever went wrong in the background is what the stage would have raised at once.
            raise StageFailed("token-count", f"{type(error).__name__} while counting") from error
        self._put(counted)

    def _ended(self, task: "asyncio.Task[M]") -> None:
        if task.cancelled():
            return
        if error := task.exception():
            logger.debug("the tokens of a request were not counted: {}", type(error).__name__)
        else:
            self._put(task.result())

    def _put(self, counted: M) -> None:
        exchange = self._exchange()
        # Once; again where a stage that was undone meanwhile took it along; never over the count of something else.
        if exchange is not None and exchange.get(TokenCount) is self._rough:
            self._take(exchange, counted)
            for tell in self._told:
                tell(exchange)
