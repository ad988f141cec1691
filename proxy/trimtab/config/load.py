"""From files and environment to a configuration, or to everything that is wrong with it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trimtab.errors import ConfigError
from trimtab.models import ModelTable
from trimtab.registry import hint

from . import document
from .chains import Chains
from .draft import Draft, header
from .environment import Override, environment, overrides
from .needs import check_guard
from .order import check_timeouts
from .sections import Config, CoreOptions, RetryOptions, ServeOptions, StoreOptions
from .table import SECTIONS, apply, lay_tables, model_table

REDIS = ("redis", "rediss", "unix")
"""Schemes of a store for several machines."""

_NAMED = ("upstream", "model", "pipeline", "stage")


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read pipelines.toml, ./.env and the environment. Raises ConfigError with all problems, not only the first."""
    given = environment(environ)
    file = document.read(document.find(path, given))
    shipped = document.read(document.MODELS).tables
    draft = Draft(file.path.name)
    tables = _sound(draft, file.tables)
    set_outside = overrides(given, draft)
    lay_tables(draft, shipped, tables)
    apply(draft, set_outside)
    serve = draft.convert(("serve",), ServeOptions)
    core = draft.convert(("core",), CoreOptions)
    store = draft.convert(("store",), StoreOptions)
    if store is not None and store.url is not None and urlsplit(store.url).scheme not in REDIS:
        draft.wrong(("store", "url"), f"must begin with {', '.join(f'{scheme}://' for scheme in REDIS)}")
    retry = draft.convert(("retry",), RetryOptions)
    models = model_table(draft, shipped)
    _elsewhere(draft, models, [name for name in tables.get("upstream", {}) if name not in shipped["upstream"]])
    chains = Chains(draft, tables)
    chains.read(set_outside, given)
    uses = {name: [chains.use(label) for label in labels] for name, labels in chains.pipelines.items()}
    check_guard(draft, uses, _server_keys(draft, tables, set_outside))
    if core is not None:
        check_timeouts(draft, core.stage_timeouts, chains.stages)
    if draft.problems or serve is None or core is None or store is None or retry is None:
        raise ConfigError(*draft.problems)
    return Config(
        serve=serve,
        core=core,
        store=store,
        retry=retry,
        models=models,
        pipelines=chains.pipelines,
        stages=chains.stages,
        sources={".".join(where): source for where, source in draft.sources.items()},
        notes=draft.all_notes(),
        hints=tuple(draft.hints),
        path=file.path,
        digest=file.digest,
    )


def _elsewhere(draft: Draft, models: ModelTable, own: Sequence[str]) -> None:
    """Note which requests go to a shipped upstream although the operator has one of their own."""
    left = ", ".join(f"upstream.{name}" for name, row in models.upstreams.items() if row.shipped)
    if own and left:
        draft.hints.append(
            f"models without a row go to upstream.{own[0]} or another of your own; those with a shipped row, and the "
            f"vision models behind them, still go to {left}: `enabled = false` there sends them to yours"
        )


def _sound(draft: Draft, tables: Mapping[str, Any]) -> dict[str, Any]:
    """The tables that have the right shape; the others are reported."""
    known = (*SECTIONS, *_NAMED)
    kept: dict[str, Any] = {}
    for name, table in tables.items():
        if name not in known:
            draft.problems.append(f"{draft.name}: unknown table {header((name,))}{hint(name, known)}")
        elif not isinstance(table, dict):
            draft.problem((name,), "must be a table")
        else:
            kept[name] = _rows(draft, name, table) if name in _NAMED else table
    return kept


def _rows(draft: Draft, kind: str, tables: Mapping[str, Any]) -> dict[str, Any]:
    for name, table in tables.items():
        if not isinstance(table, dict):
            draft.problem((kind, name), f"must be a table; an option belongs into {header((kind, 'NAME'))}")
    return {name: table for name, table in tables.items() if isinstance(table, dict)}


def _server_keys(draft: Draft, tables: Mapping[str, Any], set_outside: list[Override]) -> list[str]:
    """Where a key of the server's own is set."""
    outside = [override.source for override in set_outside if override.setting.option == "auth.server-key"]
    auth = [
        f"[stage.{label}] server-key"
        for label, table in tables.get("stage", {}).items()
        if table.get("use", label) == "auth" and table.get("server-key")
    ]
    rows = draft.table(("upstream",))
    return [
        *outside,
        *auth,
        *(
            f"{header(('upstream', name))} {option}"
            for name in rows
            for option in ("key", "keys")
            if rows[name].get(option)
        ),
    ]
