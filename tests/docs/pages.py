"""The pages of the documentation, and what tests read in them."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import chdir
from functools import cache
from pathlib import Path

from trimtab.config import Config, load

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CORE = ROOT / "proxy" / "trimtab"

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")


@cache
def page(name: str) -> str:
    """The text of a page, by its path under `docs`."""
    return (DOCS / name).read_text("utf-8")


def pages() -> list[str]:
    """All pages, by their paths under `docs`."""
    return sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def blocks(name: str, language: str) -> list[str]:
    """The code blocks of one language on a page."""
    return [text for kind, text in _BLOCK.findall(page(name)) if kind == language]


def links(name: str) -> list[tuple[str, str]]:
    """The relative links of a page: the path, and the part behind the '#'."""
    text = _BLOCK.sub("", page(name))
    return [(target, anchor) for target, anchor in _LINK.findall(text) if "://" not in target]


def tables(text: str) -> Iterator[list[list[str]]]:
    """The tables of a text: the row of heads and the others, as cells."""
    table: list[list[str]] = []
    for line in (*text.splitlines(), ""):
        if line.startswith("|"):
            table.append([cell.strip() for cell in line.strip("|").split("|")])
        elif table:
            yield [cells for cells in table if set(cells[0]) != {"-"}]
            table = []


def rows(text: str) -> list[list[str]]:
    """The rows of all tables in a text, without their heads."""
    return [cells for table in tables(text) for cells in table[1:]]


def section(name: str, title: str) -> str:
    """The text under a heading, up to the next heading of its level or above."""
    lines = page(name).splitlines()
    start = next(at for at, line in enumerate(lines) if line.lstrip("#").strip() == title and line.startswith("#"))
    level = len(lines[start]) - len(lines[start].lstrip("#"))
    stops = re.compile(rf"#{{1,{level}}} ")
    rest = []
    for line in lines[start + 1 :]:
        if stops.match(line):
            break
        rest.append(line)
    return "\n".join(rest)


def shipped() -> Config:
    """The packaged configuration, whatever lies in the working directory."""
    with tempfile.TemporaryDirectory() as empty, chdir(empty):
        return load(environ={})
