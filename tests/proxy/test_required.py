"""The limit of output that a `messages` request must give."""

from typing import Any

import pytest

from trimtab.errors import BadRequest
from trimtab.exchange import Exchange
from trimtab.required import check, fill
from trimtab.testing import StageBench


def exchange(dialect: str = "messages", **more: Any) -> Exchange:
    return StageBench().exchange(
        {"model": "small", "messages": [{"role": "user", "content": "hi"}], **more}, dialect=dialect
    )


def test_without_a_limit_and_a_default_it_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"'max_tokens' is missing: .* or set core\.default-max-tokens") as caught:
        check(exchange(), 0)
    assert caught.value.param == "max_tokens"


def test_others_pass_as_they_are() -> None:
    for asked in (exchange(max_tokens=5), exchange("chat")):
        before = asked.conversation.head.raw("max_tokens")
        check(asked, 0)
        check(asked, 100)
        fill(asked, 100)
        assert asked.conversation.head.raw("max_tokens") == before
        assert asked.edits == []


def test_the_default_is_filled_in_once() -> None:
    asked = exchange()
    check(asked, 100)
    fill(asked, 100)
    fill(asked, 100)
    assert asked.conversation.head.get("max_tokens") == 100
    assert [(edit.member, edit.stage) for edit in asked.edits] == [("max_tokens", "core")]
