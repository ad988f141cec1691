from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from trimtab.config.draft import Draft, header
from trimtab.config.sections import Section


class Inner(msgspec.Struct, frozen=True, rename="kebab"):
    max_mb: int = 1


class Outer(msgspec.Struct, frozen=True, rename="kebab"):
    server_key: str
    inner: Inner | None = None
    names: tuple[str, ...] = ()


def draft(**options: Any) -> Draft:
    made = Draft("pipelines.toml")
    made.lay(("outer",), {name.replace("_", "-"): value for name, value in options.items()}, "pipelines.toml")
    return made


def test_later_layers_win_option_by_option() -> None:
    made = draft(server_key="a", names=["x"])
    made.lay(("outer",), {"names": ["y"]}, "environment NAMES")
    assert made.convert(("outer",), Outer) == Outer("a", None, ("y",))
    assert made.sources[("outer", "names")] == "environment NAMES"
    assert made.sources[("outer", "inner")] == "default"


def test_an_optional_table_is_walked() -> None:
    made = draft(server_key="a", inner={"max-bm": 1})
    assert made.convert(("outer",), Outer) is None
    assert made.problems == ["pipelines.toml: [outer.inner] unknown option 'max-bm', did you mean 'max-mb'?"]


def test_a_wrong_value_is_never_repeated() -> None:
    made = draft(server_key=["sk-secret"], names="sk-secret")
    assert made.convert(("outer",), Outer) is None
    assert made.problems == [
        "pipelines.toml: [outer] option 'server-key': expected str, got array",
        "pipelines.toml: [outer] option 'names': expected array, got str",
    ]


def test_a_missing_option_is_named() -> None:
    made = draft()
    assert made.convert(("outer",), Outer) is None
    assert made.problems == ["pipelines.toml: [outer] lacks the option 'server-key'"]


@pytest.mark.parametrize(
    ("path", "text"), [(("serve",), "[serve]"), (("model", "glm-4.6"), '[model."glm-4.6"]'), (("a", "b_c"), "[a.b_c]")]
)
def test_headers_are_toml(path: tuple[str, ...], text: str) -> None:
    assert header(path) == text


class Named(Section, frozen=True, kw_only=True):
    """A table by name."""

    size: int = 1


class Tables(Section, frozen=True, kw_only=True):
    """A table of tables."""

    rows: Mapping[str, Named] = {}  # msgspec copies it


def test_tables_by_name() -> None:
    draft = Draft("pipelines.toml")
    draft.lay(("outer",), {"rows": {"a": {"size": 2}, "b": {}}}, draft.name)
    assert draft.convert(("outer",), Tables) == Tables(rows={"a": Named(size=2), "b": Named()})
    assert draft.problems == []


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ({"a": 5}, "pipelines.toml: [outer.rows] option 'a': must be a table"),
        ({"a": {"size": "x"}}, "pipelines.toml: [outer.rows.a] option 'size': expected int, got str"),
        ({"a": {"siez": 1}}, "pipelines.toml: [outer.rows.a] unknown option 'siez', did you mean 'size'?"),
    ],
)
def test_tables_by_name_that_cannot_work(rows: Any, problem: str) -> None:
    draft = Draft("pipelines.toml")
    draft.lay(("outer",), {"rows": rows}, draft.name)
    assert draft.convert(("outer",), Tables) is None
    assert problem in draft.problems
