"""A configuration while it is put together: layers of tables, who set what, and everything that is wrong."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from trimtab.registry import hint

from .sections import leaves

S = TypeVar("S", bound=msgspec.Struct)
Path = tuple[str, ...]

_PLAIN = (("`", ""), (" | null", ""), ("object", "table"), (" - at key in $", ", in a name"), (" - at $", ", at "))
"""msgspec speaks of JSON; these are the words for TOML."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")


class Draft:
    """Layers laid over each other; later ones win, option by option."""

    def __init__(self, name: str) -> None:
        self.name = name
        """The file's name, for messages."""
        self.tables: dict[str, Any] = {}
        self.sources: dict[Path, str] = {}
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.hints: list[str] = []
        self._idle: dict[str, list[str]] = {}

    def put(self, path: Path, value: Any, source: str) -> None:
        """Set one option."""
        table = self.table(path[:-1])
        if isinstance(table, dict):  # else somebody wrote a value where a table belongs, which `convert` reports
            table[path[-1]] = value
            self._signed(path, value, source)

    def lay(self, path: Path, table: Mapping[str, Any], source: str) -> None:
        """Set the options of a table, keeping those it does not name."""
        self.table(path)
        for option, value in table.items():
            self.put((*path, option), value, source)

    def table(self, path: Path) -> Any:
        """The table at a path, made where there is none."""
        table: Any = self.tables
        for part in path:
            if isinstance(table, dict):
                table = table.setdefault(part, {})
        return table

    def forget(self, path: Path) -> Any:
        """Take an option out and return it; None where there is none."""
        self.sources.pop(path, None)
        return self.table(path[:-1]).pop(path[-1], None)

    def problem(self, path: Path, text: str) -> None:
        """Report a table that cannot work."""
        self.problems.append(f"{self.name}: {header(path)} {text}")

    def wrong(self, path: Path, text: str) -> None:
        """Report an option that cannot work, at the place where it was set."""
        source = self.sources.get(path, self.name)
        place = source if outside(source) else f"{source}: {header(path[:-1])} option '{path[-1]}'"
        self.problems.append(f"{place}: {text}")

    def idle(self, name: str, reason: str) -> None:
        """Note that an environment name has no effect; names with the same reason share a line."""
        self._idle.setdefault(reason, []).append(name)

    def all_notes(self) -> tuple[str, ...]:
        """The lines to print at start."""
        lines = [
            f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} no effect: {reason}"
            for reason, names in self._idle.items()
        ]
        return (*self.notes, *lines)

    def convert(self, path: Path, kind: type[S], hidden: Collection[str] = ()) -> S | None:
        """The table at a path as a struct; None when something in it is wrong, which is reported."""
        before = len(self.problems)
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind) if field.name not in hidden}
        values = {}
        for option, value in self.table(path).items():
            if option in fields:
                values[fields[option].name] = self._value((*path, option), value, fields[option].type)
            else:
                self.problem(
                    path, f"unknown option '{option}'{self._meant(path, option, value) or hint(option, fields)}"
                )
        for option, field in fields.items():
            if field.required and option not in self.table(path):
                self.problem(path, f"lacks the option '{option}'")
        if len(self.problems) > before:
            return None
        return self._made(path, kind, values)

    def _meant(self, path: Path, option: str, value: Any) -> str:
        """The remedy for two slips that the nearest name does not mend: a dot without quotes, and `enabled`."""
        if path[0] in ("model", "upstream") and len(path) == 2 and isinstance(value, dict):
            name = ".".join((*path[1:], *_dotted(option, value)))
            return f': a name with a dot stands in quotes, write [{path[0]}."{name}"]'
        if path[0] == "stage" and len(path) == 2 and option == "enabled":
            variable = f"ENABLE_{path[1].upper().replace('-', '_')}"
            return f": delete the word '{path[1]}' from `stages`, or set {variable}=false"
        return ""

    def _made(self, path: Path, kind: type[S], values: dict[str, Any]) -> S | None:
        try:
            made = kind(**values)
        except ValueError as error:  # what a struct's own __post_init__ says about options that do not go together
            self._unfit(path, str(error))
            return None
        for where, _ in leaves(made, path):
            self.sources.setdefault(where, "default")
        return made

    def _unfit(self, path: Path, text: str) -> None:
        """Report options that do not go together, at the environment's names where those are at fault."""
        table = {where[len(path) :]: source for where, source in self.sources.items() if where[: len(path)] == path}
        named = {where: source for where, source in table.items() if where and _names(text, where[-1])}
        blamed = named or table
        places = dict.fromkeys(source for source in blamed.values() if outside(source))
        if not places or (not named and self.name in table.values()):
            self.problem(path, text)
        else:
            self.problems.append(f"{', '.join(places)}: {header(path)} {text}")

    def _value(self, path: Path, value: Any, kind: Any) -> Any:
        if get_origin(kind) is Mapping and _is_struct(get_args(kind)[1]) and isinstance(value, dict):
            return self._tables(path, value, get_args(kind)[1])
        nested = next((part for part in (kind, *get_args(kind)) if _is_struct(part)), None)
        if nested is not None and isinstance(value, dict):
            return self.convert(path, nested)
        try:
            return msgspec.convert(value, kind, strict=not outside(self.sources.get(path, "")))
        except msgspec.ValidationError as error:
            self.wrong(path, _reason(error, value, kind))
            return None

    def _tables(self, path: Path, tables: dict[str, Any], kind: Any) -> dict[str, Any] | None:
        """Tables by name, each a struct."""
        for name, table in tables.items():
            if not isinstance(table, dict):
                self.wrong((*path, name), "must be a table")
        made = {name: self.convert((*path, name), kind) for name, table in tables.items() if isinstance(table, dict)}
        return None if None in made.values() or len(made) < len(tables) else made

    def _signed(self, path: Path, value: Any, source: str) -> None:
        self.sources[path] = source
        if isinstance(value, dict):
            for part, inner in value.items():
                self._signed((*path, part), inner, source)


def outside(source: str) -> bool:
    """Whether a source is the environment or .env, whose values began as text."""
    return source.startswith(("environment ", ".env "))


def header(path: Path) -> str:
    """A table's name as it is written in TOML."""
    return "[" + ".".join(part if _BARE.fullmatch(part) else f'"{part}"' for part in path) + "]"


def _dotted(option: str, value: Mapping[str, Any]) -> list[str]:
    """The parts of a name that TOML took apart at its dots."""
    parts, inner = [option], value
    while len(inner) == 1 and isinstance(only := next(iter(inner.values())), dict):
        parts.append(next(iter(inner)))
        inner = only
    return parts


def _names(text: str, option: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text) is not None


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _reason(error: msgspec.ValidationError, value: Any, kind: Any) -> str:
    # Only a word out of a fixed choice is repeated: any other value may hold a key.
    if get_origin(kind) is Literal and isinstance(value, str):
        return f"unknown value '{value}'{hint(value, get_args(kind))}"
    text = str(error)
    for raw, plain in _PLAIN:
        text = text.replace(raw, plain)
    return text[0].lower() + text[1:]
