"""A message measures the same however its client spells it."""

import base64
from struct import pack
from typing import Any

import msgspec
import pytest

from trimtab.api import Message, Target, replace
from trimtab.dialects import DIALECTS
from trimtab.measure import PER_TOKEN, UNKNOWN, measure
from trimtab.memo import MessageTable
from trimtab.testing import table

MARK = {"type": "ephemeral"}


def message(value: Any, dialect: str = "messages") -> Message:
    body = msgspec.json.encode({"model": "m", "messages": [value]})
    return DIALECTS[dialect].parse(body, MessageTable(1_000_000)).messages[0]


def target(rule: str | None = "glm") -> Target:
    found = table().resolve("small", images=False, dialect="messages")
    return replace(found, model=replace(found.model, image_tokens=rule))


@pytest.mark.parametrize(
    "spelling",
    [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"content": "hi", "role": "user"},
        {"role": "user", "content": [{"text": "hi", "type": "text", "cache_control": MARK}]},
        {"role": "user", "content": "hi", "cache_control": MARK},
    ],
)
def test_spellings_of_one_message_measure_the_same(spelling: Any) -> None:
    assert measure(message(spelling)) == measure(message({"role": "user", "content": "hi"}))


@pytest.mark.parametrize(
    "other",
    [
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "hi "},
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "hi"}]},
        {"role": "user", "content": [{"type": "text", "text": "hi", "citations": []}]},
        {"role": "user", "content": "hi", "name": "me"},
    ],
)
def test_another_message_measures_otherwise(other: Any) -> None:
    assert measure(message(other)).digest != measure(message({"role": "user", "content": "hi"})).digest


def test_marks_inside_a_tool_result_do_not_count_and_its_input_does() -> None:
    part = {"type": "text", "text": "out"}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{**part, "cache_control": MARK}]}
    bare = {"type": "tool_result", "tool_use_id": "t", "content": "out"}
    assert measure(message({"role": "user", "content": [result]})) == measure(
        message({"role": "user", "content": [bare]})
    )
    calls = [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": value}]}
        for value in ({}, {"cache_control": MARK})
    ]
    assert measure(message(calls[0])).digest != measure(message(calls[1])).digest


def test_an_image_counts_by_its_formula_and_not_by_its_data() -> None:
    png = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + pack(">II", 280, 280)

    def picture(padding: int) -> Message:
        data = base64.b64encode(png + bytes(padding)).decode()
        source = {"type": "base64", "media_type": "image/png", "data": data}
        return message({"role": "user", "content": [{"type": "image", "source": source}]})

    small, large = measure(picture(300)), measure(picture(30_000))
    assert small.digest != large.digest
    assert small.size(target()) == large.size(target()) == small.plain + PER_TOKEN * (10 * 10 + 2)


def test_an_image_in_a_tool_result_counts_and_an_unknown_one_is_taken_for_the_usual() -> None:
    source = {"type": "url", "url": "https://a.test/x.png"}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": source}]}
    found = measure(message({"role": "user", "content": [result]}))
    assert len(found.pictures) == 1
    assert found.size(target(None)) == found.plain + PER_TOKEN * UNKNOWN


def test_what_cannot_be_read_stands_for_itself() -> None:
    odd = message({"role": "user", "content": [{"type": "image", "source": 3}, "text", 4]})
    assert measure(odd).plain > 0
    assert measure(odd).size(target()) == measure(odd).plain
    deep = Message(odd.codec, "user", b'{"role":"user","content":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    assert measure(deep).plain == len(deep.raw)


def test_it_is_worked_out_once() -> None:
    one = message({"role": "user", "content": "hi"})
    assert measure(one) is measure(one)
