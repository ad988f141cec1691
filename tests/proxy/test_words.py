"""A count by words is the encoder's own, or none."""

import os
import re
import unicodedata
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.tokens import TABLES, Tokenizer, tokenizer
from trimtab.words import _CUTS, _LETTER, _SPACE, FOREIGN, LONGEST, MOST, NEW, PER_NEW, SPACES, Encode, Words

LAW = settings(max_examples=int(os.environ.get("TRIMTAB_LAWS", "300")))
PIECES = (
    *(" ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", "\n    ", " \n", "\v", "\xa0", "\u3000", "\x1c", "\x85"),
    *(
        "a",
        "Word",
        "it's",
        "DON'T",
        "'s",
        "x1",
        "12345",
        "7",
        "_",
        "(",
        "):",
        "/",
        "//",
        "...",
        "{}",
        "é",
        "東京",
        "Ⅷ",
        "😀",
        "\0",
        "“it’s”",
        "\ufe0f",
        "🛠\ufe0f",
        "└──",
        "…",
        "ÉCOLE",
        "ñandú",
        "CamelCase",
        "ſ",
    ),
)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=40)


def encoder(name: str) -> Encode:
    kept: Tokenizer = tokenizer(name)
    kept.load()
    assert kept._engine is not None
    return kept._engine.encode


def words_of(name: str) -> Words:
    """A table in which nothing is known; pieces are encoded as the tokenizer has it."""
    encoder(name)
    return Words(tiktoken.get_encoding(name)._encode_single_piece, expression(name))


def expression(name: str) -> str:
    encoder(name)
    return str(tiktoken.get_encoding(name)._pat_str)


@pytest.mark.parametrize("name", TABLES)
def test_the_expressions_are_those_of_the_encoder(name: str) -> None:
    """When this fails, the table counts nothing any more: look what tiktoken has changed."""
    assert expression(name) in _CUTS


def test_what_is_not_foreign_is_known_for_what_it_is() -> None:
    for point in range(0x110000):
        if not FOREIGN.match(sign := chr(point)):
            kind = unicodedata.category(sign)
            assert (kind[0] == "L") is bool(re.match(f"[{_LETTER}]", sign)), hex(point)
            assert (kind[0] == "N") is (sign in "0123456789"), hex(point)
            assert (kind[0] == "M") is (sign == "\ufe0f"), hex(point)
            assert (kind[0] == "Z" or "\t" <= sign <= "\r") is (sign in _SPACE), hex(point)


def test_an_expression_that_is_not_known_counts_nothing() -> None:
    assert Words(lambda text: [0], ".+").count("a b") is None


@pytest.mark.parametrize("name", TABLES)
def test_a_count_is_that_of_the_encoder_or_none(name: str) -> None:
    encode, words = encoder(name), words_of(name)

    @LAW
    @given(text=TEXTS)
    def holds(text: str) -> None:
        text = text.encode("utf-8", "replace").decode()
        assert words.count(text) in (None, len(encode(text)))

    holds()


@pytest.mark.parametrize("name", TABLES)
def test_texts_of_all_kinds_are_counted_as_the_encoder_does(name: str) -> None:
    encode = encoder(name)
    words, known = words_of(name), 0
    texts = [file.read_text() for file in sorted(Path(__file__).parents[2].glob("docs/*.md"))]
    texts += [file.read_text() for file in sorted(Path(__file__).parent.glob("test_*.py"))[:40]]
    pieces = [text[at : at + 4000] for text in texts for at in range(0, len(text), 4000)]
    for piece in pieces:
        # Each time some more of its words are known.
        found = [words.count(piece) for _ in range(20)]
        assert set(found) <= {None, len(encode(piece))}
        known += found[-1] is not None
    assert known > 0.8 * len(pieces)


@pytest.mark.parametrize("name", TABLES)
def test_spaces_in_a_row_are_one_token_up_to_their_limit(name: str) -> None:
    encode = encoder(name)
    assert {len(encode(" " * count)) for count in range(1, SPACES + 1)} == {1}
    words = words_of(name)
    for count in range(1, SPACES + 5):
        text = f"a{' ' * count}b"
        found = words.count(text)
        assert found in (None, len(encode(text)))
        assert (found is None) is (count > SPACES + 1)


def test_little_is_looked_up_for_a_text_and_nothing_twice() -> None:
    asked: list[str] = []

    def encode(text: str) -> list[int]:
        asked.append(text)
        return [0]

    words = Words(encode, expression("cl100k_base"))
    text = " ".join(f"w{'abcdefgh'[number % 8]}{'ijklmnop'[number // 8]}" for number in range(64))
    assert words.count(text) is None
    # Each word costs two looks: one for itself, one for its only piece.
    assert len(asked) <= (NEW + len(text) // PER_NEW) // 2
    # Each time some more is known.
    assert [words.count(text) for _ in range(2)] == [None, 64]
    assert len(asked) == len(set(asked)) == 64


def test_what_is_foreign_is_left_to_the_encoder() -> None:
    words = Words(lambda text: [0], expression("cl100k_base"))
    assert [words.count(text) for text in ("a b", "a 東", "a b\u0301", "a \u00b2", "a “b”")] == [2, None, None, None, 4]


def test_what_is_kept_is_bounded() -> None:
    words = Words(lambda text: [0], expression("cl100k_base"))
    long = "x" * (LONGEST + 1)
    for number in range(MOST // 16 + 20):
        words.count("a " + " ".join(f"w{number}-{at}" for at in range(16)) + f" {long}")
        assert words._tables is not None
        assert max(map(len, words._tables)) <= MOST + 32
    assert not any(long in table or f" {long}" in table for table in words._tables or ())
