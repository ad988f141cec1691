"""Values are counted outside of strings, in one pass."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.values import more_values

VALUES = st.recursive(
    st.none() | st.integers(-99, 99) | st.text(alphabet='a,[{"\\\n', max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet=',["', max_size=3), inner, max_size=4),
    max_leaves=20,
)


def signs(value: Any) -> int:
    """Commas and opening brackets of a value's JSON."""
    if not isinstance(value, list | dict):
        return 0
    inner = list(value.values()) if isinstance(value, dict) else value
    return 1 + max(0, len(inner) - 1) + sum(map(signs, inner))


@given(VALUES, st.booleans())
def test_it_counts_what_stands_outside_of_strings(value: Any, ascii_only: bool) -> None:
    raw, count = json.dumps(value, ensure_ascii=ascii_only).encode(), signs(value)
    assert not more_values(raw, count)
    assert count == 0 or more_values(raw, count - 1)


@pytest.mark.parametrize(
    "raw", [b'"' + b'\\"' * 200_000, b'"' * 200_001, b'"' + b"\\" * 200_001, b'"' + b"," * 200_000]
)
def test_strings_without_an_end_hold_all_that_follows(raw: bytes) -> None:
    # A pattern that stepped back would take minutes for the first.
    assert not more_values(raw + b"," if raw.count(b'"') % 2 else raw, 10)


def test_a_text_of_many_values_is_known_by_its_first_ones() -> None:
    assert more_values(b"[" + b"1," * 2_000_000, 100)
    assert not more_values(json.dumps({"content": "a, b" * 1000}).encode(), 10)
