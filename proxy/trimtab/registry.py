"""Stages become hooks: the only file that calls pluggy.

Each pipeline has a plugin manager in which its stages are registered in the order written; their hooks are walked once,
at start, into tuples of bound methods, so that nothing of pluggy is left on the way of a request.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, NamedTuple

import pluggy

from trimtab.errors import ConfigError
from trimtab.hookspecs import GROUP, Hooks, Stage

AnyStage = Stage[Any]
HOOKS = tuple(name for name in vars(Hooks) if not name.startswith("_"))
"""The names of the hooks."""


class Bound(NamedTuple):
    """One hook of one stage, ready to be called."""

    stage: AnyStage
    call: Callable[..., Any]


class Chain(NamedTuple):
    """The compiled hooks of one pipeline."""

    stages: tuple[AnyStage, ...]
    start: tuple[Bound, ...]
    request: tuple[Bound, ...]
    target: tuple[Bound, ...]
    event: tuple[Bound, ...]
    done: tuple[Bound, ...]
    stop: tuple[Bound, ...]


def installed() -> dict[str, EntryPoint]:
    """The stages that are installed, by name; none of them is imported."""
    return {point.name: point for point in entry_points(group=GROUP)}


def stage_class(name: str, place: str, points: Mapping[str, EntryPoint] | None = None) -> type[AnyStage]:
    """Import a stage's class. Raises ConfigError that names `place` and the nearest right name.

    `points` are the installed ones where they are known: to look for them takes 7 ms, for every package is asked.
    """
    points = installed() if points is None else points
    if name not in points:
        raise ConfigError(f"{place}: no stage '{name}' is installed{hint(name, points)}")
    point = points[name]
    try:
        found = point.load()
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{place}: stage '{name}' cannot be loaded from {point.value}: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Stage)):
        raise ConfigError(f"{place}: {point.value} is no subclass of trimtab.api.Stage")
    if getattr(found, "name", None) != name:
        raise ConfigError(f"{place}: {point.value} must say name = '{name}', as its entry point does")
    return found


def hint(word: str, known: Any) -> str:
    """`, did you mean '...'?`, or the known words when none is near."""
    words = sorted(known)
    near = get_close_matches(word, words, n=1)
    if near:
        return f", did you mean '{near[0]}'?"
    return f" (known: {', '.join(words)})" if words else ""


def compile_chain(stages: Sequence[AnyStage], place: str) -> Chain:
    """Register stages in order and walk their hooks. Raises ConfigError for a hook that cannot be called as written."""
    manager = _Manager(GROUP)
    manager.add_hookspecs(Hooks)
    problems = []
    for stage in stages:
        try:
            manager.register(stage, name=stage.label)
        except (pluggy.PluginValidationError, ValueError) as error:
            problems.append(f"{place}: stage '{stage.label}': {str(error).splitlines()[-1]}")
    problems += [
        f"{place}: stage '{stage.label}': unknown hook '{name}'{hint(name, HOOKS)}"
        for stage in stages
        for name in _unknown_hooks(stage)
    ]
    problems += [
        f"{place}: stage '{stage.label}': '{name}' lacks @hookimpl, so it would never be called"
        for stage in stages
        for name in _unmarked(stage)
    ]
    if problems:
        raise ConfigError(*problems)
    forward = {hook: _ordered(manager, hook, place) for hook in HOOKS}
    return Chain(
        tuple(stages),
        *(forward[hook] for hook in ("start", "request", "target")),
        *(forward[hook][::-1] for hook in ("event", "done", "stop")),
    )


class _Manager(pluggy.PluginManager):
    """Looks at attributes named like a hook only: at all of them, a stage takes ten milliseconds."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        """What a hook is marked with, None where it is no hook; marks on other names are found below."""
        return super().parse_hookimpl_opts(plugin, name) if name in HOOKS else None

    def parse_hookspec_opts(self, module_or_class: ModuleType | type, name: str) -> pluggy.HookspecOpts | None:
        """The same for the specifications."""
        return super().parse_hookspec_opts(module_or_class, name) if name in HOOKS else None


def _unmarked(stage: AnyStage) -> list[str]:
    """Hooks that a stage writes and forgets to mark, which nobody would ever call."""
    return [
        name
        for name in HOOKS
        if getattr(type(stage), name) is not getattr(Stage, name)
        and not hasattr(getattr(type(stage), name), f"{GROUP}_impl")
    ]


def _unknown_hooks(stage: AnyStage) -> list[str]:
    """Methods marked as hooks that no hook specification names."""
    marked = (name for name in dir(type(stage)) if hasattr(getattr(type(stage), name), f"{GROUP}_impl"))
    return [name for name in marked if name not in HOOKS]


def _ordered(manager: pluggy.PluginManager, hook: str, place: str) -> tuple[Bound, ...]:
    bound = []
    for impl in getattr(manager.hook, hook).get_hookimpls():
        name = f"{place}: stage '{impl.plugin_name}', hook '{hook}'"
        if impl.wrapper or impl.hookwrapper:
            raise ConfigError(f"{name} is a wrapper: stages run in phases, use 'request' and 'done' instead")
        if impl.tryfirst or impl.trylast:
            raise ConfigError(f"{name} asks for {'tryfirst' if impl.tryfirst else 'trylast'}: the order is the file's")
        if inspect.iscoroutinefunction(impl.function) != inspect.iscoroutinefunction(getattr(Hooks, hook)):
            kind = "async" if inspect.iscoroutinefunction(getattr(Hooks, hook)) else "not async"
            raise ConfigError(f"{name} must be {kind}")
        bound.append(Bound(impl.plugin, _adapt(impl.function, hook, impl.argnames)))
    return tuple(bound)


def _adapt(function: Callable[..., Any], hook: str, takes: Sequence[str]) -> Callable[..., Any]:
    """The function itself, or a shim that leaves out or reorders arguments."""
    names = list(inspect.signature(getattr(Hooks, hook)).parameters)[1:]
    if list(takes) == names:
        return function
    positions = [names.index(name) for name in takes]

    def shim(*arguments: Any) -> Any:
        return function(*(arguments[position] for position in positions))

    return shim
