"""How many tokens an image is, by the rule of the model that reads it.

A rule is a row of `RULES`; the model table names it (`image-tokens`). Sources: the vendors' pages on images for Claude
and OpenAI's models; for GLM the image processors of transformers, with the limits of the published configurations.
"""

from collections.abc import Mapping
from math import ceil, floor, sqrt
from typing import NamedTuple, Protocol

from trimtab.conversation import DialectName
from trimtab.image_size import Picture
from trimtab.models import ImageRule, Target

SQUARE = 28
"""Pixels along a side of what one token sees, for GLM and Claude."""


class Rule(Protocol):
    """How one family of models counts."""

    @property
    def most(self) -> int:
        """The tokens of the largest image: what an image of unknown size is taken for."""

    @property
    def low(self) -> int | None:
        """The tokens of an image in low detail, None where the model has no such thing."""

    def tokens(self, width: int, height: int) -> int:
        """The tokens of an image of this size."""


class Rounded(NamedTuple):
    """GLM: both sides rounded to whole squares, then shrunk or grown into the limits, and a mark at each end."""

    least: int
    limit: int
    marks: int = 2
    low: int | None = None

    @property
    def most(self) -> int:
        """The limit and the marks."""
        return self.limit + self.marks

    def tokens(self, width: int, height: int) -> int:
        """Squares of the resized image, and the marks."""
        if min(width, height) < SQUARE:
            grow = SQUARE / min(width, height)
            width, height = int(width * grow), int(height * grow)
        squares = round(width / SQUARE) * round(height / SQUARE)
        if squares > self.limit:
            shrink = sqrt(width * height / (self.limit * SQUARE**2))
            squares = max(1, floor(width / shrink / SQUARE)) * max(1, floor(height / shrink / SQUARE))
        elif squares < self.least:
            grow = sqrt(self.least * SQUARE**2 / (width * height))
            squares = ceil(width * grow / SQUARE) * ceil(height * grow / SQUARE)
        return min(squares, self.limit) + self.marks


class Padded(NamedTuple):
    """Claude: the largest size of the same shape within the limits, its sides padded to whole squares."""

    edge: int
    """Pixels of the longer side at most."""
    most: int
    low: int | None = None

    def tokens(self, width: int, height: int) -> int:
        """Squares of the resized image; its longer side is found by halving."""
        longer, shorter = max(width, height), min(width, height)
        fits, too_long = 0, min(longer, self.edge) + 1
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            if _squares(middle, shorter * middle / longer) <= self.most:
                fits = middle
            else:
                too_long = middle
        return _squares(fits, shorter * fits / longer)


def _squares(longer: int, shorter: float) -> int:
    return ceil(longer / SQUARE) * ceil(max(1, round(shorter)) / SQUARE)


class Tiles(NamedTuple):
    """OpenAI's larger models: shrunk to fit 2048 and then to 768 on the shorter side, cut into tiles of 512."""

    base: int
    tile: int

    @property
    def low(self) -> int:
        """Low detail is the base alone."""
        return self.base

    @property
    def most(self) -> int:
        """2048 by 768 is four tiles by two."""
        return self.base + 8 * self.tile

    def tokens(self, width: int, height: int) -> int:
        """The base and the tiles; a small image is not enlarged (seen in bills: 128 by 64 is one tile)."""
        width, height = _shrunk(width, height, 2048 / max(width, height))
        width, height = _shrunk(width, height, 768 / min(width, height))
        return self.base + self.tile * min(8, ceil(width / 512) * ceil(height / 512))


def _shrunk(width: int, height: int, by: float) -> tuple[int, int]:
    return (width, height) if by >= 1 else (max(1, round(width * by)), max(1, round(height * by)))


class Patches(NamedTuple):
    """OpenAI's smaller models: patches of 32 pixels, 1,536 at most, times a factor."""

    factor: float
    low: int | None = None

    @property
    def most(self) -> int:
        """All patches."""
        return ceil(1536 * self.factor)

    def tokens(self, width: int, height: int) -> int:
        """The patches of the image, shrunk so that they fit."""
        patches = ceil(width / 32) * ceil(height / 32)
        if patches > 1536:
            across, down = self._fitting(width, height)
            patches = min(1536, across * down)
        return ceil(patches * self.factor)

    @staticmethod
    def _fitting(width: int, height: int) -> tuple[int, int]:
        shrink = sqrt(1536 * 32**2 / (width * height))
        across, down = width * shrink / 32, height * shrink / 32
        shrink *= min(max(1, floor(across)) / across, max(1, floor(down)) / down)
        # Rounded, since a whole number of patches comes out of the division a hair above or below itself.
        return ceil(round(width * shrink / 32, 6)), ceil(round(height * shrink / 32, 6))


RULES: Mapping[ImageRule, Rule] = {
    "glm": Rounded(8, 6144),
    "glm-5": Rounded(16, 8000),
    "anthropic": Padded(1568, 1568),
    "anthropic-high": Padded(2576, 4784),
    "openai-tiles": Tiles(85, 170),
    "openai-tiles-4o-mini": Tiles(2833, 5667),
    "openai-tiles-o": Tiles(75, 150),
    # As reported, not yet seen in a bill.
    "openai-tiles-5": Tiles(70, 140),
    "openai-patches-mini": Patches(1.62),
    "openai-patches-nano": Patches(2.46),
    "openai-patches-o4-mini": Patches(1.72),
}
USUAL: Mapping[DialectName, ImageRule] = {"messages": "anthropic", "chat": "openai-tiles", "responses": "openai-tiles"}
"""What a model without a rule is taken to do, by what its upstream speaks."""


def tokens_of(picture: Picture, target: Target, unknown: int) -> int:
    """Tokens of an image at a target; `unknown` is taken where neither its size nor a rule of the model is known."""
    named = target.model.image_tokens
    rule = RULES[named or USUAL[target.dialect]]
    if picture.low and rule.low is not None:
        return rule.low
    if picture.width:
        return rule.tokens(picture.width, picture.height)
    return unknown if named is None else rule.most
