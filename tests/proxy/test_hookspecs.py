"""The hooks, and what a stage is without saying anything."""

import inspect

import msgspec
import pytest

from trimtab.errors import ConfigError
from trimtab.events import TextDelta
from trimtab.hookspecs import GROUP, Hooks, Stage, StageOptions
from trimtab.testing import StageBench

PHASES = {
    "start": ["services"],
    "request": ["exchange"],
    "target": ["exchange"],
    "event": ["exchange", "event"],
    "done": ["exchange"],
    "stop": [],
}


class LimitOptions(StageOptions, frozen=True, kw_only=True):
    max_items: int = 3


class Silent(Stage[LimitOptions]):
    name = "silent"
    Options = LimitOptions


def test_the_hooks_are_these_and_each_is_explained() -> None:
    hooks = {name: function for name, function in vars(Hooks).items() if not name.startswith("_")}
    found = {name: list(inspect.signature(function).parameters)[1:] for name, function in hooks.items()}
    assert found == PHASES
    assert [name for name, function in hooks.items() if not function.__doc__] == []
    assert [name for name, function in hooks.items() if not hasattr(function, f"{GROUP}_spec")] == []


def test_only_what_waits_is_async() -> None:
    waiting = {name for name in PHASES if inspect.iscoroutinefunction(getattr(Hooks, name))}
    assert waiting == {"start", "request", "stop"}


def test_a_stage_is_called_by_its_label_and_else_by_its_name() -> None:
    assert Silent(LimitOptions()).label == "silent"
    assert Silent(LimitOptions(), "silent-2").label == "silent-2"


def test_a_stage_that_says_nothing_is_needed_and_sees_no_event() -> None:
    assert (Silent.optional, Silent.wants, Silent.needs, Silent.provides, Silent.shapes) == (
        False,
        frozenset(),
        frozenset(),
        frozenset(),
        False,
    )
    assert Silent.operations == {"generate", "count"}


@pytest.mark.anyio
def test_a_method_without_the_mark_is_refused() -> None:
    class Unmarked(Silent):
        async def request(self, exchange: object) -> None:
            raise AssertionError("not a hook")

    with pytest.raises(ConfigError, match="'request' lacks @hookimpl, so it would never be called"):
        StageBench(Unmarked(LimitOptions()))


def test_an_event_passes_by_default() -> None:
    delta = TextDelta("a")
    assert list(Hooks().event(None, delta)) == [delta]  # type: ignore[arg-type]  # wrong on purpose


def test_options_are_written_with_hyphens_and_unknown_ones_are_refused() -> None:
    assert msgspec.convert({"max-items": 5}, LimitOptions) == LimitOptions(max_items=5)
    with pytest.raises(msgspec.ValidationError, match="unknown field `max-item`"):
        msgspec.convert({"max-item": 5}, LimitOptions)
    with pytest.raises(msgspec.ValidationError, match="Expected `int`"):
        msgspec.convert({"max-items": "5"}, LimitOptions)
