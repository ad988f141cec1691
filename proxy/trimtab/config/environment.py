"""The environment and ./.env: values by name, each with its source."""

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from dotenv import dotenv_values

from trimtab import registry
from trimtab.errors import ConfigError
from trimtab.settings import Setting, names, settings

from .draft import Draft

_SWITCH = "ENABLE_"


class Value(NamedTuple):
    """A text from outside, and where it came from."""

    text: str
    source: str


class Override(NamedTuple):
    """A setting that somebody set."""

    name: str
    source: str
    setting: Setting
    value: Any


def environment(environ: Mapping[str, str] | None = None) -> dict[str, Value]:
    """What is set; the real environment wins over ./.env, and an empty value counts as not set."""
    real = os.environ if environ is None else environ
    found = {name: Value(text, f".env {name}") for name, text in _dotenv().items() if text}
    found.update({name: Value(text, f"environment {name}") for name, text in real.items() if text})
    return found


def overrides(given: Mapping[str, Value], draft: Draft) -> list[Override]:
    """The settings that are set, in the order of the table."""
    found: list[Override] = []
    for setting in settings():
        spellings = [name for name in setting.names if name in given]
        for name in spellings[1:]:
            if given[name].text != given[spellings[0]].text:
                draft.idle(name, f"{spellings[0]} says otherwise and holds")
        if spellings:
            found += _read(spellings[0], given[spellings[0]], setting, draft)
    _misspelt(given, draft)
    return found


def switch(stage: str) -> str:
    """The name that takes a stage out of every pipeline when it is false."""
    return f"{_SWITCH}{stage.upper().replace('-', '_')}"


def _read(name: str, value: Value, setting: Setting, draft: Draft) -> Iterator[Override]:
    if setting.instead:
        draft.idle(name, setting.instead)
        return
    try:
        yield Override(name, value.source, setting, setting.parse(value.text))
    except ValueError as error:
        # Shells and other tools set DEBUG for themselves, in forms of their own.
        if name == "DEBUG":
            draft.idle(name, str(error))
        else:
            draft.problems.append(f"{value.source}: {error}")


def _misspelt(given: Mapping[str, Value], draft: Draft) -> None:
    # Only of names in .env: the real environment is full of names that are none of our business.
    known = [*names(), *map(switch, registry.installed()), *(switch(row.stage) for row in settings() if row.stage)]
    for name, value in given.items():
        if value.source.startswith(".env ") and name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.9)
            if near:
                draft.notes.append(f".env: unknown name {name}, did you mean {near[0]}?")
            elif name.startswith(_SWITCH):
                draft.notes.append(f".env: {name} has no effect: there is no such stage or setting")


def _dotenv() -> dict[str, str | None]:
    # Not interpolated: a key may well hold a "$".
    if not Path(".env").is_file():
        return {}
    try:
        return dotenv_values(".env", interpolate=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f".env: cannot be read ({error})") from error
