"""The tests mirror the sources, and none of them waits for a clock."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOTS = {
    TESTS.parent / "proxy" / "trimtab": TESTS / "proxy",
    TESTS.parent / "plugins" / "trimtab_stages": TESTS / "plugins",
}

EXCEPTIONS = {
    "__init__.py",  # names of other modules, passed on
    "__main__.py",  # three lines around cli.main(), run by wire/test_command.py
}
"""Names of source files without a test file of their own."""


def sources() -> list[tuple[Path, Path]]:
    """Each source file, and where its tests belong."""
    return [
        (source, (place / source.relative_to(root)).with_name(f"test_{source.name}"))
        for root, place in ROOTS.items()
        for source in sorted(root.rglob("*.py"))
        if source.name not in EXCEPTIONS
    ]


def test_every_source_file_has_a_test_file_of_its_name() -> None:
    found = sources()
    assert len(found) > 100
    assert [str(test.relative_to(TESTS)) for _, test in found if not test.is_file()] == []


def test_every_test_file_of_the_mirror_has_a_source_file() -> None:
    known = {test for _, test in sources()}
    tests = [test for place in ROOTS.values() for test in place.rglob("test_*.py")]
    assert [str(test.relative_to(TESTS)) for test in tests if test not in known] == []


def test_files_without_tests_hold_nothing_to_test() -> None:
    """Imports, a docstring, names and one call are all that an exception may hold."""
    for root in ROOTS:
        for source in root.rglob("__init__.py"):
            tree = ast.parse(source.read_text())
            kept = [
                node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
            ]
            assert kept == [], source


def naps(text: str) -> Iterator[int]:
    """Lines that call `sleep` with a positive constant; none in a module on fakeloop.py, where time is free."""
    if "from fakeloop import" in text:
        return
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        constants = [value.value for value in given if isinstance(value, ast.Constant)]
        if name == "sleep" and any(isinstance(value, int | float) and value > 0 for value in constants):
            yield node.lineno


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("time.sleep(1)", [1]),
        ("\nawait asyncio.sleep(0.01)", [2]),
        ("sleep(delay=2)", [1]),
        ("await asyncio.sleep(0)", []),
        ("time.sleep(seconds)", []),
        ("nap(1)", []),
        ("from fakeloop import run\nawait asyncio.sleep(1)", []),
    ],
)
def test_what_a_nap_is(text: str, found: list[int]) -> None:
    assert list(naps(text)) == found


def test_no_test_waits_for_a_clock() -> None:
    files = [path for path in TESTS.rglob("*.py") if "build" not in path.parts]
    assert [f"{path.relative_to(TESTS)}:{line}" for path in files for line in naps(path.read_text())] == []


def test_every_numbered_case_of_the_protocol_notes_has_a_test_over_sockets() -> None:
    text = "".join(path.read_text() for path in (TESTS / "wire").rglob("test_*.py"))
    found = {int(number) for number in re.findall(r"def test_P(\d\d)_", text)}
    assert found == set(range(1, 47))
