from typing import Any

import msgspec
import pytest

from trimtab.config.draft import Draft, header


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
