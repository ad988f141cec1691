"""Cache marks toward Anthropic's dialect: four at most.

Of too many, those of the last user's turn are kept from the end, since that is what the next request finds again, and
before it the first three. A rule that kept the last four of all would take marks away from what was sent before.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from trimtab.invariants import MAX_MARKS


class Marked(NamedTuple):
    """A finished block, and the mark that the client put on it."""

    body: bytes
    mark: bytes = b""


class Budget:
    """The marks that are still free, given out in the order of the prompt."""

    def __init__(self, used: int, dropped: dict[str, None]) -> None:
        self._used = used
        self._dropped = dropped

    def early(self, blocks: Sequence[Marked]) -> list[Marked]:
        """Blocks of an early turn with the first of their marks written in."""
        marked = [at for at, block in enumerate(blocks) if block.mark]
        return self._written(blocks, marked, marked[: max(MAX_MARKS - 1 - self._used, 0)])

    def late(self, blocks: Sequence[Marked]) -> list[Marked]:
        """Blocks of the last user's turn with the last of their marks written in."""
        marked = [at for at, block in enumerate(blocks) if block.mark]
        return self._written(blocks, marked, marked[max(len(marked) - MAX_MARKS + self._used, 0) :])

    def _written(self, blocks: Sequence[Marked], marked: Sequence[int], kept: Sequence[int]) -> list[Marked]:
        self._used += len(kept)
        if len(kept) < len(marked):
            self._dropped["cache_control"] = None
        return [Marked(with_mark(*block)) if at in kept else Marked(block.body) for at, block in enumerate(blocks)]


def with_mark(body: bytes, mark: bytes) -> bytes:
    """A JSON object with a cache mark."""
    return body[:-1] + b',"cache_control":' + mark + b"}"


def bare(blocks: Sequence[Marked]) -> Iterator[bytes]:
    """The blocks as fragments of an array, a comma between them."""
    for at, block in enumerate(blocks):
        if at:
            yield b","
        yield block.body
