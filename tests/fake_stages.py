"""Small stages, and entry points for them, for tests of the configuration and the registry."""

from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import pytest

from trimtab import registry
from trimtab.api import Exchange, Fact, Reply, Stage, StageOptions, hookimpl


class Size(Fact, frozen=True):
    """A fact that `count` puts and `judge` needs."""

    tokens: int = 0


class AuthOptions(StageOptions, frozen=True, kw_only=True):
    server_key: str | None = None
    forward_client_key: bool = True
    client_keys: tuple[str, ...] = ()
    per_minute: int = 0

    def __post_init__(self) -> None:
        if not self.forward_client_key and self.server_key is None:
            raise ValueError("forward-client-key is false without a server-key: set one")


class BodyOptions(StageOptions, frozen=True, kw_only=True):
    rotate: bool = True
    max_mb: int = 50


class LogOptions(StageOptions, frozen=True, kw_only=True):
    level: str = "INFO"
    slow_ms: int = 1000
    upstream: BodyOptions = BodyOptions()


class TrimOptions(StageOptions, frozen=True, kw_only=True):
    keep: int = 3
    hard: bool = False


class Plain(Stage[StageOptions]):
    name = "plain"

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        return None


class Auth(Stage[AuthOptions]):
    name = "auth"
    Options = AuthOptions


class Count(Stage[StageOptions]):
    name = "token-count"
    provides = frozenset({Size})


class Judge(Stage[StageOptions]):
    name = "judge"
    needs = frozenset({Size})


class Log(Stage[LogOptions]):
    name = "log"
    Options = LogOptions


class Trim(Stage[TrimOptions]):
    name = "trim"
    Options = TrimOptions
    shapes = True


class Fold(Stage[StageOptions]):
    name = "fold"
    shapes = True


class Point(EntryPoint):
    """An entry point whose class is at hand, or that cannot be loaded."""

    loaded: ClassVar[list[str]] = []
    found: ClassVar[dict[str, Any]] = {}

    def load(self) -> Any:
        self.loaded.append(self.name)
        found = self.found[self.name]
        if isinstance(found, Exception):
            raise found
        return found


def install(monkeypatch: pytest.MonkeyPatch, **stages: Any) -> list[str]:
    """Make these stages (underscores for hyphens) the installed ones; returns the names loaded so far, as it grows."""
    named = {name.replace("_", "-"): _called(name.replace("_", "-"), found) for name, found in stages.items()}
    points = {name: Point(name, f"fake:{name}", "trimtab") for name in named}
    loaded: list[str] = []
    monkeypatch.setattr(Point, "loaded", loaded)
    monkeypatch.setattr(Point, "found", named)
    monkeypatch.setattr(registry, "installed", lambda: points)
    return loaded


def _called(name: str, found: Any) -> Any:
    """A stage's class under the name of its entry point; anything else as it is."""
    if isinstance(found, type) and issubclass(found, Stage) and found.name != name:
        return type(found.__name__, (found,), {"name": name})
    return found


STAGES: dict[str, type[Stage[Any]]] = {
    "auth": Auth,
    "token_count": Count,
    "judge": Judge,
    "log": Log,
    "plain": Plain,
    "trim": Trim,
    "fold": Fold,
}
