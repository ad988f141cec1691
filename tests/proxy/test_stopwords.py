"""Stop words that an upstream was not told."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from trimtab.events import BlockStop, Event, Finished, Started, StopReason, TextDelta, ToolStart, Usage
from trimtab.stopwords import StopWords

USAGE = Usage(input=3, output=2)


def cut(words: Sequence[str], *pieces: str) -> tuple[str, str | None]:
    """The text that is left, and the word it was cut at."""
    stop, out = StopWords(words), list[Event]()
    events: list[Event] = [Started(), *(TextDelta(piece) for piece in pieces), BlockStop(), Finished(StopReason.END)]
    for event in events:
        out += stop((event,))
    ends = [event for event in out if isinstance(event, Finished)]
    assert len(ends) == 1
    assert stop.cut == (ends[0].reason is StopReason.STOP_SEQUENCE)
    return "".join(event.text for event in out if isinstance(event, TextDelta)), ends[0].stop_sequence


def test_a_word_ends_the_reply_however_it_is_split() -> None:
    assert cut(["END"], "say EN", "D and more") == ("say ", "END")
    assert cut(["END"], "E", "N", "D") == ("", "END")
    assert cut(["END"], "say EEND") == ("say E", "END")
    assert cut(["END"], "say EN", "Dless", "END") == ("say ", "END")


def test_what_only_begins_like_a_word_is_told_in_full() -> None:
    assert cut(["END"], "say EN", "OUGH") == ("say ENOUGH", None)
    assert cut(["END"], "say EN") == ("say EN", None)


def test_the_first_word_in_the_text_counts() -> None:
    assert cut(["b", "a"], "xaxb") == ("x", "a")


def test_events_without_a_word_are_the_very_same() -> None:
    events = [Started(), TextDelta("plain"), BlockStop(), ToolStart("t", "n", 1)]
    assert StopWords(["END"])(events) is events


def test_text_held_back_comes_before_what_follows_it() -> None:
    held = StopWords(["END"])
    assert held([TextDelta("a E")]) == [TextDelta("a ")]
    assert held([ToolStart("t", "n", 1)]) == [TextDelta("E"), ToolStart("t", "n", 1)]
    assert held([TextDelta("E", 2)]) == []
    assert held([TextDelta("ND", 3)]) == [TextDelta("E", 2), TextDelta("ND", 3)]


def test_a_whole_reply_keeps_its_usage() -> None:
    found = StopWords(["END"])([TextDelta("a END b"), BlockStop(), Finished(StopReason.END, USAGE)])
    assert found == [TextDelta("a "), BlockStop(), Finished(StopReason.STOP_SEQUENCE, USAGE, "END", "stop_sequence")]


@given(st.text("abc", max_size=30), st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=3), st.data())
def test_the_pieces_do_not_matter(text: str, words: list[str], data: st.DataObject) -> None:
    at = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    pieces = [text[a:b] for a, b in zip([0, *at], [*at, len(text)], strict=True)]
    first = min((text.find(word) for word in words if word in text), default=len(text))
    assert cut(words, *pieces)[0] == text[:first]
