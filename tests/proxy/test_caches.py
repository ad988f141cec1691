"""Prefix caches of providers, simulated."""

import pytest

from trimtab.caches import (
    LOOKBACK,
    Piece,
    Split,
    cached_share,
    common,
    dollars,
    explicit,
    implicit,
    piece,
    price,
    shared,
)


def of(*texts: str, marked: tuple[int, ...] = ()) -> list[Piece]:
    return [piece(text, marked=index in marked) for index, text in enumerate(texts)]


ONE, TWO, THREE = "one", "two", "three"  # a token each


def test_the_first_request_finds_nothing() -> None:
    assert implicit([of(ONE, TWO)], hidden=10) == [Split(0, 0, 12)]
    assert explicit([of(ONE, TWO, marked=(1,))], hidden=10) == [Split(0, 12, 0)]


def test_what_the_request_before_had_is_found() -> None:
    turns = [of(ONE, TWO), of(ONE, TWO, THREE), of("four", TWO, THREE)]
    assert implicit(turns, hidden=10) == [Split(0, 0, 12), Split(12, 0, 1), Split(10, 0, 3)]


def test_inside_the_first_differing_piece_the_common_start_counts() -> None:
    assert shared(of("a b c d"), of("a b c", TWO)) == 3
    assert shared(of(ONE), of(ONE, TWO)) == 1
    assert shared((), of(ONE)) == 0


def test_a_token_in_which_two_texts_part_is_not_shared() -> None:
    # Tokens: "hello", " world", and "hello", " war".
    assert shared(of("hello world"), of("hello war")) == 1
    assert shared(of("hello world"), of("bye")) == 0
    assert shared(of("x\n\n  hello world"), of("x\n\n  hello war")) == shared(
        of("x\n\n  hello world"), of("x\n\n  hello")
    )
    lines = "one line\n" * 50
    assert shared(of(f"{lines}hello world"), of(f"{lines}hello war")) == piece(lines).tokens + 1
    assert shared(of(f"{lines}\n"), of(f"{lines}\n\nx")) == piece(lines).tokens - 1


def test_marks_are_found_by_what_stood_before_an_earlier_one() -> None:
    turns = [of(ONE, TWO, marked=(1,)), of(ONE, TWO, THREE, marked=(1, 2)), of(ONE, TWO, "four")]
    assert explicit(turns) == [Split(0, 2, 0), Split(2, 1, 0), Split(0, 0, 3)]


def test_what_lies_too_far_before_a_mark_is_not_found() -> None:
    long = [f"{number}" for number in range(LOOKBACK)]
    near, far = of(ONE, *long[:-1], marked=(LOOKBACK - 1,)), of(ONE, *long, marked=(LOOKBACK,))
    start = of(ONE, marked=(0,))
    assert explicit([start, near])[1].cached == 1
    assert explicit([start, far])[1].cached == 0


def test_a_changed_piece_before_a_mark_loses_the_cache_behind_it() -> None:
    before, after = of(ONE, TWO, THREE, marked=(0, 2)), of(ONE, "2", THREE, marked=(2,))
    assert explicit([before, after])[1] == Split(1, 2, 0)


def test_prices_count_in_fresh_tokens() -> None:
    splits = [Split(100, 40, 10), Split(0, 0, 5)]
    assert price(splits, 0.1, 1.25) == pytest.approx(10 + 50 + 10 + 5)
    assert splits[0].tokens == 150
    assert cached_share(splits) == pytest.approx(100 / 155)
    assert cached_share([]) == 0.0


def test_money_follows_the_prices_of_the_model() -> None:
    splits = [Split(1_000_000, 0, 500_000), Split(0, 400_000, 0)]
    assert dollars(splits, 2.0, 0.25, 1.25) == pytest.approx(0.5 + 1.0 + 1.0)


def test_framing_is_added_and_marks_are_no_part_of_the_text() -> None:
    assert piece(ONE, 4).tokens == 5
    assert piece(ONE).digest == piece(ONE, marked=True).digest != piece(TWO).digest


@pytest.mark.parametrize(
    ("one", "other", "length"),
    [("", "", 0), ("a", "", 0), ("abc", "abd", 2), ("abc", "abc", 3), ("abc", "abcdef", 3), ("xbc", "abc", 0)],
)
def test_common_start(one: str, other: str, length: int) -> None:
    assert common(one, other) == common(other, one) == length
