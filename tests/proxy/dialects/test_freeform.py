"""The text of a freeform tool out of the JSON around it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.dialects.freeform import Unwrapper


def read(pieces: list[str]) -> tuple[str, str]:
    """What was told piece by piece, and the whole text."""
    unwrapper = Unwrapper()
    told = "".join(map(unwrapper.feed, pieces))
    rest, text = unwrapper.end()
    return told + rest, text


@given(text=st.text(), ascii_only=st.booleans(), size=st.integers(1, 5))
def test_any_text_cut_anywhere_is_told_whole(text: str, ascii_only: bool, size: int) -> None:
    raw = json.dumps({"input": text}, ensure_ascii=ascii_only)
    assert read([raw[at : at + size] for at in range(0, len(raw), size)]) == (text, text)


def test_it_is_told_while_it_comes() -> None:
    unwrapper = Unwrapper()
    assert [unwrapper.feed(piece) for piece in ('{ "in', 'put": "*** Be', "gin\\", "n+a", '"}')] == [
        "",
        "*** Be",
        "gin",
        "\n+a",
        "",
    ]
    assert unwrapper.end() == ("", "*** Begin\n+a")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("*** Begin Patch", "*** Begin Patch"),
        ('{"patch":"x"}', '{"patch":"x"}'),
        ('{"note":1,"input":"late"}', "late"),
        ('{"input":"a\nb"}', "a\nb"),
        ('{"input":7}', '{"input":7}'),
        ("", ""),
    ],
)
def test_what_is_no_such_json_is_the_text_itself(raw: str, text: str) -> None:
    assert read([raw]) == (text, text)
