"""The shapes of OpenAI's replies."""

import msgspec
import pytest

from trimtab.dialects.chat_wire import Chunk, Counters, Delta, numbers, usage_json, usage_of
from trimtab.events import Usage


def usage(raw: bytes) -> Usage | None:
    return usage_of(msgspec.json.decode(raw, type=Counters))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"{}", Usage()),
        (b'{"prompt_tokens":null,"completion_tokens":2.0}', Usage(output=2)),
        (b'{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":4}}', Usage(input=5, cache_read=4)),
        (b'{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":99}}', Usage(cache_read=9)),
        (
            b'{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":99}}',
            Usage(cache_read=4, cache_write=5),
        ),
        (b'{"completion_tokens_details":{"reasoning_tokens":0}}', Usage(reasoning=0)),
        (b'{"completion_tokens_details":null,"prompt_tokens_details":null}', Usage()),
    ],
)
def test_what_the_cache_gave_is_no_input(raw: bytes, expected: Usage) -> None:
    assert usage(raw) == expected


def test_no_counters_are_no_usage() -> None:
    assert (usage_of(None), usage_json(None), numbers(None)) == (None, None, {})


@pytest.mark.parametrize(
    "told", [Usage(), Usage(input=3, output=2), Usage(input=1, cache_read=2, cache_write=4, output=8, reasoning=5)]
)
def test_usage_survives_the_way_out_and_back(told: Usage) -> None:
    made = usage_json(told)
    assert made is not None
    assert made["total_tokens"] == told.prompt + told.output
    assert usage(msgspec.json.encode(made)) == told


def test_a_thought_by_either_name() -> None:
    assert [Delta(reasoning="a").thought, Delta(reasoning_content="b", reasoning="a").thought] == ["a", "b"]
    assert Delta().thought == ""


def test_missing_and_unknown_members_do_no_harm() -> None:
    chunk = msgspec.json.decode(b'{"choices":[{"delta":{"tool_calls":[{}],"x":1}}],"usage":null,"y":[]}', type=Chunk)
    assert chunk.choices is not None
    [choice] = chunk.choices
    assert choice.delta is not None
    assert (choice.index, choice.finish_reason, chunk.usage) == (None, None, None)
