"""The model table: shipped rows, those of pipelines.toml over them, and what the rows say of each other."""

from collections.abc import Iterable, Mapping
from typing import Any

from trimtab.endpoints import endpoint, host
from trimtab.models import Entry, Model, ModelTable, Upstream
from trimtab.registry import hint

from .draft import Draft, header
from .environment import Override
from .sections import CoreOptions, RetryOptions, ServeOptions, StoreOptions
from .switches import left

SECTIONS = {"serve": ServeOptions, "core": CoreOptions, "store": StoreOptions, "retry": RetryOptions}
ROWS: Mapping[str, type[Entry]] = {"upstream": Upstream, "model": Model}


def lay_tables(draft: Draft, shipped: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Lay a file's tables over the shipped rows; rows that the file names come first, in its order."""
    for kind in ROWS:
        rows = own.get(kind, {})
        for name in (*rows, *(name for name in shipped[kind] if name not in rows)):
            draft.lay((kind, name), shipped[kind].get(name, {}), "models.toml")
            draft.lay((kind, name), rows.get(name, {}), draft.name)
    for section in SECTIONS:
        draft.lay((section,), own.get(section, {}), draft.name)


def apply(draft: Draft, overrides: Iterable[Override]) -> None:
    """Set what the environment says about the sections, the upstreams and the models."""
    for override in overrides:
        head, _, rest = (override.setting.option or "").partition(".")
        if head in SECTIONS or head in ROWS:
            # In the order of the settings, so that {text} is already the one of AUTOTEXT_MODEL.
            auto = draft.table(("model", "auto"))
            path = (head, *(part.format(**auto) if "{" in part else part for part in rest.split(".")))
            _warn(draft, override, path)
            draft.put(path, override.value, override.source)


def model_table(draft: Draft, shipped: Mapping[str, Any]) -> ModelTable:
    """The rows, checked; rows with a problem are left out, and reported."""
    for name in draft.table(("upstream",)):
        _moved(draft, name, shipped["upstream"].get(name, {}))
        _spoken(draft, ("upstream", name, "dialect"))
    upstreams = _rows(draft, "upstream", Upstream)
    models = _rows(draft, "model", Model)
    for name, upstream in upstreams.items():
        _check_upstream(draft, ("upstream", name), upstream)
    for name, model in models.items():
        _check_model(draft, ("model", name), model, upstreams)
    return ModelTable(*left(draft, upstreams, models))


def _warn(draft: Draft, override: Override, path: tuple[str, ...]) -> None:
    if path[-1] == "window":
        known = draft.table(path[:-1]).get("window")
        if known not in (None, override.value):
            draft.notes.append(
                f"{override.name} sets the window of {path[1]} to {override.value}; the model table says {known}"
            )


_MOVABLE = ("max-parallel", "accepts")
"""Members of a shipped row that speak of its host: the limit of its plan, and the white-list of its API."""

_VENDORS = (".z.ai", ".bigmodel.cn")
"""Hosts of the shipped rows' vendor, which all speak alike."""


def _moved(draft: Draft, name: str, shipped: Mapping[str, Any]) -> None:
    # What a row says of the shipped host is not true of the one an upstream was moved to.
    base = draft.table(("upstream", name)).get("base-url")
    home = host(shipped.get("base-url", base or ""))
    if not isinstance(base, str) or host(base) == home:
        return
    for member in _MOVABLE:
        told = ("upstream", name, member)
        same = member == "accepts" and host(base).endswith(_VENDORS)
        if draft.sources.get(told) == "models.toml" and not same:
            draft.forget(told)


_SPOKEN = ("chat", "messages")
"""What upstreams are spoken to in: clients speak `responses`, too."""

_CALLED = {"openai": "chat", "anthropic": "messages", "claude": "messages"}
"""What others call these two."""


def _spoken(draft: Draft, path: tuple[str, ...]) -> None:
    """Report a dialect that no upstream is spoken to in; the rest of the row is then checked as one of `chat`."""
    word = draft.table(path[:-1]).get("dialect")
    if not isinstance(word, str) or word in _SPOKEN:
        return
    if word == "responses":
        draft.wrong(path, "no upstream is spoken to in 'responses', write 'chat' or 'messages'")
    else:
        meant = _CALLED.get(word.lower())
        near = f", did you mean '{meant}'?" if meant else hint(word, _SPOKEN)
        draft.wrong(path, f"unknown value '{word}'{near}")
    draft.table(path[:-1])["dialect"] = _SPOKEN[0]


def _rows(draft: Draft, kind: str, row: type[Any]) -> dict[str, Any]:
    made = {name: draft.convert((kind, name), row, hidden={"name"}) for name in draft.table((kind,))}
    return {name: row for name, row in made.items() if row is not None}


def _check_upstream(draft: Draft, path: tuple[str, ...], row: Upstream) -> None:
    try:
        endpoint(row.base_url, row.dialect)
    except ValueError as error:
        draft.wrong((*path, "base-url"), str(error))
    if row.image_upstream is not None:
        _known(draft, (*path, "image-upstream"), row.image_upstream, "upstream")


def _check_model(draft: Draft, path: tuple[str, ...], row: Model, upstreams: Mapping[str, Upstream]) -> None:
    for option, name in (("text", row.text), ("vision", row.vision)):
        if name is not None:
            _known(draft, (*path, option), name, "model")
    for fallback in row.fallbacks:
        _known(draft, (*path, "fallbacks"), fallback.upstream, "upstream")
    for dialect, name in row.upstreams.items():
        where = (*path, "upstreams")
        if _known(draft, where, name, "upstream") and name in upstreams and upstreams[name].dialect != dialect:
            draft.wrong(where, f"upstream '{name}' speaks '{upstreams[name].dialect}', not '{dialect}'")


def _known(draft: Draft, path: tuple[str, ...], name: str, kind: str) -> bool:
    rows = draft.table((kind,))
    if name not in rows:
        draft.wrong(path, f"there is no table {header((kind, name))}{hint(name, rows)}")
    return name in rows
