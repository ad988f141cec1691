"""Whether a reply fits the schema that its upstream was told in words only (protocol.md 2, P30)."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger

from trimtab.events import Event, Finished, StopReason, TextDelta, ThinkingDelta
from trimtab.exchange import Exchange
from trimtab.fitting import LONGEST, SECONDS, Fitting, Slow, misfit
from trimtab.interfaces import Counters
from trimtab.testing import StageBench

ROW = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
SCHEMA = {"type": "object", "properties": {"rows": {"type": "array", "items": ROW}}, "additionalProperties": False}


def asked() -> Exchange:
    body = {"model": "small", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
    return StageBench().exchange(body, dialect="messages")


@pytest.fixture
def warned() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message).strip()), level="WARNING", format="{level} {message}")
    yield lines
    logger.remove(sink)


def reported(
    schema: Any, *pieces: str, reason: StopReason = StopReason.END, more: tuple[Event, ...] = ()
) -> tuple[list[str], dict[str, int]]:
    """The notes and counters of a reply in pieces."""
    exchange, counters, fitting = asked(), Counters(), Fitting(schema)
    for piece in pieces:
        fitting.see([TextDelta(piece)])
    fitting.see([*more, Finished(reason)])
    fitting.report(exchange, counters)
    return exchange.notes, counters.snapshot()


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"rows": [{"n": 1}, {"n": 2}]}, None),
        ({"rows": [{"n": 1}, {"n": "secret"}]}, "/rows/1/n breaks 'type'"),
        ({"rows": [{"secret": 1}]}, "/rows/0 breaks 'required'"),
        ({"secret": 1}, "the whole breaks 'additionalProperties'"),
        (["secret"], "the whole breaks 'type'"),
    ],
)
def test_the_place_is_named_and_never_the_content(value: Any, place: str | None) -> None:
    assert misfit(json.dumps(value), SCHEMA) == place


def test_a_name_that_the_schema_does_not_tell_is_not_told() -> None:
    schema = {"additionalProperties": {"properties": {"a\nb": {"type": "null"}, "ok": {"type": "null"}}}}
    assert misfit('{"secret": {"ok": 1}}', schema) == "/*/ok breaks 'type'"
    assert misfit('{"secret": {"a\\nb": 1}}', schema) == "/*/* breaks 'type'"


@pytest.mark.parametrize("text", ["", "secret", '```json\n{"rows": []}\n```', '{"rows": [', "[" * 100_000, "NaN"])
def test_what_is_no_json_is_told_so(text: str) -> None:
    told = misfit(text, SCHEMA)
    assert told is not None
    assert told.startswith("no JSON (")
    assert "secret" not in told


def test_a_misfit_is_told_once_in_log_notes_and_counter(warned: list[str]) -> None:
    notes, counted = reported(SCHEMA, '{"rows": [{"n"', ': "secret"}]}')
    assert notes == ["the reply does not fit the schema: /rows/0/n breaks 'type'"]
    assert counted == {"schema_misfits": 1}
    [line] = warned
    assert line.startswith("WARNING ")
    assert line.endswith("the reply does not fit the client's schema: /rows/0/n breaks 'type'")


def test_what_fits_is_told_nowhere(warned: list[str]) -> None:
    told = reported(SCHEMA, '{"rows": ', '[{"n": 1}]}', more=(ThinkingDelta("a thought is no part of it"),))
    assert (told, warned) == (([], {}), [])


@pytest.mark.parametrize("reason", [reason for reason in StopReason if reason is not StopReason.END])
def test_only_a_complete_reply_is_looked_at(reason: StopReason, warned: list[str]) -> None:
    assert (reported(SCHEMA, '{"rows": [', reason=reason), warned) == (([], {}), [])


def test_a_reply_without_an_end_is_not_looked_at() -> None:
    exchange, counters, fitting = asked(), Counters(), Fitting(SCHEMA)
    fitting.see([TextDelta("half")])
    fitting.report(exchange, counters)
    assert (exchange.notes, counters.snapshot()) == ([], {})


def test_a_long_reply_is_not_kept(warned: list[str]) -> None:
    notes, counted = reported(SCHEMA, "x" * LONGEST, "x")
    assert (notes, counted, warned) == ([f"JSON not checked: more than {LONGEST} characters"], {}, [])


@pytest.mark.parametrize("schema", [7, {"type": "none"}, {"items": [1]}, {"$ref": "#/$defs/none"}, {"$ref": "#"}])
def test_a_schema_that_is_none_costs_nothing_but_a_note(schema: Any, warned: list[str]) -> None:
    notes, counted = reported(schema, "[1]")
    assert (len(notes), counted, warned) == (1, {}, [])
    assert notes[0].startswith("JSON not checked: the schema is not understood (")


def test_no_reference_leaves_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **kwargs: opened.append(args))
    notes, _ = reported({"$ref": "http://127.0.0.1:9/schema.json"}, "[1]")
    assert (len(notes), opened) == (1, [])


def test_references_within_the_schema_are_followed() -> None:
    schema = {"$defs": {"tree": {"properties": {"left": {"$ref": "#/$defs/tree"}, "n": {"type": "integer"}}}}}
    assert misfit('{"left": {"left": {"n": "x"}}}', {**schema, "$ref": "#/$defs/tree"}) == "/left/left/n breaks 'type'"


def test_a_check_that_takes_long_is_ended() -> None:
    # Each level doubles the work: 2 ** 40 steps in all.
    doubled = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)}
    seconds = iter(range(1000))
    with pytest.raises(Slow):
        misfit("1", {"$defs": {**doubled, "a40": {}}, "$ref": "#/$defs/a0"}, lambda: next(seconds) * SECONDS / 500)
    assert next(seconds) < 600


def test_patterns_are_not_run() -> None:
    evil = {"pattern": "^(a+)+$", "patternProperties": {"^(a+)+$": {"type": "null"}}, "additionalProperties": False}
    assert misfit(json.dumps("a" * 60 + "!"), evil) is None
    assert misfit(json.dumps({"a" * 60 + "!": 1}), evil) is None
