"""What the echo remembers and what tests may ask of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trimtab.tokens import tokenizer

from . import model
from .cache import PrefixCache, chain
from .faults import Fault
from .nouns import Dialect, EchoOptions, Prompt, Recorded, Reply
from .prompt import Reader, Request, total


class Echo:
    """The state of one echo: its cache, the requests that came, the replies on their way."""

    def __init__(self, options: EchoOptions | None = None) -> None:
        self.options = options or EchoOptions()
        self.requests: list[Recorded] = []
        self.open_streams = 0
        self.aborted = 0  # replies, streamed or not, whose client left before their end
        self._count = tokenizer().count
        # A request of many new pieces must not push its own start out of the reader.
        self._reader = Reader(self._count, 4 * self.options.entries)
        self._cache = PrefixCache(self._reader.measure, self.options.block, self.options.entries)
        self._changed = asyncio.Event()

    def tokens(self, request: Request) -> int:
        """Count a prompt without caching it."""
        return total(self._reader.read(request))

    def reply(self, request: Request, dialect: Dialect) -> Reply:
        """Answer a request, or refuse one that does not fit the window."""
        pieces = self._reader.read(request)
        tokens, window = total(pieces), self.options.window
        if window is not None and tokens > window:
            raise Fault(400, dialect.overflow(tokens, window), "context_length_exceeded")
        keys = chain(request.model, pieces)
        prompt = Prompt(request, pieces, keys[-1].hex(), self._cache.visit(keys, pieces))
        return model.reply(
            prompt, thinks=dialect.thinks(request), tool_turns=self.options.tool_turns, count=self._count
        )

    def record(self, request: Recorded) -> None:
        """Keep a request for the tests."""
        self.requests.append(request)
        del self.requests[: max(0, len(self.requests) - self.options.keep)]
        self._tell()

    @contextmanager
    def sending(self, *, streamed: bool) -> Iterator[None]:
        """Count a reply while it is sent, and as aborted when sending it is cut short."""
        self.open_streams += streamed
        finished = False
        try:
            self._tell()
            yield
            finished = True
        finally:
            self.open_streams -= streamed
            self.aborted += not finished
            self._tell()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on this object holds; it is asked anew at every change."""
        while not condition():
            await self._changed.wait()

    async def wait_aborted(self, count: int = 1) -> None:
        """Wait until that many replies were cut short by clients that left."""
        await self.until(lambda: self.aborted >= count)

    def _tell(self) -> None:
        # A fresh event each time: who waits now is woken, who comes later waits for the next change.
        self._changed.set()
        self._changed = asyncio.Event()
