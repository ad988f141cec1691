"""The shapes of Anthropic's replies."""

import msgspec
import pytest

from trimtab.dialects.messages_wire import (
    Counters,
    Details,
    Frame,
    Part,
    delta_usage,
    full_usage,
    merged,
    numbers,
    usage_of,
)
from trimtab.events import Usage


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, None, None),
        (None, Counters(input_tokens=1), Counters(input_tokens=1)),
        (Counters(input_tokens=1), None, Counters(input_tokens=1)),
        (Counters(input_tokens=5), Counters(output_tokens=2), Counters(input_tokens=5, output_tokens=2)),
        (Counters(output_tokens=1), Counters(output_tokens=7), Counters(output_tokens=7)),
        (
            Counters(input_tokens=5, output_tokens=1),
            Counters(input_tokens=0, cache_read_input_tokens=0, output_tokens=9),
            Counters(input_tokens=5, output_tokens=9),
        ),
        (
            Counters(input_tokens=5),
            Counters(input_tokens=0, cache_read_input_tokens=4),
            Counters(input_tokens=0, cache_read_input_tokens=4),
        ),
    ],
)
def test_later_counters_take_the_place_of_earlier_ones(
    old: Counters | None, new: Counters | None, expected: Counters | None
) -> None:
    assert merged(old, new) == expected


def test_usage_behind_counters() -> None:
    assert usage_of(None) is None
    assert usage_of(Counters()) == Usage()
    told = Counters(
        input_tokens=1.0,
        cache_read_input_tokens=2,
        cache_creation_input_tokens=3,
        output_tokens=4,
        output_tokens_details=Details(thinking_tokens=0),
    )
    assert usage_of(told) == Usage(input=1, cache_read=2, cache_write=3, output=4, reasoning=0)


@pytest.mark.parametrize("usage", [Usage(), Usage(input=1, cache_read=2, cache_write=4, output=8, reasoning=5)])
def test_usage_survives_the_way_out_and_back(usage: Usage) -> None:
    for made in (delta_usage(usage), full_usage(usage)):
        assert usage_of(msgspec.convert(made, Counters)) == usage


def test_every_member_stands_there_even_when_nothing_is_known() -> None:
    assert set(delta_usage(None)) < set(full_usage(None))
    assert full_usage(None)["cache_creation"] == {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}
    assert full_usage(Usage(cache_write=7))["cache_creation"]["ephemeral_5m_input_tokens"] == 7
    assert numbers(None) == {}
    assert ("output_tokens_details", "thinking_tokens") not in numbers(Usage(output=1))


def test_missing_and_unknown_members_do_no_harm() -> None:
    frame = msgspec.json.decode(b'{"type":"message_delta","delta":{"x":1},"usage":null,"y":[]}', type=Frame)
    assert frame.delta is not None
    assert (frame.delta.stop_reason, frame.usage, frame.index, bytes(frame.content_block)) == (None, None, 0, b"")
    part = msgspec.json.decode(b'{"type":"tool_use","input":{ "a":1 }}', type=Part)
    assert (bytes(part.input), bytes(Part().input), part.id) == (b'{ "a":1 }', b"{}", None)
