"""Where something failed, without its text."""

import json

import pytest

from trimtab.api import Exchange, Stage, StageOptions
from trimtab.blame import where
from trimtab.pipeline import _target


class Mine(Stage[StageOptions]):
    name = "mine"


def fail(text: str) -> None:
    raise KeyError(text)


def caught(call: object, *arguments: object) -> Exception:
    with pytest.raises(Exception, match=r".*") as found:
        call(*arguments)  # type: ignore[operator]
    return found.value


def test_class_and_place_are_told_and_the_text_is_not() -> None:
    told = where(caught(fail, "the prompt"))
    assert told.startswith(f"KeyError at {__name__}:")
    assert "prompt" not in told


def test_the_stages_own_place_is_told_beside_a_librarys() -> None:
    told = where(caught(json.loads, "{the prompt"), Mine(StageOptions()))
    assert told.startswith("JSONDecodeError at json.decoder:")
    assert f", from {__name__}:" in told
    assert where(caught(json.loads, "{"), Exchange).partition(",")[2] == ""


def test_what_the_pipeline_finds_is_told_in_its_words() -> None:
    assert where(caught(_target, 5)) == "TypeError: 'target' returned a int"
    assert where(RuntimeError("cancelled itself")) == "RuntimeError: cancelled itself"
