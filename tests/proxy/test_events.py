"""The nouns of a reply."""

import pytest

from trimtab.events import Finished, StopReason, TextDelta, Usage, replace


def test_the_prompt_is_all_that_was_read_cached_or_not() -> None:
    assert Usage(input=1, cache_read=20, cache_write=300, output=4000).prompt == 321


def test_replace_leaves_the_original() -> None:
    before = TextDelta("a", 3)
    assert replace(before, text="b") == TextDelta("b", 3)
    assert before == TextDelta("a", 3)


def test_events_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Finished(StopReason.END).native = "x"  # type: ignore[misc]  # frozen
