from typing import Any

import pluggy
import pytest

from fake_stages import Plain, install
from trimtab import registry
from trimtab.api import ConfigError, Event, Exchange, Reply, Services, Stage, StageOptions, hookimpl
from trimtab.hookspecs import GROUP
from trimtab.registry import compile_chain, hint, stage_class

raw = pluggy.HookimplMarker(GROUP)
PLACE = "[pipeline.default]"


class Base(Stage[StageOptions]):
    name = "base"


class Full(Base):
    name = "full"

    @hookimpl
    async def start(self, services: Services) -> None: ...

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        return None

    @hookimpl
    def target(self, exchange: Exchange) -> None:
        return None

    @hookimpl
    def event(self, exchange: Exchange, event: Event) -> tuple[Any, ...]:
        return (self.label, exchange, event)

    @hookimpl
    def done(self, exchange: Exchange) -> None: ...

    @hookimpl
    async def stop(self) -> None: ...


def chain(*stages: tuple[type[Stage[Any]], str]) -> registry.Chain:
    return compile_chain([cls(StageOptions(), label) for cls, label in stages], PLACE)


def refused(cls: type[Stage[Any]]) -> str:
    with pytest.raises(ConfigError) as caught:
        chain((cls, "mine"))
    return str(caught.value)


def test_three_hooks_run_forward_and_three_in_reverse() -> None:
    made = chain((Full, "a"), (Full, "b"), (Full, "c"))
    assert [stage.label for stage in made.stages] == ["a", "b", "c"]
    for hook in ("start", "request", "target"):
        assert [bound.stage.label for bound in getattr(made, hook)] == ["a", "b", "c"]
    for hook in ("event", "done", "stop"):
        assert [bound.stage.label for bound in getattr(made, hook)] == ["c", "b", "a"]


def test_a_hook_without_its_mark_is_refused() -> None:
    class Unmarked(Base):
        def done(self, exchange: Exchange) -> None: ...

    assert "stage 'mine': 'done' lacks @hookimpl" in refused(Unmarked)


def test_a_hook_with_all_arguments_is_called_as_it_is() -> None:
    made = chain((Full, "a"))
    assert made.event[0].call == made.stages[0].event


def test_fewer_arguments_and_another_order_are_fine() -> None:
    class Short(Base):
        @hookimpl
        def event(self, event: Event) -> tuple[Any, ...]:  # type: ignore[override]  # wrong on purpose
            return (event,)

        @hookimpl
        def done(self) -> None:  # type: ignore[override]  # wrong on purpose
            raise LookupError

    class Swapped(Base):
        @hookimpl
        def event(self, event: Event, exchange: Exchange) -> tuple[Any, ...]:  # type: ignore[override]
            return (event, exchange)

    call: Any = chain((Short, "s")).event[0].call
    assert call("an exchange", "an event") == ("an event",)
    with pytest.raises(LookupError):
        chain((Short, "s")).done[0].call("an exchange")
    call = chain((Swapped, "s")).event[0].call
    assert call("an exchange", "an event") == ("an event", "an exchange")


def test_wrappers_are_refused() -> None:
    class Wraps(Base):
        @raw(wrapper=True)
        def done(self, exchange: Exchange) -> Any:
            return (yield)

    class OldWraps(Base):
        @raw(hookwrapper=True)
        def done(self, exchange: Exchange) -> Any:
            yield

    for cls in (Wraps, OldWraps):
        assert refused(cls).startswith(f"{PLACE}: stage 'mine', hook 'done' is a wrapper: stages run in phases")


def test_a_place_of_its_own_in_the_order_is_refused() -> None:
    class First(Base):
        @raw(tryfirst=True)
        def done(self, exchange: Exchange) -> None: ...

    class Last(Base):
        @raw(trylast=True)
        def done(self, exchange: Exchange) -> None: ...

    assert "stage 'mine', hook 'done' asks for tryfirst: the order is the file's" in refused(First)
    assert "stage 'mine', hook 'done' asks for trylast" in refused(Last)


def test_an_unknown_hook_is_refused_with_the_stage_and_the_nearest_one() -> None:
    class Typo(Base):
        @hookimpl
        def evnet(self, exchange: Exchange) -> None: ...

    assert "stage 'mine': unknown hook 'evnet', did you mean 'event'?" in refused(Typo)


def test_a_wrong_argument_name_is_refused() -> None:
    class Misnamed(Base):
        @hookimpl
        def done(self, exchnage: Exchange) -> None: ...

    message = refused(Misnamed)
    assert message.startswith(f"{PLACE}: stage 'mine':")
    assert "exchnage" in message


def test_async_and_sync_are_not_mixed_up() -> None:
    class Late(Base):
        @hookimpl
        async def done(self, exchange: Exchange) -> None: ...  # type: ignore[override]  # wrong on purpose

    class Early(Base):
        @hookimpl
        def request(self, exchange: Exchange) -> None: ...  # type: ignore[override]  # wrong on purpose

    assert refused(Late) == f"{PLACE}: stage 'mine', hook 'done' must be not async"
    assert refused(Early) == f"{PLACE}: stage 'mine', hook 'request' must be async"


def test_a_label_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="stage 'a'"):
        chain((Full, "a"), (Full, "a"))


def test_a_class_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, plain=Plain, text="no class", broken=ImportError("no module named x"))
    assert stage_class("plain", PLACE) is Plain
    for name, message in (
        ("plian", f"{PLACE}: no stage 'plian' is installed, did you mean 'plain'?"),
        ("text", f"{PLACE}: fake:text is no subclass of trimtab.api.Stage"),
        ("broken", f"{PLACE}: stage 'broken' cannot be loaded from fake:broken: ImportError: no module named x"),
    ):
        with pytest.raises(ConfigError) as caught:
            stage_class(name, PLACE)
        assert caught.value.problems == (message,)


def test_installed_looks_at_entry_points_only() -> None:
    assert all(point.group == GROUP for point in registry.installed().values())


def test_a_hint_names_the_nearest_word_or_all() -> None:
    assert hint("prot", ["port", "host"]) == ", did you mean 'port'?"
    assert hint("zzz", ["b", "a"]) == " (known: a, b)"
    assert hint("zzz", []) == ""
