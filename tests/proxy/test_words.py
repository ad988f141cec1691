"""A count by words is the encoder's own, or none."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.tokens import TABLES, Tokenizer, tokenizer
from trimtab.words import LONGEST, MOST, NEW, SPACES, Encode, Words

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
    ),
)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=40)


def encoder(name: str) -> Encode:
    kept: Tokenizer = tokenizer(name)
    kept.load()
    assert kept._encode is not None
    return kept._encode


@pytest.mark.parametrize("name", TABLES)
def test_a_count_is_that_of_the_encoder_or_none(name: str) -> None:
    encode = encoder(name)
    words = Words(encode)

    @LAW
    @given(text=TEXTS)
    def holds(text: str) -> None:
        text = text.encode("utf-8", "replace").decode()
        assert words.count(text) in (None, len(encode(text)))

    holds()


@pytest.mark.parametrize("name", TABLES)
def test_texts_of_all_kinds_are_counted_as_the_encoder_does(name: str) -> None:
    encode = encoder(name)
    words, known = Words(encode), 0
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
    words = Words(encode)
    for count in range(1, SPACES + 5):
        text = f"a{' ' * count}b"
        found = words.count(text)
        assert found in (None, len(encode(text)))
        assert (found is None) is (count > SPACES + 1)


def test_few_new_words_are_looked_up_for_a_text_and_none_twice() -> None:
    asked: list[str] = []

    def encode(text: str) -> list[int]:
        asked.append(text)
        return [0]

    words = Words(encode)
    text = " ".join(f"w{number}" for number in range(NEW + 11))
    assert words.count(text) is None
    assert len(asked) == 1 + NEW
    assert words.count(text) == NEW + 11
    # But for the first word: no space stands before it, and it is not kept.
    assert len(asked) == len(set(asked)) + 1


def test_what_is_kept_is_bounded() -> None:
    words = Words(lambda text: [0])
    long = "x" * (LONGEST + 1)
    for number in range(MOST // 32 + 20):
        words.count("a " + " ".join(f"w{number}-{at}" for at in range(32)) + f" {long}")
        assert len(words._table) <= MOST + 32
    assert long not in words._table
