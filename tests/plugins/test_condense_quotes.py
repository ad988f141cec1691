"""Words come out of a text as they went in, whatever lines they have."""

import re

from hypothesis import given
from hypothesis import strategies as st

from trimtab_stages.condense_quotes import newest, quoted, quotes, unquoted

LINES = st.sampled_from(
    ["<said>", "</said>", "</said-2>", "<said-2>", "</told>", "", "so", " </said>", "## The user said"]
)
TEXTS = st.lists(st.lists(LINES, min_size=1, max_size=5).map("\n".join), max_size=4)


@given(TEXTS, st.sampled_from(["said", "told"]))
def test_what_was_quoted_is_read_word_for_word(texts: list[str], name: str) -> None:
    assert quotes("## Goal\nsmall\n\n" + "\n\n".join(quoted(texts, name)), name) == texts


@given(st.lists(LINES, max_size=12).map("\n".join), st.sampled_from(["said", "told"]))
def test_what_comes_out_is_what_an_expression_finds(text: str, name: str) -> None:
    """Which would begin anew at each opening line, and take a day for some texts."""
    found = re.findall(rf"^<({name}(?:-\d+)?)>\n(.*?)\n</\1>$", text, re.DOTALL | re.MULTILINE)
    assert quotes(text, name) == [said for _, said in found]


def test_a_text_without_such_a_line_has_the_plain_one() -> None:
    assert quoted(["so", "a </said> b", "</said>"], "said") == [
        "<said>\nso\n</said>",
        "<said>\na </said> b\n</said>",
        "<said-2>\n</said>\n</said-2>",
    ]


def test_a_models_words_are_never_taken_for_the_users() -> None:
    answer = "## Goal\n<said>\nyes\n</said>\n<told-3>\n<b>"
    assert quotes(answer, "said") == ["yes"]
    assert unquoted(answer) == "## Goal\n <said>\nyes\n </said>\n <told-3>\n<b>"
    assert quotes(unquoted(answer), "said") == []


def test_the_newest_are_those_behind_the_first_that_does_not_fit() -> None:
    assert newest(["a" * 9, "b", "c" * 4, "d"], 7) == ["b", "c" * 4, "d"]
    assert newest(["a", "b" * 9, "c"], 7) == ["c"]
    assert newest(["a"], 0) == []
    assert newest(["a" * 99], None) == ["a" * 99]
