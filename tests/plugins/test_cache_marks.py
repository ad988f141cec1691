"""Where cache marks of parts stood, and what takes them."""

from typing import Any

import pytest

from condensing import talk_of
from talks import call, result, text, user
from trimtab.api import Message, Text
from trimtab_stages.cache_marks import last_mark, mark_in, movable, with_mark

SHORT: dict[str, Any] = {"cache_control": {"type": "ephemeral"}}
LONG: dict[str, Any] = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
VALUES = {"short": b'{"type":"ephemeral"}', "long": b'{"type":"ephemeral","ttl":"1h"}'}


def answered(*parts: Any, **more: Any) -> Message:
    """The message with the result of a call."""
    return talk_of([user("go"), call("messages", "c", "read"), result("messages", "c", [*parts], **more)], "messages")[
        2
    ]


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (answered(text("one")), None),
        (answered(text('say "cache_control"')), None),
        (answered({**text("one"), **LONG}, {**text("two"), **SHORT}), "short"),
        (answered({**text("one"), **SHORT}, **LONG), "long"),
        (talk_of([{"role": "user", "content": [{**text("one"), **SHORT}], **LONG}])[0], "long"),
    ],
)
def test_the_last_one_is_found(message: Message, found: str | None) -> None:
    assert mark_in(message) == VALUES.get(found or "")


def test_what_is_no_mark_or_comes_twice_is_none() -> None:
    twice = b'{"type":"text","text":"a","cache_control":{},"cache_control":{"type":"ephemeral"}}'
    deeper = b'{"type":"text","text":"a","more":{"cache_control":{}}}'
    for raw in (twice, deeper):
        assert last_mark([Text(text="a", raw=raw)]) is None
        assert not movable([Text(text="a", raw=raw)])


def test_one_can_be_moved() -> None:
    plain, marked = Text(text="a"), with_mark(Text(text="a"), VALUES["short"])
    assert [movable(parts) for parts in ([plain], [plain, marked], [marked, marked])] == [True, True, False]


def test_a_text_takes_one_and_keeps_its_own() -> None:
    fresh = with_mark(Text(text="new"), VALUES["short"])
    assert last_mark([fresh]) == VALUES["short"]
    assert with_mark(fresh, VALUES["long"]) is fresh
    assert with_mark(fresh, None) is fresh
    (message,) = talk_of([user(text("old"))], "messages")
    assert message.with_blocks([fresh]).raw == (
        b'{"role":"user","content":[{"type":"text","text":"new","cache_control":{"type":"ephemeral"}}]}'
    )
