"""What a new configuration changes in the bytes that leave: an epoch for every conversation concerned."""

from collections.abc import Iterator, Mapping

import msgspec

from .draft import header
from .sections import Config, StageSpec, leaves

_SILENT = frozenset(
    {
        "name",
        "auth",
        "key",
        "keys",
        "headers",
        "connect-timeout",
        "first-byte-timeout",
        "silence-timeout",
        "max-parallel",
        "queue-timeout",
        "fallbacks",
        "window",
        "prices",
        "cache",
        "billing",
        "display-name",
        "image-tokens",
    }
)
"""The members of a row that change neither bytes nor place; a new member is taken to do so until it stands here."""


def changes(old: Config, new: Config) -> tuple[str, ...]:
    """One sentence for each stage or row whose bytes change."""
    return (*_pipelines(old, new), *_rows("upstream", old, new), *_rows("model", old, new))


def _pipelines(old: Config, new: Config) -> Iterator[str]:
    for name in new.pipelines:
        if name in old.pipelines:
            before, after = _shaping(old, name), _shaping(new, name)
            yield from (f"pipeline '{name}': {sentence}" for sentence in _stages(before, after))


def _shaping(config: Config, pipeline: str) -> dict[str, StageSpec]:
    specs = {label: config.stages[label] for label in config.pipelines[pipeline]}
    return {label: spec for label, spec in specs.items() if spec.cls.shapes}


def _stages(before: Mapping[str, StageSpec], after: Mapping[str, StageSpec]) -> Iterator[str]:
    yield from (f"stage '{label}' is new and edits requests" for label in after if label not in before)
    yield from (f"stage '{label}' is gone, its edits end" for label in before if label not in after)
    common = [label for label in after if label in before]
    order = [label for label in before if label in after]
    yield from (
        f"stage '{label}' moved, so edits are made in another order"
        for label, other in zip(common, order, strict=True)
        if label != other
    )
    for label in common:
        options = _options(before[label], after[label])
        if options:
            yield f"stage '{label}' edits differently: {', '.join(options)} changed"


def _options(before: StageSpec, after: StageSpec) -> list[str]:
    if before.use != after.use:
        return ["use"]
    old, new = leaves(before.options), dict(leaves(after.options))
    return [".".join(path) for path, value in old if path not in new or new[path] != value] + [
        ".".join(path) for path in new if path not in dict(old)
    ]


def _rows(kind: str, old: Config, new: Config) -> Iterator[str]:
    before, after = _table(kind, old), _table(kind, new)
    yield from (f"{header((kind, name))} is new" for name in after if name not in before)
    yield from (f"{header((kind, name))} is gone" for name in before if name not in after)
    for name in after:
        changed = [option for option, value in after[name].items() if before.get(name, after[name])[option] != value]
        if changed:
            yield f"{header((kind, name))} changed: {', '.join(changed)}"


def _table(kind: str, config: Config) -> dict[str, dict[str, object]]:
    rows: Mapping[str, msgspec.Struct] = config.models.upstreams if kind == "upstream" else config.models.models
    return {
        name: {
            field.encode_name: getattr(row, field.name)
            for field in msgspec.structs.fields(row)
            if field.encode_name not in _SILENT
        }
        for name, row in rows.items()
    }
