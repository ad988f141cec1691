"""A prefix cache as providers keep one: what a prompt shares with an earlier one, in whole blocks of tokens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from trimtab.caches import common

from .prompt import Piece, prefix


@dataclass(frozen=True)
class _Entry:
    parent: bytes
    text: str


def chain(model: str, pieces: Sequence[Piece]) -> list[bytes]:
    """Name every prefix of a prompt by a hash, from the empty one to the whole; models share nothing."""
    keys = [sha256(model.encode("utf-8", "surrogatepass")).digest()]
    for piece in pieces:
        keys.append(sha256(keys[-1] + piece.digest).digest())
    return keys


class PrefixCache:
    """Remember prompts as a tree of pieces, bounded, the least recently used branch ends forgotten first."""

    def __init__(self, measure: Callable[[str], int], block: int, limit: int) -> None:
        self._measure = measure
        self._block = block
        self._limit = limit
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._children: dict[bytes, dict[bytes, None]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def visit(self, keys: Sequence[bytes], pieces: Sequence[Piece]) -> int:
        """Say how many tokens of this prompt are cached, and cache the rest."""
        known = next((i for i, key in enumerate(keys[1:]) if key not in self._entries), len(pieces))
        shared = prefix(pieces[:known])
        if known < len(pieces):
            shared += self._shared_inside(keys[known], pieces[known])
        self._keep(keys, pieces)
        # The last token is always computed: its output starts the reply.
        return min(shared, prefix(pieces) - 1) // self._block * self._block

    def _shared_inside(self, parent: bytes, piece: Piece) -> int:
        texts = (self._entries[child].text for child in self._children.get(parent, ()))
        best = max((common(text, piece.text) for text in texts), default=0)
        return min(self._measure(piece.text[:best]), piece.tokens)

    def _keep(self, keys: Sequence[bytes], pieces: Sequence[Piece]) -> None:
        # From the end to the start, so that a prefix is always younger than what continues it and outlives it.
        for index in reversed(range(len(pieces))):
            key, parent = keys[index + 1], keys[index]
            if key not in self._entries:
                self._entries[key] = _Entry(parent, pieces[index].text)
                self._children.setdefault(parent, {})[key] = None
            self._entries.move_to_end(key)
        while len(self._entries) > self._limit:
            self._forget(*self._entries.popitem(last=False))

    def _forget(self, key: bytes, entry: _Entry) -> None:
        siblings = self._children[entry.parent]
        del siblings[key]
        if not siblings:
            del self._children[entry.parent]
