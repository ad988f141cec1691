"""What the parts of the echo tell each other."""

import pytest

from trimtab.echo.nouns import cut


@pytest.mark.parametrize("size", [0, 1, 2, 5, 99])
def test_deltas_are_the_text_again(size: int) -> None:
    pieces = list(cut("abcdé", size))
    assert "".join(pieces) == "abcdé"
    assert max(map(len, pieces)) <= max(1, size)
    assert list(cut("", size)) == []
