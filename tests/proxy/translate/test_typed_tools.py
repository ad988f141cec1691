import pytest

from trimtab.translate.tools import schema
from trimtab.translate.typed_tools import TYPED, typed


@pytest.mark.parametrize("kind", TYPED)
def test_a_typed_tool_is_described(kind: str) -> None:
    found = typed(f"{kind}_20250124")
    assert found is not None
    description, given = found
    assert description
    assert schema(given) == (
        given if given["required"] else {k: v for k, v in given.items() if k != "required"} | given
    )
    assert set(given["required"]) <= set(given["properties"])


@pytest.mark.parametrize("kind", ["bash", "web_search_20250305", "bash_x", "", "None"])
def test_others_are_not(kind: str) -> None:
    assert typed(kind) is None
