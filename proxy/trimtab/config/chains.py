"""Pipelines and their stages: which classes, in which order, with which options."""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from importlib.metadata import EntryPoint
from typing import Any

import msgspec

from trimtab import registry
from trimtab.errors import ConfigError
from trimtab.hookspecs import StageOptions
from trimtab.registry import AnyStage, hint, stage_class
from trimtab.settings import settings

from .draft import Draft
from .environment import Override, Value, switch
from .needs import check_needs
from .order import check_order
from .sections import PipelineOptions, StageSpec
from .table import ROWS, SECTIONS

_NAME = re.compile(r"[a-z0-9-]+")


class Chains:
    """Reads the pipelines of one draft."""

    def __init__(self, draft: Draft, tables: Mapping[str, Any]) -> None:
        self._draft = draft
        self._tables: Mapping[str, dict[str, Any]] = tables.get("stage", {})
        self._classes: dict[str, type[AnyStage]] = {}
        self._out: dict[str, dict[str, str]] = {}
        self.pipelines: dict[str, tuple[str, ...]] = {}
        self.stages: dict[str, StageSpec] = {}
        for name in tables.get("pipeline", {}):
            self._pipeline(name, tables["pipeline"][name])
        if not tables.get("pipeline"):
            self._draft.problem(("pipeline", "default"), "is missing: list the stages of requests to /v1 in it")
        elif "default" not in tables["pipeline"]:
            self._draft.problem(("pipeline", "default"), "is missing: requests to /v1 go through it")

    @cached_property
    def _points(self) -> Mapping[str, EntryPoint]:
        return registry.installed()

    def read(self, overrides: Sequence[Override], given: Mapping[str, Value]) -> None:
        """Switch stages off, import the others, and convert their options."""
        listed = set(self._labels())
        self._switch(overrides, given)
        for label in self._labels():
            self._import(label)
        for override in overrides:
            self._apply(override)
        for label, cls in self._classes.items():
            self._stage(label, cls)
        for label in self._tables:
            if not any(label in labels for labels in self.pipelines.values()):
                self._unlisted(label, listed)
        for name, labels in self.pipelines.items():
            chain = [(label, self._classes.get(label)) for label in labels]
            check_needs(self._draft, name, chain, self._out.get(name, {}))
            check_order(self._draft, name, [self.use(label) for label in labels])

    def _unlisted(self, label: str, listed: Collection[str]) -> None:
        """A table of no listed stage: idle where it may be meant for one, else a slip of the pen."""
        if label in listed or "use" in self._tables[label] or label in self._points:
            self._draft.notes.append(f"{self._draft.name}: [stage.{label}] is in no pipeline and has no effect")
        else:
            remedy = '(or say with use = "NAME" which stage it is for)'
            near = hint(label, {*listed, *self._points})
            self._draft.problem(("stage", label), f"is the name of no installed stage{near} {remedy}")

    def use(self, label: str) -> str:
        """The name of the stage behind a label."""
        return str(self._tables.get(label, {}).get("use", label))

    def _labels(self) -> list[str]:
        return list(dict.fromkeys(label for labels in self.pipelines.values() for label in labels))

    def _pipeline(self, name: str, table: Mapping[str, Any]) -> None:
        path = ("pipeline", name)
        if not _NAME.fullmatch(name):
            self._draft.problem(path, "is no name for an address: use a-z, 0-9 and '-'")
        self._draft.lay(path, table, self._draft.name)
        options = self._draft.convert(path, PipelineOptions)
        if options is None:
            return
        if not options.stages:
            self._draft.problem(path, "has no stages: list at least one, or delete the table")
        for label in dict.fromkeys(options.stages):
            if options.stages.count(label) > 1:
                remedy = f'give the second one a label of its own: [stage.{label}-2] with use = "{label}"'
                self._draft.problem(path, f"lists stage '{label}' twice: delete one, or {remedy}")
        self.pipelines[name] = tuple(dict.fromkeys(options.stages))

    def _switch(self, overrides: Sequence[Override], given: Mapping[str, Value]) -> None:
        off: dict[str, str] = {}
        for name, stage, source, on in self._switches(overrides, given):
            if not any(self.use(label) == stage for label in self._labels()):
                self._draft.idle(name, self._absent(stage))
            elif not on:
                off[stage] = source
        for stage, source in off.items():
            self._draft.notes.append(f"stage '{stage}' is out of every pipeline: {source} is false")
        for name, labels in self.pipelines.items():
            left = tuple(label for label in labels if self.use(label) not in off)
            if labels and not left:
                self._draft.problem(("pipeline", name), f"has no stages left: {', '.join(off.values())} took them out")
            self.pipelines[name] = left
            self._out[name] = {self.use(label): off[self.use(label)] for label in labels if self.use(label) in off}

    def _switches(self, overrides: Sequence[Override], given: Mapping[str, Value]) -> list[tuple[str, str, str, bool]]:
        """Name, stage, source and value of every ENABLE_ name of a stage: the seed's, and those any stage has."""
        found = [
            (override.name, override.setting.switch, override.source, bool(override.value))
            for override in overrides
            if override.setting.switch is not None
        ]
        known = (*self._points, *map(self.use, self._labels()), *(row.stage for row in settings() if row.stage))
        for stage in dict.fromkeys(known):
            name = switch(stage)
            if name in given:
                found += self._switch_of(name, stage, given[name])
        return found

    def _switch_of(self, name: str, stage: str, value: Value) -> list[tuple[str, str, str, bool]]:
        word = value.text.strip().lower()
        if word not in ("true", "1", "yes", "on", "false", "0", "no", "off"):
            self._draft.problems.append(f"{value.source}: expected true or false")
            return []
        return [(name, stage, value.source, word in ("true", "1", "yes", "on"))]

    def _absent(self, stage: str) -> str:
        if stage in self._points:
            return f"stage '{stage}' is in no pipeline"
        return f"this version has no stage '{stage}'"

    def _import(self, label: str) -> None:
        name = next(name for name, labels in self.pipelines.items() if label in labels)
        known = label in self._tables and "use" in self._tables[label]
        place = f"[stage.{label}]" if known else f"[pipeline.{name}]"
        self._draft.lay(("stage", label), self._tables.get(label, {}), self._draft.name)
        self._draft.forget(("stage", label, "use"))
        try:
            self._classes[label] = stage_class(self.use(label), f"{self._draft.name}: {place}", self._points)
        except ConfigError as error:
            self._draft.problems += error.problems

    def _apply(self, override: Override) -> None:
        stage, _, rest = (override.setting.option or "").partition(".")
        if stage in SECTIONS or stage in ROWS or override.setting.switch is not None:
            return
        stage = stage or str(override.setting.stage)
        labels = [label for label in self._classes if self.use(label) == stage]
        if not labels:
            self._draft.idle(override.name, self._absent(stage))
        for label in labels:
            path = tuple(rest.split("."))
            if not _has(self._classes[label].Options, path):
                self._draft.idle(override.name, f"this version's stage '{stage}' has no option '{rest}'")
                return
            self._draft.put(("stage", label, *path), override.value, override.source)

    def _stage(self, label: str, cls: type[AnyStage]) -> None:
        options = self._draft.convert(("stage", label), cls.Options)
        if options is not None:
            self.stages[label] = StageSpec(label, self.use(label), cls, options)


def _has(kind: type[StageOptions], path: Sequence[str]) -> bool:
    fields: dict[str, Any] = {}
    level: Any = kind
    for part in path:
        if not (isinstance(level, type) and issubclass(level, msgspec.Struct)):
            return False
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(level)}
        if part not in fields:
            return False
        level = fields[part]
    return True
