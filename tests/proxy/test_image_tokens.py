"""Tokens of images, by the numbers that vendors and bills tell."""

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.api import DialectName, ImageRule, Model, Target, Upstream
from trimtab.image_size import Picture
from trimtab.image_tokens import RULES, USUAL, Patches, tokens_of

MARKS = 2


@pytest.mark.parametrize(
    ("rule", "size", "tokens"),
    [
        # A screenshot.
        ("glm", (1920, 1080), 69 * 39 + MARKS),
        ("anthropic", (1920, 1080), 1560),
        ("anthropic-high", (1920, 1080), 69 * 39),
        ("openai-tiles", (1920, 1080), 1105),
        # GLM: the limits are 12,544 and 9,633,792 pixels over two frames.
        ("glm", (28, 28), 9 + MARKS),
        ("glm", (112, 56), 8 + MARKS),
        ("glm", (1, 1), 9 + MARKS),
        ("glm", (2184, 2156), 78 * 77 + MARKS),
        ("glm", (2212, 2184), 78 * 77 + MARKS),
        ("glm", (10_000, 10_000), 78 * 78 + MARKS),
        ("glm", (6144 * 28, 28), 6144 + MARKS),
        ("glm-5", (28, 28), 16 + MARKS),
        ("glm-5", (10_000, 10_000), 89 * 89 + MARKS),
        # Claude: squares of the padded image; 1568 on the longer side and 1,568 in all, or 2576 and 4,784.
        ("anthropic", (28, 28), 1),
        ("anthropic", (29, 28), 2),
        ("anthropic", (200, 200), 64),
        ("anthropic", (1000, 1000), 36 * 36),
        ("anthropic", (8000, 100), 56),
        ("anthropic-high", (2576, 100), 92 * 4),
        ("anthropic-high", (8000, 8000), 69 * 69),
        # OpenAI: its own examples, two bills at the edge of a tile, and bills of a small picture.
        ("openai-tiles", (1024, 1024), 765),
        ("openai-tiles", (2048, 4096), 1105),
        ("openai-tiles", (2049, 513), 1445),
        ("openai-tiles", (2050, 513), 765),
        ("openai-tiles", (128, 64), 255),
        ("openai-tiles-4o-mini", (128, 64), 2833 + 5667),
        ("openai-tiles-o", (128, 64), 75 + 150),
        ("openai-tiles-5", (1024, 1024), 70 + 4 * 140),
        ("openai-patches-mini", (1024, 1024), 1659),
        ("openai-patches-mini", (1800, 2400), 2353),
        ("openai-patches-nano", (1024, 1024), 2520),
        ("openai-patches-o4-mini", (1024, 1024), 1762),
    ],
)
def test_an_image_has_the_tokens_that_are_told_of_it(rule: ImageRule, size: tuple[int, int], tokens: int) -> None:
    assert RULES[rule].tokens(*size) == tokens


def test_the_patches_are_those_of_the_documentation() -> None:
    assert (Patches(1).tokens(1024, 1024), Patches(1).tokens(1800, 2400)) == (1024, 1452)


@pytest.mark.parametrize(
    ("rule", "most"),
    [("glm", 6144 + MARKS), ("glm-5", 8000 + MARKS), ("anthropic", 1568), ("anthropic-high", 4784),
     ("openai-tiles", 1445), ("openai-patches-mini", 2489)],
)  # fmt: skip
def test_the_largest_image(rule: ImageRule, most: int) -> None:
    assert RULES[rule].most == most


def test_the_old_formula_is_near_the_new_one() -> None:
    for width, height in ((640, 480), (800, 600), (1024, 768), (1092, 1092)):
        assert RULES["anthropic"].tokens(width, height) == pytest.approx(width * height / 750, rel=0.06)


@given(st.sampled_from(sorted(RULES)), st.integers(1, 2**32), st.integers(1, 2**32))
def test_no_image_is_nothing_or_more_than_the_most(rule: ImageRule, width: int, height: int) -> None:
    assert 1 <= RULES[rule].tokens(width, height) <= RULES[rule].most


@given(st.sampled_from(sorted(RULES)), st.integers(1, 5000), st.integers(1, 5000))
def test_lying_or_standing_is_the_same(rule: ImageRule, width: int, height: int) -> None:
    assert RULES[rule].tokens(width, height) == RULES[rule].tokens(height, width)


def test_the_model_table_knows_the_rules() -> None:
    assert list(get_args(ImageRule)) == list(RULES)
    assert sorted(USUAL) == sorted(get_args(DialectName))


def test_the_page_tells_the_same() -> None:
    page = (Path(__file__).parents[2] / "docs" / "stages" / "token-count.md").read_text("utf-8")
    rows = [[cell.strip(" `").replace(",", "") for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    told = {cells[0]: (cells[-2], cells[-1]) for cells in rows if len(cells) == 4 and cells[0] in RULES}
    assert told == {name: (str(rule.tokens(1920, 1080)), str(rule.most)) for name, rule in RULES.items()}


def to(rule: ImageRule | None, dialect: DialectName = "chat") -> Target:
    return Target(Upstream(dialect=dialect, base_url="http://a.test"), Model(image_tokens=rule))


@pytest.mark.parametrize(
    ("picture", "target", "tokens"),
    [
        (Picture(1024, 1024), to("glm"), 37 * 37 + MARKS),
        (Picture(1024, 1024), to(None), 765),
        (Picture(1024, 1024), to(None, "messages"), 37 * 37),
        (Picture(), to(None), 85),
        (Picture(), to(None, "messages"), 85),
        (Picture(), to("glm"), 6144 + MARKS),
        (Picture(1024, 1024, low=True), to("openai-tiles"), 85),
        (Picture(low=True), to("openai-tiles-5"), 70),
        (Picture(low=True), to(None), 85),
        (Picture(1024, 1024, low=True), to("glm"), 37 * 37 + MARKS),
        (Picture(1024, 1024, low=True), to("openai-patches-mini"), 1659),
    ],
)
def test_rule_then_dialect_then_the_base(picture: Picture, target: Target, tokens: int) -> None:
    assert tokens_of(picture, target, 85) == tokens
