"""What a stage may import, and who may import whom."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import trimtab
import trimtab_stages
from trimtab import api

CORE = Path(trimtab.__file__).parent
STAGES = Path(trimtab_stages.__file__).parent
TESTS = Path(__file__).parents[1]


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of every import in a file, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.module or "", alias.asname or alias.name) for alias in node.names)


def found(folder: Path, *packages: str) -> dict[str, set[str]]:
    """Which files of a folder import some packages, by their path in it."""
    files: dict[str, set[str]] = {}
    for path in sorted(folder.rglob("*.py")):
        for module, name in imports(path):
            if module.partition(".")[0] in packages:
                files.setdefault(path.relative_to(folder).as_posix(), set()).add(f"{module}:{name}")
    return files


def test_all_that_is_promised_exists() -> None:
    assert [name for name in api.__all__ if not hasattr(api, name)] == []
    assert api.__all__ == sorted(api.__all__)
    assert len(set(api.__all__)) == len(api.__all__)


def test_all_that_is_imported_is_promised() -> None:
    names = {name for _, name in imports(CORE / "api.py")}
    assert names == set(api.__all__)


@pytest.mark.parametrize(
    "name", ["Stage", "StageOptions", "hookimpl", "Exchange", "Services", "ConfigError", "replace"]
)
def test_a_stage_finds_its_tools(name: str) -> None:
    assert name in api.__all__


def test_stages_import_the_api_and_nothing_deeper() -> None:
    deeper = {
        path: {name for name in names if not name.startswith("trimtab.api:")}
        for path, names in found(STAGES, "trimtab").items()
    }
    assert {path: names for path, names in deeper.items() if names} == {}
    assert deeper.keys() >= {"route.py", "token_count.py"}


def test_stages_import_no_web_framework_no_client_and_no_pluggy() -> None:
    assert found(STAGES, "aiohttp", "starlette", "pluggy", "hypercorn", "diskcache") == {}


def test_the_core_knows_no_stage() -> None:
    assert found(CORE, "trimtab_stages") == {}


def test_only_the_upstream_talks_to_upstreams() -> None:
    assert found(CORE, "aiohttp").keys() == {"upstream/pool.py", "upstream/straight.py"}
    assert found(CORE, "requests", "httpx", "urllib3") == {}


def test_only_registry_and_hookspecs_know_pluggy() -> None:
    assert found(CORE, "pluggy").keys() == {"registry.py", "hookspecs.py"}


def test_only_the_edge_knows_the_web_framework() -> None:
    sans_io = {"conversation.py", "splice.py", "memo.py", "events.py", "errors.py", "facts.py", "exchange.py"}
    sans_io |= {"relay.py", "invariants.py", "headers.py", "models.py", "compaction.py"}
    dialects = {path.relative_to(CORE).as_posix() for path in (CORE / "dialects").glob("*.py")}
    assert len(dialects) > 5
    web = found(CORE, "starlette", "hypercorn", "aiohttp", "asyncio", "socket", "diskcache").keys()
    assert web & (sans_io | dialects) == set()


def test_the_nouns_do_not_import_what_uses_them() -> None:
    """The order of layers: what stands on the left imports nothing from its right."""
    below = {"errors.py", "splice.py", "events.py", "conversation.py", "memo.py", "facts.py", "models.py"}
    above = {"trimtab.pipeline", "trimtab.runtime", "trimtab.serving", "trimtab.upstream", "trimtab.config"}
    wrong = {
        path: names & above
        for path in below
        for names in [{module for module, _ in imports(CORE / path)}]
        if names & above
    }
    assert wrong == {}


def neighbours(path: Path) -> Iterator[str]:
    """The modules of the core that a file imports, relative imports and those for types only too."""
    package = ("trimtab", *path.relative_to(CORE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = {
        ".".join(("trimtab", *path.relative_to(CORE).with_suffix("").parts)): path
        for path in CORE.rglob("*.py")
        if path.name != "__init__.py"
    }
    graph = {name: set(neighbours(path)) & modules.keys() for name, path in modules.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(modules)


def test_tests_of_stages_use_what_authors_have() -> None:
    allowed = ("trimtab.api:", "trimtab.testing:")
    deeper = {
        path: {name for name in names if not name.startswith(allowed)}
        for path, names in found(TESTS / "plugins", "trimtab").items()
    }
    assert {path: names for path, names in deeper.items() if names} == {}
    assert deeper.keys() >= {"test_route.py", "test_token_count.py"}
