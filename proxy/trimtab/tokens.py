"""Count tokens offline: tiktoken, with the published tables that lie in `encodings/` beside this file."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from os.path import commonprefix
from pathlib import Path
from typing import Any, NamedTuple

from trimtab.words import Words

Encode = Callable[[str], Sequence[int]]
Size = Callable[[str], int]

ENCODINGS = Path(__file__).with_name("encodings")
DEFAULT = "cl100k_base"
# tiktoken looks for a table under the SHA-1 of the address it was published at.
TABLES = {
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
}

# tiktoken panics on about a million white space characters in a row, so no piece is longer than this.
PIECE = 100_000
# A cut at a line end costs no token; one is looked for in the last tenth of a piece.
NEAR = 10
# After a panic the pieces shrink by this factor, down to the smallest size, below which the count is estimated.
SHRINK = 10
SMALLEST = 1_000
BYTES_PER_TOKEN = 4
# Of a token in a buffer.
RANK_BYTES = 4
_NONE_SPECIAL: frozenset[str] = frozenset()
# Up to here a text is counted by its words.
SHORT = 16_000

SAMPLE = "Of each kind: it's 12 words, f(x) = {}; déjà\n\n  \tvu 東京 \r\n"
"""Text that meets every branch of the expressions by which a text is split."""

_loading = threading.Lock()


class _Engine(NamedTuple):
    encode: Encode
    size: Size


class Tokenizer:
    """Count the tokens of a text; the table is loaded at the first count. Safe in any thread."""

    def __init__(self, name: str, encode: Encode | None = None) -> None:
        self.name = name
        self._engine = None if encode is None else _Engine(encode, partial(_length, encode))
        self._words: Words | None = None

    def count(self, text: str, *, beside: bool = False) -> int:
        """Say how many tokens `text` has; special tokens in it are plain text, lone surrogates count as U+FFFD.

        `beside` other work: by the encoder, which leaves the interpreter to other threads, and by no table.
        """
        size = (self._engine or self._load()).size
        words = None if beside or len(text) > SHORT else self._words
        if words is not None and (known := words.count(text)) is not None:
            return known
        if len(text) <= PIECE:
            return _count(size, text, PIECE)
        return sum(_count(size, piece, PIECE) for piece in pieces(text, PIECE))

    def alike(self, one: str, other: str) -> int:
        """Say with how many tokens two texts begin alike; the token in which they part is not among them."""
        encode = (self._engine or self._load()).encode
        try:
            mine, its = encode(one), encode(other)
        except BaseException as error:
            # A Rust panic is no Exception; `_survivable` tells it from an interrupt.
            if not _survivable(error):
                raise
            return self.count(one[: len(commonprefix([one, other]))])  # noqa: RUF071  # of texts, not of paths
        pairs = enumerate(zip(mine, its, strict=False))
        return next((at for at, (left, right) in pairs if left != right), min(len(mine), len(its)))

    @property
    def ready(self) -> bool:
        """Whether the table is there."""
        return self._engine is not None

    def load(self) -> None:
        """Load the table, which takes a third of a second; any thread may do that."""
        if self._engine is None:
            self._load()

    def claim(self) -> None:
        """Have the calling thread be the one that counts fastest, where none has counted yet.

        The engine of regular expressions keeps what it works with for the first thread that uses it; all others share,
        which costs a sixth more (0.91 against 0.76 ms for 4,000 characters of source code).
        """
        self.count(SAMPLE)

    def _load(self) -> _Engine:
        with _loading:
            if self._engine is None:
                # Imported here because a process that never counts should not pay for it in time or memory.
                import tiktoken  # noqa: PLC0415  # loaded where it is used

                with _packaged_table(self.name):
                    encoding = tiktoken.get_encoding(self.name)
                # Without its expression, a piece costs a third; should it be gone one day, any text will do.
                piece = getattr(encoding, "_encode_single_piece", encoding.encode_ordinary)
                self._words = Words(piece, getattr(encoding, "_pat_str", ""))
                self._engine = _Engine(encoding.encode_ordinary, _sizing(encoding))
            return self._engine


def tokenizer(name: str = DEFAULT) -> Tokenizer:
    """Return the one tokenizer of that name."""
    try:
        return _tokenizers[name]
    except KeyError:
        raise ValueError(f"unknown encoding {name!r}: the known ones are {' and '.join(TABLES)}") from None


def pieces(text: str, size: int) -> Iterator[str]:
    """Cut a text into pieces of at most `size` characters, at a line end where one is near."""
    start = 0
    while len(text) - start > size:
        end = start + size
        end = (text.rfind("\n", end - size // NEAR, end) + 1) or end
        yield text[start:end]
        start = end
    yield text[start:]


def _length(encode: Encode, text: str) -> int:
    return len(encode(text))


def _sizing(encoding: Any) -> Size:
    """How an encoding says how many tokens a text has.

    In a buffer they are never Python's numbers: making 100,000 of them would keep the other threads waiting for 6 ms.
    """
    buffer = getattr(getattr(encoding, "_core_bpe", None), "encode_to_tiktoken_buffer", None)
    if buffer is None:
        return partial(_length, encoding.encode_ordinary)

    def size(text: str) -> int:
        try:
            return memoryview(buffer(text, _NONE_SPECIAL)).nbytes // RANK_BYTES
        except UnicodeEncodeError:
            # A lone surrogate, which the encoder replaces.
            return len(encoding.encode_ordinary(text))

    return size


def _count(count: Size, text: str, size: int) -> int:
    try:
        return count(text)
    except BaseException as error:
        # A Rust panic is no Exception; `_survivable` tells it from an interrupt.
        if not _survivable(error):
            raise
    smaller = size // SHRINK
    if smaller < SMALLEST:
        return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)
    return sum(_count(count, piece, smaller) for piece in pieces(text, smaller))


def _survivable(error: BaseException) -> bool:
    # A Rust panic is a BaseException whose class cannot be imported; interrupts and cancellation must pass.
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


@contextmanager
def _packaged_table(name: str) -> Iterator[None]:
    """Point tiktoken's cache at the packaged tables, unless the user's own cache already holds this one."""
    variable = "TIKTOKEN_CACHE_DIR"
    before = os.environ.get(variable)
    if before and Path(before, TABLES[name]).is_file():
        yield
        return
    os.environ[variable] = str(ENCODINGS)
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


_tokenizers = {name: Tokenizer(name) for name in TABLES}
