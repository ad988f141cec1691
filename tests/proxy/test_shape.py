"""Limits on what a request says."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.config import ServeOptions
from trimtab.conversation import Conversation
from trimtab.dialects import DIALECTS
from trimtab.errors import BadRequest, Cause
from trimtab.memo import MessageTable
from trimtab.shape import Shapes, deeper


def png(width: int, height: int) -> str:
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return base64.b64encode(head + b"\0" * 20).decode()


def picture(width: int, height: int) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "image/png", "data": png(width, height)}
    return {"type": "image", "source": source}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks) or "hi"}


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def said(*messages: Any, **head: Any) -> Conversation:
    body = json.dumps({"model": "m", "max_tokens": 1, "messages": messages, **head}).encode()
    return DIALECTS["messages"].parse(body, MessageTable(1_000_000))


def refused(conversation: Conversation, **options: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        Shapes(ServeOptions(**options)).check(conversation)
    return caught.value


def test_messages_are_counted() -> None:
    Shapes(ServeOptions(max_messages=2)).check(said(user(), user()))
    error = refused(said(user(), user(), user()), max_messages=2)
    assert (error.cause, error.param) == (Cause.TOO_LARGE, "messages")
    assert error.message == "3 messages, more than 2: send less, or raise serve.max-messages"


def test_images_are_counted_and_measured_wherever_they_stand() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": [picture(5_000, 4_000)]}
    conversation = said(user(picture(10, 10), picture(20, 20)), user(result))
    Shapes(ServeOptions(max_images=3, max_image_mp=20)).check(conversation)
    assert "3 images, more than 2" in refused(conversation, max_images=2).message
    error = refused(conversation, max_image_mp=19)
    assert error.message.startswith("messages[1] holds an image of 20 megapixels, more than 19")
    assert error.cause is Cause.TOO_LARGE


def test_an_image_that_cannot_be_read_has_no_size() -> None:
    broken = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "!!!"}}
    Shapes(ServeOptions()).check(said(user(broken), {"role": "user", "content": [{"type": "image", "source": 5}]}))


def test_nesting_is_looked_at_in_messages_and_around_them() -> None:
    deep = said(user({"type": "tool_use", "id": "a", "name": "b", "input": {"x": nested(60)}}))
    Shapes(ServeOptions(max_nesting=64)).check(deep)
    assert refused(deep, max_nesting=50).message.startswith("messages[0] is nested more than 50 deep")
    around = said(user(), metadata={"x": nested(60)})
    assert refused(around, max_nesting=50).message.startswith("the body is nested more than 50 deep")
    shapes = Shapes(ServeOptions(max_nesting=50))
    for _ in range(2):
        with pytest.raises(BadRequest):
            shapes.check(around)


def test_what_was_found_of_a_message_is_found_again_under_the_same_limit() -> None:
    conversation = said(user({"type": "text", "text": "a", "x": nested(20)}))
    Shapes(ServeOptions(max_nesting=50)).check(conversation)
    noted = conversation.messages[0].notes["shape"]
    Shapes(ServeOptions(max_nesting=50)).check(conversation)
    assert conversation.messages[0].notes["shape"] is noted
    assert "nested" in refused(conversation, max_nesting=10).message


def test_what_was_found_of_a_head_is_found_again_under_the_same_limit() -> None:
    conversation = said(user(), metadata={"x": [[1], [1], [2]]})
    for limit in (4, 5):
        Shapes(ServeOptions(max_nesting=limit)).check(conversation)
        assert conversation.head.notes["deep", limit] is False
    assert "nested" in refused(conversation, max_nesting=3).message
    conversation.head.notes["deep", 4] = True
    assert "nested" in refused(conversation, max_nesting=4).message


def depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


texts = st.text(alphabet='[]{}"\\a\n', max_size=8)
values = st.recursive(
    st.none() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=30,
)


@given(values, st.integers(1, 6))
def test_the_depth_is_that_of_the_value(value: Any, limit: int) -> None:
    for raw in (json.dumps(value).encode(), json.dumps(value, indent=1).encode()):
        assert deeper(raw, limit) is (depth(value) > limit)


@pytest.mark.parametrize("levels", [63, 64, 65, 200, 201])
def test_deep_text_is_found_wherever_it_stands(levels: int) -> None:
    rows = b"[" * levels + b"]" * levels
    raw = b'{"\\\\":"[\\"[","a":' + (b"[" + b"[[]],{}," * 100 + rows + b',"]"]') + b"}"
    assert deeper(raw, levels + 1)
    assert not deeper(raw, levels + 2)


def test_a_member_with_many_deep_rows_is_not_deep() -> None:
    raw = b"[" + (b"[" * 190 + b"]" * 190 + b",") * 500 + b"1]"
    assert (deeper(raw, 191), deeper(raw, 190)) == (False, True)
