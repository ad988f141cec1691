"""docs/architecture.md names every module, and tests that exist."""

import re
from importlib.metadata import entry_points

import pytest

from docs.pages import CORE, ROOT, page, rows, section

PAGE = "architecture.md"
STAGES = ROOT / "plugins" / "trimtab_stages"
BUILT_IN = "Built-in stages, `plugins/trimtab_stages/`"


def test_every_module_of_the_core_is_named_and_no_other() -> None:
    files = {path.relative_to(CORE).as_posix() for path in CORE.rglob("*.py")}
    stages = section(PAGE, BUILT_IN)
    told = {cells[0].strip("`") for cells in rows(section(PAGE, "Modules and borders").replace(stages, ""))}
    assert (files - told, told - files) == (set(), set())


def test_every_stage_is_named_and_what_is_named_exists() -> None:
    files = {path.relative_to(STAGES).as_posix() for path in STAGES.rglob("*.py")}
    points = [point.value for point in entry_points(group="trimtab") if point.value.startswith("trimtab_stages.")]
    stages = {value.partition(":")[0].removeprefix("trimtab_stages.").replace(".", "/") + ".py" for value in points}
    told = {cells[0].strip("`") for cells in rows(section(PAGE, BUILT_IN))}
    assert (stages - told, told - files) == (set(), set())


PROMISED = set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", page(PAGE) + page("security.md")))


@pytest.mark.parametrize("named", sorted(PROMISED))
def test_the_tests_that_hold_a_promise_exist(named: str) -> None:
    file, _, name = named.partition("::")
    text = (ROOT / file).read_text("utf-8")
    assert not name or re.search(rf"^(async )?def {name}\(", text, re.MULTILINE)
