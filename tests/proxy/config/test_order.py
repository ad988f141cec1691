import pytest

from trimtab.config.draft import Draft
from trimtab.config.order import check_order, check_timeouts

PLACE = "pipelines.toml: [pipeline.default]"


@pytest.mark.parametrize(
    ("uses", "note"),
    [
        (
            ["route", "scale", "auth"],
            f"{PLACE} 'auth' is not first: 'route', 'scale' work for whoever calls; move 'auth' to the front",
        ),
        (
            ["token-count", "env-dedup", "condense", "image-aging"],
            f"{PLACE} 'token-count' counts what 'env-dedup', 'image-aging' then edit: move 'token-count' behind "
            "'env-dedup', 'image-aging'",
        ),
        (
            ["log", "log", "scale"],
            f"{PLACE} 'log' is not last: it hears replies as 'scale' leave them, not the upstream's own; move 'log' to "
            "the end",
        ),
    ],
)
def test_an_odd_order_is_a_note(uses: list[str], note: str) -> None:
    draft = Draft("pipelines.toml")
    check_order(draft, "default", uses)
    assert draft.all_notes() == (note,)


@pytest.mark.parametrize(
    "uses",
    [
        [],
        ["auth"],
        ["plain", "route"],
        ["auth", "env-dedup", "image-aging", "token-count", "risk-assess", "condense", "route", "scale", "log", "log"],
    ],
)
def test_a_usual_order_is_none(uses: list[str]) -> None:
    draft = Draft("pipelines.toml")
    check_order(draft, "default", uses)
    assert draft.all_notes() == ()


def test_labels_that_nobody_has() -> None:
    draft = Draft("pipelines.toml")
    check_timeouts(draft, {"a": 1.0, "b": 2.0}, ["b"])
    assert draft.all_notes() == ("core.stage-timeouts has no effect on a: no pipeline has such a stage",)


def test_labels_that_all_stand_in_a_pipeline() -> None:
    draft = Draft("pipelines.toml")
    check_timeouts(draft, {"b": 2.0}, ["a", "b"])
    assert not draft.all_notes()
