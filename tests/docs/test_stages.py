"""Each built-in stage has a page that names each of its options, with default and environment name."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from typing import Any

import pytest

from docs.pages import DOCS, ROOT, page, rows, section, shipped, tables
from trimtab.check import shown
from trimtab.config import leaves
from trimtab.registry import AnyStage, stage_class
from trimtab.settings import settings
from trimtab.testing import StageBench
from trimtab_stages.route import Route, RouteOptions

STAGES = sorted(point.name for point in entry_points(group="trimtab") if point.value.startswith("trimtab_stages."))


def built_in(name: str) -> type[AnyStage]:
    return stage_class(name, "the tests")


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_has_a_page(name: str) -> None:
    text = page(f"stages/{name}.md")
    assert text.startswith(f"# {name}\n")
    assert "## Options" in text
    assert "## Cost" in text


def test_every_page_is_about_a_stage() -> None:
    assert sorted(path.stem for path in (DOCS / "stages").glob("*.md")) == STAGES


@pytest.mark.parametrize("name", STAGES)
def test_every_option_stands_in_a_row_with_its_default(name: str) -> None:
    table = {cells[0].split(" ")[0]: cells for cells in rows(section(f"stages/{name}.md", "Options"))}
    for where, value in leaves(built_in(name).Options()):
        cells = table.get(f"`{where[-1]}`")
        assert cells is not None, f"{'.'.join(where)} has no row"
        assert shown(where[-1], value) in cells[1], f"{'.'.join(where)}: the default is {value!r}"


@pytest.mark.parametrize("name", STAGES)
def test_every_environment_name_is_on_the_page(name: str) -> None:
    ours = [row for row in settings() if name in {(row.option or "").split(".")[0], row.stage, row.switch}]
    text = page(f"stages/{name}.md")
    assert [each for row in ours for each in row.names if f"`{each}`" not in text] == []
    table = {cells[0].split(" ")[0]: cells for cells in rows(section(f"stages/{name}.md", "Options"))}
    for row in ours:
        if row.option is not None and not row.later:
            cells = table[f"`{row.option.split('.')[-1]}`"]
            assert f"`{row.names[0]}`" in cells[2], f"{row.names[0]} is not in the row of {row.option}"


[WAYS] = [ways for head, *ways in tables(page("stages/route.md")) if head[0] == "`model`"]
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
PICTURES = {
    "chat": PICTURE,
    "messages": {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
}


@pytest.mark.anyio
@pytest.mark.parametrize("cells", WAYS, ids=" ".join)
async def test_route_goes_the_ways_of_its_page(cells: list[str]) -> None:
    asked, dialect, images, upstream, sent, translated = (cell.strip("`") for cell in cells)
    content: Any = [{"type": "text", "text": "hi"}, *([PICTURES[dialect]] if images == "yes" else [])]
    body = {"model": asked, "messages": [{"role": "user", "content": content}]}
    async with StageBench(Route(RouteOptions()), models=shipped().models) as bench:
        exchange = bench.exchange(body, dialect=dialect)
        await bench.request(exchange)
        assert (exchange.target.upstream.name, bench.sent(exchange)["model"]) == (upstream, sent)
        assert translated == ("no" if exchange.target.dialect == dialect else "yes")


MEASURED = {"translation": "protocol.md"} | {
    name: f"stages/{name}.md" for name in STAGES if f"tests.docs.cost {name}\n" in page(f"stages/{name}.md")
}


@pytest.mark.parametrize("name", MEASURED)
def test_the_command_that_measures_the_cost_works(name: str) -> None:
    assert f"python -m tests.docs.cost {name}\n" in page(MEASURED[name])
    command = [sys.executable, "-m", "tests.docs.cost", name, "--quick"]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" us, then ") == 2
