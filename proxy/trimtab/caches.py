"""What a provider's prefix cache makes of a session: which tokens it has, which it keeps, and the price of both.

Pure arithmetic, shared by `trimtab replay`, `trimtab explain` and the demo. Two kinds of caches
are known (docs of the providers; `cache_control` is Anthropic's): an *implicit* one has what a prompt shares with the
one before it; an *explicit* one has what stood before a mark, and looks for it at a mark and some blocks before.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from trimtab.tokens import tokenizer

READ = 0.1
"""Price of a cached input token over a fresh one, where no prices are known (Anthropic's)."""
WRITE = 1.25
"""Price of a token written at an explicit mark over a fresh one."""
LOOKBACK = 20
"""Blocks before a mark in which a provider looks for what it has."""

AHEAD = 200
"""Characters behind the place where two texts part that are read to see which token it lies in."""


class Piece(NamedTuple):
    """A part of a prompt as the provider reads it: its text, its tokens, and whether a cache mark stands on it."""

    text: str
    tokens: int
    marked: bool
    digest: bytes
    """SHA-256 of the text."""


class Split(NamedTuple):
    """The input tokens of one request: found in the cache, written to it at the price of a write, and all others."""

    cached: int
    written: int
    fresh: int

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.cached + self.written + self.fresh

    def price(self, read: float = READ, write: float = WRITE) -> float:
        """What they cost, in fresh tokens."""
        return read * self.cached + write * self.written + self.fresh


def piece(text: str, framing: int = 0, *, marked: bool = False) -> Piece:
    """A part with its tokens counted, and `framing` more for what stands around it."""
    return Piece(
        text, tokenizer().count(text) + framing, marked, sha256(text.encode("utf-8", "surrogatepass")).digest()
    )


def implicit(turns: Sequence[Sequence[Piece]], hidden: int = 0) -> list[Split]:
    """Each request where the provider has what the one before had in common with it.

    `hidden` tokens stand in front of every request and are not shown.
    """
    splits: list[Split] = []
    before: Sequence[Piece] = ()
    for turn in turns:
        total = sum(each.tokens for each in turn) + hidden
        cached = shared(before, turn) + hidden if before else 0
        splits.append(Split(cached, 0, total - cached))
        before = turn
    return splits


def explicit(turns: Sequence[Sequence[Piece]], hidden: int = 0) -> list[Split]:
    """Each request where the provider has what stood before a mark, and looks LOOKBACK blocks before each mark."""
    splits: list[Split] = []
    known: set[bytes] = set()
    for turn in turns:
        ends, prefixes = [hidden], [b""]
        for each in turn:
            ends.append(ends[-1] + each.tokens)
            prefixes.append(sha256(prefixes[-1] + each.digest).digest())
        marks = [index + 1 for index, each in enumerate(turn) if each.marked]
        found = [
            index for mark in marks for index in range(mark, max(0, mark - LOOKBACK), -1) if prefixes[index] in known
        ]
        cached = ends[max(found)] if found else 0
        written = max(cached, ends[max(marks)] if marks else 0)
        splits.append(Split(cached, written - cached, ends[-1] - written))
        known.update(prefixes[mark] for mark in marks)
    return splits


def price(splits: Iterable[Split], read: float = READ, write: float = WRITE) -> float:
    """What a session costs, in fresh tokens."""
    return sum(split.price(read, write) for split in splits)


def dollars(splits: Iterable[Split], million: float, read: float, write: float = WRITE) -> float:
    """What a session costs where a million fresh tokens cost so many dollars."""
    return price(splits, read, write) * million / 1e6


def cached_share(splits: Sequence[Split]) -> float:
    """The share of a session's input tokens that the cache had; 0 for none."""
    total = sum(split.tokens for split in splits)
    return sum(split.cached for split in splits) / total if total else 0.0


def shared(before: Sequence[Piece], after: Sequence[Piece]) -> int:
    """Tokens that two prompts have in common at their beginning."""
    tokens = 0
    for old, new in zip(before, after, strict=False):
        if old.text != new.text:
            return tokens + _begun(old.text, new.text)
        tokens += new.tokens
    return tokens


def _begun(one: str, other: str) -> int:
    """Tokens with which two texts begin alike: those of whole lines, and what the last line has more of."""
    end = common(one, other)
    start = one.rfind("\n", 0, end) + 1
    while start and (start == end or one[start].isspace()):
        # Only in front of what is no white space do the tokens of two lines stand apart.
        start = one.rfind("\n", 0, start - 1) + 1
    tail = end + AHEAD
    return tokenizer().count(one[:start]) + tokenizer().alike(one[start:tail], other[start:tail])


def common(one: str, other: str) -> int:
    """Say how many characters two texts share at the start."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
