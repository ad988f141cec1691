"""Where something failed, without its text."""

import json

import pytest

from trimtab.api import Exchange, Stage, StageOptions
from trimtab.blame import freed, where
from trimtab.pipeline import _target


class Mine(Stage[StageOptions]):
    name = "mine"


def fail(text: str) -> None:
    raise KeyError(text)


def caught(call: object, *arguments: object) -> Exception:
    with pytest.raises(Exception, match=r".*") as found:
        call(*arguments)  # type: ignore[operator]  # wrong on purpose
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


def test_what_an_exception_leads_to_is_let_go_with_all_that_it_came_from() -> None:
    def fail() -> None:
        try:
            json.loads("{")
        except ValueError as error:
            raise KeyError("a") from error

    def fail_again() -> None:
        try:
            fail()
        except KeyError:
            raise RuntimeError("b")  # noqa: B904  # the context is what is tested

    with pytest.raises(RuntimeError) as caught:
        fail_again()
    error = caught.value
    assert isinstance(error.__context__, KeyError)
    came = (error, error.__context__, error.__context__.__cause__)
    assert all(one is not None and one.__traceback__ is not None for one in came)
    freed(error)
    assert all(one is not None and one.__traceback__ is None for one in came)
    assert (str(error), error.__context__.args) == ("b", ("a",))
