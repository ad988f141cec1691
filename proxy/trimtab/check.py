"""What `trimtab check` prints: the configuration as it was understood, value by value, each with its source."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from trimtab import __version__
from trimtab.config import Config, changes, leaves
from trimtab.endpoints import endpoint
from trimtab.models import Model, Upstream

WIDTH = 100
"""Columns that a line may have."""

_INDENT, _OPTION, _VALUE = 5, 26, 24
_USERINFO = re.compile(r"(?<=://)[^/]*@")
_QUERY = re.compile(r"(?<=\?).+", re.DOTALL)


def report(
    config: Config,
    against: Config | None = None,
    *,
    said: Sequence[str] = (),
    places: Mapping[str, tuple[str, str]] | None = None,
) -> str:
    """The whole page; with `against`, also what this configuration changes for conversations under way.

    `said` is what stages said while they started, `places` where requests for each model go, without and with images.
    """
    parts = [_head(config), *_pipelines(config), _sections(config), _upstreams(config), _models(config, places)]
    remarks = [f"stage '{label}': {text}" for label, spec in config.stages.items() for text in spec.options.remarks()]
    if remarks:
        parts.append(_block("remarks", map(_item, remarks)))
    if notes := (*config.notes, *config.hints, *said):
        parts.append(_block("notes", map(_item, notes)))
    if against is not None:
        sentences = changes(against, config) or ("nothing: every conversation goes on with the same bytes",)
        parts.append(_block(f"changes against {against.path}", map(_item, sentences)))
    return "\n\n".join(parts) + "\n"


def shown(option: str, value: Any) -> str:
    """A value as it may be shown: keys and headers never, addresses without password and query."""
    if value is None or value == () or value == {}:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if is_secret(option):
        return f"set ({len(value)})" if isinstance(value, tuple | list | Mapping) else "set"
    if isinstance(value, tuple | list):
        return ", ".join(shown("", item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {shown('', item)}" for name, item in value.items())
    text = str(value)
    return _QUERY.sub("***", _USERINFO.sub("***@", text)) if "://" in text else text


def is_secret(option: str) -> bool:
    """Whether an option or header may hold a key, by its name."""
    return re.search(r"(^|-)(key|keys|headers|token|secret|password)$", option) is not None


def _head(config: Config) -> str:
    return f"trimtab {__version__}\n{config.path} (sha256 {config.digest[:12]})"


def _pipelines(config: Config) -> Iterator[str]:
    told: dict[str, str] = {}
    for name, labels in config.pipelines.items():
        lines = []
        for number, label in enumerate(labels, 1):
            spec = config.stages[label]
            kind = "" if spec.use == label else f" ({spec.use})"
            seen = f", options as in pipeline {told[label]}" if label in told else ""
            lines.append(f"  {number}. {label}{kind}{seen}")
            if not seen:
                lines += _options(config, ("stage", label), spec.options)
            told.setdefault(label, name)
        yield _block(f"pipeline {name} at {'/v1' if name == 'default' else f'/p/{name}/v1'}", lines)


def _sections(config: Config) -> str:
    lines: list[str] = []
    for name, section in (
        ("serve", config.serve),
        ("core", config.core),
        ("store", config.store),
        ("retry", config.retry),
    ):
        lines += [f"  {name}", *_options(config, (name,), section)]
    return _block("server", lines)


def _options(config: Config, path: tuple[str, ...], options: Any) -> list[str]:
    return [
        _row(".".join(where), shown(where[-1], value), config.sources.get(".".join((*path, *where)), "default"))
        for where, value in leaves(options)
    ]


def _row(option: str, value: str, source: str) -> str:
    room = max(1, WIDTH - _INDENT - _OPTION - 1 - len(source))
    return f"{'':{_INDENT}}{option:<{_OPTION}}{_cut(value, room):<{min(_VALUE, room)}} {source}"


def _upstreams(config: Config) -> str:
    lines: list[str] = []
    for name, row in config.models.upstreams.items():
        lines.append(f"  {name}: {row.dialect}, {_features(row)}")
        lines.append(f"{'':{_INDENT}}{shown('', endpoint(row.base_url, row.dialect))}")
        plain = msgspec.structs.replace(row, name="")
        lines += [
            line
            for (where, _), line in zip(leaves(plain), _options(config, ("upstream", name), plain), strict=True)
            if _changed(config, ("upstream", name, *where))
        ]
    return _block("upstreams", lines)


def _features(row: Upstream) -> str:
    parts = [
        f"key by {row.auth}" if row.auth != "none" else "no key",
        "own key set" if row.key or row.keys else "",
        "" if row.images else f"images go to {row.image_upstream or 'nobody'}",
    ]
    return ", ".join(part for part in parts if part)


def _changed(config: Config, path: tuple[str, ...]) -> bool:
    return config.sources.get(".".join(path), "default") not in ("default", "models.toml")


def _models(config: Config, places: Mapping[str, tuple[str, str]] | None) -> str:
    title = ("upstreams", "images") if places is None else ("goes to", "with images")
    rows = [("name", "window", *title, "source")]
    for name, row in config.models.models.items():
        where = (_served(row), _images(row)) if places is None else places[name]
        rows.append((name, _number(row.window), *where, _source(config, name)))
    return _block("models", _table(rows))


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _served(row: Model) -> str:
    return f"as {row.text}" if row.text else ", ".join(row.upstreams.values()) or "-"


def _images(row: Model) -> str:
    return "yes" if row.images else f"as {row.vision}" if row.vision else "no"


def _source(config: Config, name: str) -> str:
    """Who changed a row, or models.toml."""
    prefix = f"model.{name}."
    members = {field.encode_name for field in msgspec.structs.fields(Model)}
    found = [
        source
        for path, source in config.sources.items()
        if path.startswith(prefix) and path.removeprefix(prefix).split(".")[0] in members
    ]
    own = dict.fromkeys(source for source in found if source not in ("default", "models.toml"))
    return " + ".join(own) or "models.toml"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield _cut(f"  {'  '.join(cells).rstrip()}", WIDTH)


def _block(title: str, lines: Iterable[str]) -> str:
    return "\n".join((title, *lines))


def _item(sentence: str) -> str:
    return textwrap.fill(
        sentence, WIDTH, initial_indent="  - ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
