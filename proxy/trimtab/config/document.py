"""pipelines.toml: where it is found, and what stands in it."""

import tomllib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import trimtab
from trimtab.errors import ConfigError

from .environment import Value

PACKAGED = Path(trimtab.__file__).parent / "pipelines.toml"
MODELS = Path(trimtab.__file__).parent / "models.toml"


class Document(NamedTuple):
    """A file as read."""

    path: Path
    tables: dict[str, Any]
    digest: str


def find(path: Path | None, given: Mapping[str, Value]) -> Path:
    """The file to use: the one asked for, TRIMTAB_PIPELINES, ./pipelines.toml, or the packaged one."""
    if path is not None:
        return path
    named = given.get("TRIMTAB_PIPELINES")
    if named is not None:
        return Path(named.text)
    here = Path("pipelines.toml")
    return here if here.is_file() else PACKAGED


def read(path: Path) -> Document:
    """Read a TOML file. Raises ConfigError with its line where it is none."""
    try:
        raw = path.read_bytes()
        tables = tomllib.loads(raw.decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or type(error).__name__})") from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path.name}: not UTF-8 (at line {line})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path.name}: not TOML: {error}") from error
    return Document(path, tables, sha256(raw).hexdigest())
