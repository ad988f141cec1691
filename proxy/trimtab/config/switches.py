"""Rows that are switched off (`enabled = false`), and what still speaks of them.

What the shipped rows say of a row that is off goes with it. What the operator wrote is refused instead.
"""

from collections.abc import Collection, Mapping

import msgspec

from trimtab.models import Model, Upstream

from .draft import Draft

SHIPPED = "models.toml"


def left(
    draft: Draft, upstreams: Mapping[str, Upstream], models: Mapping[str, Model]
) -> tuple[dict[str, Upstream], dict[str, Model]]:
    """The rows that are on, without a word about the others; reports what cannot be without them."""
    places = {name for name, row in upstreams.items() if not row.enabled}
    gone = {name for name, row in models.items() if not row.enabled}
    if upstreams and len(places) == len(upstreams):
        draft.problem(("upstream",), "has no row left that is enabled: add one, or leave one on")
    return (
        {name: _upstream(draft, name, row, places) for name, row in upstreams.items() if row.enabled},
        {name: _model(draft, name, row, places, gone) for name, row in models.items() if row.enabled},
    )


def _upstream(draft: Draft, name: str, row: Upstream, places: Collection[str]) -> Upstream:
    if row.image_upstream not in places:
        return row
    _own(draft, ("upstream", name, "image-upstream"), f"upstream '{row.image_upstream}' is switched off")
    return msgspec.structs.replace(row, image_upstream=None)


def _model(draft: Draft, name: str, row: Model, places: Collection[str], gone: Collection[str]) -> Model:
    kept = {dialect: place for dialect, place in row.upstreams.items() if place not in places}
    if len(kept) < len(row.upstreams):
        off = ", ".join(f"'{place}'" for place in row.upstreams.values() if place in places)
        _own(draft, ("model", name, "upstreams"), f"upstream {off} is switched off")
    for fallback in row.fallbacks:
        if fallback.upstream in places:
            draft.wrong(
                ("model", name, "fallbacks"), f"upstream '{fallback.upstream}' is switched off: name another one"
            )
    if row.text in gone:
        remedy = "name another one, or switch this row off, too"
        draft.wrong(("model", name, "text"), f"model '{row.text}' is switched off: {remedy}")
    if row.vision in gone:
        _own(draft, ("model", name, "vision"), f"model '{row.vision}' is switched off")
    return msgspec.structs.replace(row, upstreams=kept, vision=None if row.vision in gone else row.vision)


def _own(draft: Draft, path: tuple[str, ...], text: str) -> None:
    """Report what the operator says about a row that is off; what the shipped table says is no fault of theirs."""
    if draft.sources.get(path, SHIPPED) != SHIPPED:
        draft.wrong(path, f"{text}: name another one")
