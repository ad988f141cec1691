"""The environment names that override options of pipelines.toml: a table, `settings.toml`."""

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from itertools import groupby
from types import MappingProxyType
from typing import Any, Literal

import msgspec

Kind = Literal["bool", "int", "float", "str", "list", "path"]

_TYPES: Mapping[Kind, type] = MappingProxyType({"bool": bool, "int": int, "float": float, "str": str, "path": str})
_WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_EXPECTED: Mapping[Kind, str] = MappingProxyType(
    {"bool": "true or false", "int": "a whole number", "float": "a number"},
)
_HEAD = """\
# Settings of trimtab by environment. Copy this file to .env and take the # off the lines you want to change; the values
# here are the defaults. What is set in the real environment wins over .env; what is set here or there wins over
# pipelines.toml. An empty value counts as not set. `trimtab check` prints every value and where it came from.
#
# Further names: TRIMTAB_PIPELINES is the path of pipelines.toml. ENABLE_ and a stage's name, for instance
# ENABLE_SCALE=false, takes that stage out of every pipeline.
#
# This file is written by `trimtab settings`.
"""


class Setting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """One row of the table; its head explains the fields."""

    names: tuple[str, ...]
    group: str
    kind: Kind
    remark: str
    option: str | None = None
    switch: str | None = None
    default: str | None = None
    stage: str | None = None
    later: bool = False
    instead: str | None = None

    def parse(self, text: str) -> Any:
        """The value of a text. Raises ValueError that says what is expected, and never repeats the text."""
        if self.kind == "list":
            return [part.strip() for part in text.split(",") if part.strip()]
        if self.kind == "bool":
            text = _WORDS.get(text.strip().lower(), text)
        try:
            return msgspec.convert(text.strip(), _TYPES[self.kind], strict=False)
        except msgspec.ValidationError:
            raise ValueError(f"expected {_EXPECTED[self.kind]}") from None


@cache
def settings() -> tuple[Setting, ...]:
    """All rows, in the order of the table."""
    table = tomllib.loads((files("trimtab") / "settings.toml").read_text("utf-8"))
    return msgspec.convert(table["setting"], tuple[Setting, ...])


def names() -> list[str]:
    """Every spelling of every setting."""
    return [name for setting in settings() for name in setting.names]


def example() -> str:
    """The text of `.env.example`."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield _HEAD
    for group, rows in groupby(settings(), key=lambda setting: setting.group):
        yield f"# ---- {group} ".ljust(118, "-")
        for setting in rows:
            yield f"# {setting.remark}{_also(setting)}"
            yield f"#{setting.names[0]}={setting.default or ''}"
        yield ""


def _also(setting: Setting) -> str:
    parts = [f"also {name}" for name in setting.names[1:]]
    if setting.instead:
        parts.append("no effect here")
    if setting.stage:
        parts.append(f"comes with the stage {setting.stage}")
    elif setting.later:
        parts.append("comes with a later version")
    elif setting.option:
        parts.append(setting.option)
    return f" ({'; '.join(parts)})" if parts else ""
