"""Counts the tokens of short texts word by word, from a table: texts of agents say the same words again and again.

An encoding cuts a text by an expression and then each piece into tokens. Where a space stands between two others than
white space, both of ours (cl100k_base, o200k_base) cut before it, whatever stands around; of more spaces all but the
last are a piece of their own, and a single token. What may be cut otherwise is left to the encoder.
"""

import re
from collections.abc import Callable, Sequence

Encode = Callable[[str], Sequence[int]]

LONGEST = 40
"""Characters of a word that is kept; a longer one is hardly seen twice."""
MOST = 16_384
"""Words that are kept: 3 MB."""
NEW = 48
"""Words that are looked up in the encoder for one text, 2 us each; with more the whole text costs no more."""
SPACES = 79
"""Spaces in a row that are one token in both encodings."""

# White space in which the cut depends on what stands further away.
_ODD = ("  \n", "\n \n", " " * (SPACES + 2), "\v", "\f")
_ODD_TABS = ("\t ", "  \t", "\n \t")
_ODD_RETURNS = ("\r ", "  \r", "\n \r")
_ODD_SPACES = re.compile("[\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")


class _Unknown(Exception):
    """A text holds too many words that were never seen."""


class _Table(dict[str, int]):
    """Tokens of words with a space before them; the empty one is all spaces of a row but the last."""

    def __init__(self, encode: Encode) -> None:
        super().__init__({"": 1})
        self._encode = encode
        self.left = 0

    def __missing__(self, word: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise _Unknown
        tokens = len(self._encode(f" {word}"))
        if len(word) <= LONGEST:
            self[word] = tokens
        return tokens


class Words:
    """Tokens of texts, by their words. Safe in any thread."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._table = _Table(encode)

    def count(self, text: str) -> int | None:
        """The tokens of a text as the encoder would find them; None where it must be asked."""
        if text.endswith(" ") or _odd(text):
            return None
        while "   " in text:
            # Of two spaces one is left when the text is cut, and stands for as many as there were.
            text = text.replace("    ", "  ").replace("   ", "  ")
        first, *words = text.split(" ")
        table = self._table
        if len(table) > MOST:
            table = self._table = _Table(self._encode)
        table.left = NEW
        try:
            return (len(self._encode(first)) if first else 0) + sum(map(table.__getitem__, words))
        except _Unknown:
            return None


def _odd(text: str) -> bool:
    """Whether the table may not tell how a text is cut."""
    if (
        _holds(text, _ODD)
        or ("\t" in text and _holds(text, _ODD_TABS))
        or ("\r" in text and _holds(text, _ODD_RETURNS))
    ):
        return True
    return not text.isascii() and _ODD_SPACES.search(text) is not None


def _holds(text: str, odds: tuple[str, ...]) -> bool:
    return any(odd in text for odd in odds)
