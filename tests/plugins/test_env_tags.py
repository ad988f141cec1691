"""Pairs of tags as users write them."""

import pytest

from trimtab_stages.env_blocks import Tags
from trimtab_stages.env_tags import tags_of


@pytest.mark.parametrize(
    "pattern",
    ["<ctx>|</ctx>", " <ctx> | </ctx> ", "<ctx>.*?</ctx>", r"<ctx>.*?<\/ctx>", r"\<ctx\>.*?\</ctx\>"],
)
def test_a_pair(pattern: str) -> None:
    assert tags_of(pattern) == Tags("<ctx>", "</ctx>", whole=True)


def test_escaped_signs_are_themselves() -> None:
    assert tags_of(r"\[ctx\].*?\[/ctx\]") == Tags("[ctx]", "[/ctx]", whole=True)


@pytest.mark.parametrize(
    "pattern",
    [
        "<ctx>",
        "<ctx>.*</ctx>",
        r"<ctx>[\s\S]*?</ctx>",
        r"<ctx>\s.*?</ctx>",
        "<ctx>.*?a.*?</ctx>",
        "<ctx>|x|</ctx>",
        "|</ctx>",
        "<a|b",
        "<ctx>|<ctx>",
        "(<ctx>).*?(</ctx>)",
        "<ctx>|</ctx>\\",
        "",
    ],
)
def test_anything_else_is_refused_with_the_form(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"<open>\.\*\?</open>"):
        tags_of(pattern)
