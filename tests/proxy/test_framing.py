"""The tokens around the parts of a prompt."""

import pytest

from trimtab.api import DialectName, framing


@pytest.mark.parametrize("dialect", ["chat", "messages", "responses"])
def test_every_part_of_every_dialect_is_framed(dialect: DialectName) -> None:
    assert min(framing(dialect)) > 0


def test_a_tool_stands_in_more_words_where_servers_turn_it_into_another_form() -> None:
    assert framing("messages").tool > framing("chat").tool
