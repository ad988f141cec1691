"""What the order of a pipeline must satisfy: facts come before their readers, and a lent key has a guard."""

from collections.abc import Mapping, Sequence

from trimtab import registry
from trimtab.errors import ConfigError
from trimtab.facts import Fact
from trimtab.registry import AnyStage, stage_class

from .draft import Draft

_PLACES = {"environment": "the environment"}
Listed = Sequence[tuple[str, type[AnyStage] | None]]


def check_needs(draft: Draft, pipeline: str, stages: Listed, out: Mapping[str, str]) -> None:
    """Report every stage that stands before, or without, the stage whose facts it needs.

    `out` are the stages that the environment took out of this pipeline, each with the source that did so.
    """
    if any(cls is None for _, cls in stages):
        return  # the stage that could not be imported may be the one that provides
    put: set[type[Fact]] = set()
    for place, (label, cls) in enumerate(stages):
        if cls is not None:
            for fact in sorted(cls.needs - put, key=lambda fact: fact.__name__):
                remedy = _remedy(fact, label, stages[place + 1 :], out)
                draft.problem(("pipeline", pipeline), f"stage '{label}' needs {fact.__name__}{remedy}")
            put |= cls.provides


def check_guard(draft: Draft, uses: Mapping[str, Sequence[str]], keys: Sequence[str]) -> None:
    """Report every pipeline without `auth` while the server has a key: anybody could spend it."""
    for pipeline, names in uses.items():
        if keys and names and "auth" not in names:
            draft.problem(
                ("pipeline", pipeline),
                f"has no stage 'auth' while a server key is set ({', '.join(keys)}): whoever reaches it could use "
                f"that key; put 'auth' first, or remove the key",
            )


def _remedy(fact: type[Fact], label: str, later: Listed, out: Mapping[str, str]) -> str:
    for other, cls in later:
        if cls is not None and fact in cls.provides:
            return f", which '{other}' provides: move '{other}' before '{label}', or delete '{label}'"
    names = _providers(fact)
    for name in names:
        if name in out:
            place, _, switch = out[name].rpartition(" ")
            told = f"which '{name}' provides, and '{name}' is out: {switch} is false in {_PLACES.get(place, place)}"
            return f", {told}: delete that line, or delete '{label}', too"
    providers = " or ".join(f"'{name}'" for name in names)
    if providers:
        return f", which {providers} provides: write {providers} before '{label}', or delete '{label}'"
    return f", which no installed stage provides: delete '{label}'"


def _providers(fact: type[Fact]) -> list[str]:
    # Imports stages that no pipeline names: the start has failed anyway, and the remedy is worth it.
    found = []
    for name in sorted(registry.installed()):
        try:
            if fact in stage_class(name, "").provides:
                found.append(name)
        except ConfigError:
            continue
    return found
