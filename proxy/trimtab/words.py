"""Counts the tokens of short texts from a table of words: texts of agents say the same words again and again.

An encoding cuts a text by an expression into pieces, and each piece into tokens. Where a space stands between two
others than white space, both of ours (cl100k_base, o200k_base) cut before it, whatever stands around; of more spaces
all but the last are a piece of their own, and a single token. A word that is new is cut into its pieces here, by the
same expression, and these are looked up too. What may be cut otherwise is left to the encoder.
"""

import re
from collections.abc import Callable, Sequence

Encode = Callable[[str], Sequence[int]]

LONGEST = 40
"""Characters of a word, or a piece, that is kept; a longer one is hardly seen twice."""
MOST = 16_384
"""Words that are kept, and as many pieces: 3 MB each."""
NEW, PER_NEW, MOST_NEW = 32, 8, 1_000
"""New words and pieces that are looked up for one text, 1 to 3 us each: so many, and one for so many characters, and
never more than the last. Where there are more the encoder costs no more."""
SPACES = 79
"""Spaces in a row that are one token in both encodings."""

# White space in which the cut depends on what stands further away.
_ODD = ("  \n", "\n \n", " " * (SPACES + 2), "\v", "\f")
_ODD_TABS = ("\t ", "  \t", "\n \t")
_ODD_RETURNS = ("\r ", "  \r", "\n \r")
_ODD_SPACES = re.compile("[\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")

# Letters and white space of Latin-1, for the expressions below.
_UPPER, _LOWER = "A-Z\xaa\xba\xc0-\xd6\xd8-\xde", "a-z\xaa\xb5\xba\xdf-\xf6\xf8-\xff"
_LETTER, _SPACE = _UPPER + _LOWER, "\t\n\x0b\x0c\r "
FOREIGN = re.compile(
    "[^\x00-\x7f\xa1-\xb1\xb4-\xb8\xba\xbb\xbf-\xff\u2010-\u2027\u2030-\u205e\u2190-\u23ff\u2500-\u2775\u2794-\u27bf"
    "\ufe0f\U0001f300-\U0001f64f\U0001f680-\U0001f6ff\U0001f900-\U0001f9ff]"
)
"""What is not known here to be a letter, or known to be none, nor a number, white space, or a mark (but for the one
behind emoji)."""
_MARK = "\ufe0f"
_WHITE = rf"[{_SPACE}]+(?![^{_SPACE}])"
_ENDS = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?"
_CUTS = {
    # As tiktoken writes it, and the same for texts that hold nothing foreign.
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|"
    r"\s+(?!\S)|\s": (
        rf"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n{_LETTER}0-9]?+[{_LETTER}]++|[0-9]{{1,3}}+|"
        rf" ?[^{_SPACE}{_LETTER}0-9]++[\r\n]*+|[{_SPACE}]++\Z|[{_SPACE}]*[\r\n]|{_WHITE}|[{_SPACE}]"
    ),
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+": (
        rf"[^\r\n{_LETTER}0-9]?[{_UPPER}{_MARK}]*[{_LOWER}{_MARK}]+{_ENDS}|"
        rf"[^\r\n{_LETTER}0-9]?[{_UPPER}{_MARK}]+[{_LOWER}{_MARK}]*{_ENDS}|"
        rf"[0-9]{{1,3}}| ?[^{_SPACE}{_LETTER}0-9]+[\r\n/]*|[{_SPACE}]*[\r\n]+|{_WHITE}|[{_SPACE}]+"
    ),
}


class _Unknown(Exception):
    """A text holds too much that was never seen."""


class _Pieces(dict[str, int]):
    """Tokens of pieces."""

    __slots__ = ("_encode", "left")

    def __init__(self, encode: Encode) -> None:
        super().__init__()
        self._encode = encode
        self.left = 0

    def __missing__(self, piece: str) -> int:
        self.left -= 1
        if self.left < 0 or (not piece.isascii() and FOREIGN.search(piece)):
            raise _Unknown
        tokens = len(self._encode(piece))
        if len(piece) <= LONGEST:
            self[piece] = tokens
        return tokens


class _Words(dict[str, int]):
    """Tokens of words with a space before them; the empty one is all spaces of a row but the last."""

    __slots__ = ("_cut", "_of", "_pieces")

    def __init__(self, cut: Callable[[str], list[str]], pieces: _Pieces) -> None:
        super().__init__({"": 1})
        self._cut, self._pieces, self._of = cut, pieces, pieces.__getitem__

    def __missing__(self, word: str) -> int:
        self._pieces.left -= 1
        tokens = sum(map(self._of, self._cut(f" {word}")))
        if len(word) <= LONGEST:
            self[word] = tokens
        return tokens

    def first(self, text: str) -> int:
        """Tokens of a text without a space before it, by its pieces."""
        self._pieces.left -= 1
        return sum(map(self._of, self._cut(text)))


class Words:
    """Tokens of texts, by their words. Safe in any thread."""

    def __init__(self, encode: Encode, expression: str) -> None:
        """`encode` gets one piece at a time. `expression` is the one by which the encoder cuts a text into them: of one
        that is not known here nothing is counted."""
        self._encode = encode
        cut = _CUTS.get(expression)
        self._cut = None if cut is None else re.compile(cut).findall
        self._tables: tuple[_Words, _Pieces] | None = None

    def count(self, text: str) -> int | None:
        """The tokens of a text as the encoder would find them; None where it must be asked."""
        if self._cut is None or text.endswith(" ") or _odd(text):
            return None
        while "   " in text:
            # Of two spaces one is left when the text is cut, and stands for as many as there were.
            text = text.replace("    ", "  ").replace("   ", "  ")
        first, *others = text.split(" ")
        if self._tables is None or max(map(len, self._tables)) > MOST:
            pieces = _Pieces(self._encode)
            self._tables = _Words(self._cut, pieces), pieces
        words, pieces = self._tables
        pieces.left = min(MOST_NEW, NEW + len(text) // PER_NEW)
        try:
            return (words.first(first) if first else 0) + sum(map(words.__getitem__, others))
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
