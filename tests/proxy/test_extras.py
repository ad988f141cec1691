"""What the proxy adds to replies, and its estimates where the upstream tells no usage."""

import msgspec
import pytest

from trimtab import extras
from trimtab.dialects import DIALECTS
from trimtab.events import Finished, Started, StopReason, TextDelta, Usage
from trimtab.exchange import Edit, Exchange
from trimtab.facts import Risk, RiskLevel, TokenCount
from trimtab.testing import StageBench

TRUE = Usage(input=1_000, cache_read=3_000, output=50)


def exchange(dialect: str = "messages", text: str = "hi") -> Exchange:
    body = {"model": "small", "max_tokens": 1, "messages": [{"role": "user", "content": text}]}
    return StageBench().exchange(body, dialect=dialect)


def test_usage_gets_the_true_numbers_and_the_window() -> None:
    asked = exchange()
    asked.put(Risk(level=RiskLevel.SAFE, used=4_000, reserve=1, limit=10_000))
    asked.timings.append(("route", 0.0015))
    found = extras.members(asked, TRUE)
    usage = {path[1]: value for path, value in found.items() if path[0] == "usage"}
    assert usage == {
        "real_input_tokens": 4_000,
        "endpoint_type": "anthropic",
        "context_limit": 10_000,
        "context_utilization": 40.0,
    }
    info = found[("context_info",)]
    assert info["available_tokens"] == 6_000
    assert info["cache_hit_ratio"] == 0.75
    assert info["risk_level"] == "SAFE"
    assert info["processing_time_ms"] == 1.5
    assert (info["truncated"], info["condensation_applied"], info["tokens_saved"], info["note"]) == (
        False,
        False,
        0,
        None,
    )


def test_an_unknown_window_is_not_invented() -> None:
    body = b'{"model":"unheard-of","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}'
    found = extras.members(StageBench().exchange(body, dialect="messages"), TRUE)
    assert ("usage", "context_limit") not in found
    assert found[("context_info",)]["context_hard_limit"] is None


def test_saved_tokens_are_the_removed_bytes_at_the_prompts_own_rate() -> None:
    asked = exchange(text="x" * 400)
    before = asked.conversation.messages[0]
    shorter = before.with_blocks([msgspec.structs.replace(before.blocks[0], text="x" * 100)])
    asked.edit(0, shorter, "shortened")
    asked.put(TokenCount(total=30, messages=(len(shorter.raw) // 4,)))
    assert extras.saved(asked) == pytest.approx(75, abs=2)
    assert extras.members(asked, TRUE)[("context_info",)]["tokens_saved"] == extras.saved(asked)
    asked.edits.append(Edit("route", "named", member="model", before=b'"a long name"', after=b'"b"'))
    assert extras.saved(asked) == pytest.approx(75, abs=2)


def test_members_go_into_the_frame_that_tells_a_usage_and_no_other() -> None:
    start = b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":0}}}\n\n'
    text = b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"\\"usage\\""}}\n\n'
    end = b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":5},"odd" : 1}\n\n'
    out = extras.annotate(start + text + end, {("usage", "context_limit"): 7, ("context_info",): {"note": None}})
    assert out.startswith(start + text)
    assert out.endswith(
        b'data: {"type":"message_delta","usage":{"output_tokens":5,"context_limit":7},"odd" : 1,'
        b'"context_info":{"note":null}}\n\n'
    )
    opening = extras.annotate(start, {("message", "usage", "estimated"): True})
    assert b'"usage":{"input_tokens":0,"estimated":true}' in opening


def test_a_body_keeps_all_else() -> None:
    body = b'{ "id":"x", "usage": {"prompt_tokens": 1e0} }'
    assert extras.annotate(body, {("usage", "a"): 1}) == b'{ "id":"x", "usage": {"prompt_tokens": 1e0,"a":1} }'
    assert extras.annotate(b'{"usage":null}', {("usage", "a"): 1}) == b'{"usage":null}'
    assert extras.annotate(b"no json", {("usage", "a"): 1}) == b"no json"


def test_a_start_without_usage_gets_our_count_as_an_estimate() -> None:
    asked = exchange()
    silent = [Started("id", "m"), TextDelta("a")]
    assert extras.opened(asked, silent) is silent
    asked.put(TokenCount(total=100, ratio=1.2))
    started = extras.opened(asked, silent)[0]
    assert isinstance(started, Started)
    assert started.usage == Usage(input=120, output=1, estimated=True)
    known = [Started("id", "m", TRUE)]
    assert extras.opened(asked, known) is known


def test_an_end_without_usage_is_estimated_and_booked_so() -> None:
    asked = exchange()
    asked.put(TokenCount(total=100))
    silent = [Finished(StopReason.END)]
    assert extras.ended(exchange(), silent, 41) is silent
    empty = extras.ended(asked, silent, 0)[0]
    assert isinstance(empty, Finished)
    assert empty.usage == Usage(input=100, estimated=True)
    asked = exchange()
    asked.put(TokenCount(total=100))
    finished = extras.ended(asked, silent, 41)[0]
    assert isinstance(finished, Finished)
    assert finished.usage == Usage(input=100, output=11, estimated=True) == asked.outcome.usage
    assert "estimated" in extras.members(asked, finished.usage)[("context_info",)]["note"]
    told = [Finished(StopReason.END, TRUE)]
    assert extras.ended(asked, told, 41) is told
    asked.outcome.usage = half = Usage(output=7)
    whole = extras.ended(asked, [Finished(StopReason.END, half)], 41)[0]
    assert isinstance(whole, Finished)
    assert whole.usage == Usage(input=100, output=7, estimated=True)


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_a_folded_reply_takes_them(dialect: str) -> None:
    asked = exchange(dialect)
    events = [Started("id", "m"), TextDelta("hello"), Finished(StopReason.END, TRUE)]
    asked.outcome.usage = TRUE
    body = extras.annotate(DIALECTS[dialect].fold(events, "m"), extras.added(asked, events))
    assert msgspec.json.decode(body)["usage"]["real_input_tokens"] == 4_000
