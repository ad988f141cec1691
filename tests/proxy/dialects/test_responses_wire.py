"""The response object: every member that the published schemas require."""

from responding import request, schema, whole
from trimtab.dialects.responses_tools import Offer
from trimtab.dialects.responses_wire import asked, incomplete, resource, usage_json
from trimtab.events import StopReason, Usage

HEAD = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m"}


def test_a_bare_request_is_repeated_with_the_defaults() -> None:
    echo = asked(request(), {}).echo
    made = resource({**HEAD, **echo}, "completed", [], completed_at=2, usage=Usage(input=1))
    whole(made)
    assert (made["text"], made["reasoning"]) == (
        {"verbosity": "medium", "format": {"type": "text"}},
        {"effort": None, "summary": None},
    )
    assert (made["tool_choice"], made["parallel_tool_calls"], made["store"], made["temperature"]) == (
        "auto",
        True,
        False,
        1.0,
    )


def test_what_was_asked_is_repeated_and_nonsense_is_not() -> None:
    tools = [{"type": "function", "name": "a"}, {"type": "custom", "name": "b"}]
    conversation = request(
        instructions="be brief",
        tools=tools,
        tool_choice="none",
        parallel_tool_calls=False,
        metadata={"a": "b"},
        max_output_tokens=9,
        temperature=True,
        top_p="x",
        reasoning={"effort": "low"},
        text={"format": {"type": "json_schema", "name": "n", "schema": {}}},
        store=True,
    )
    echo = asked(conversation, {}).echo
    assert echo["tools"] == [
        {"description": None, "parameters": None, "strict": None, "type": "function", "name": "a"},
        {"type": "custom", "name": "b"},
    ]
    assert echo["text"]["format"] == {
        "description": None,
        "strict": False,
        "type": "json_schema",
        "name": "n",
        "schema": {},
    }
    assert (echo["instructions"], echo["metadata"], echo["max_output_tokens"]) == ("be brief", {"a": "b"}, 9)
    assert (echo["temperature"], echo["top_p"], echo["parallel_tool_calls"]) == (1.0, 1.0, False)
    # The proxy keeps nothing, whatever was asked.
    assert echo["store"] is False


def test_thoughts_are_sealed_where_the_client_includes_them() -> None:
    offers = {"a": Offer("a", "function", "a")}
    found = asked(request(include=["reasoning.encrypted_content"]), offers)
    assert (found.sealed, found.offers) == (True, offers)
    assert not asked(request(include="reasoning.encrypted_content"), {}).sealed


def test_usage_has_its_details_always() -> None:
    """P27."""
    made = usage_json(Usage(input=3, output=2))
    assert made == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 5,
    }
    schema("Usage", made)
    full = usage_json(Usage(input=3, cache_read=4, cache_write=5, output=2, reasoning=1))
    assert full is not None
    assert (full["input_tokens"], full["input_tokens_details"]) == (12, {"cached_tokens": 4, "cache_write_tokens": 5})
    assert (full["output_tokens_details"], full["total_tokens"]) == ({"reasoning_tokens": 1}, 14)
    assert usage_json(None) is None


def test_the_words_for_an_end() -> None:
    assert {reason: incomplete(reason) for reason in StopReason} == {
        StopReason.END: None,
        StopReason.STOP_SEQUENCE: None,
        StopReason.TOOL_USE: None,
        StopReason.PAUSE: None,
        StopReason.LENGTH: "max_output_tokens",
        StopReason.CONTEXT: "max_output_tokens",
        StopReason.REFUSAL: "content_filter",
    }
