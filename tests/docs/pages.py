"""The pages of the documentation, and what tests read in them."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CORE = ROOT / "proxy" / "trimtab"

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#([^)\s]*))?\)")


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


def links(name: str) -> list[str]:
    """The relative links of a page, without the part behind the '#'."""
    text = _BLOCK.sub("", page(name))
    return [target for target, _ in _LINK.findall(text) if "://" not in target]


def rows(text: str) -> Iterator[list[str]]:
    """The rows of all tables in a text, as cells; head and rule lines too."""
    for line in text.splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip("|").replace("\\|", "\0").split("|")]


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
