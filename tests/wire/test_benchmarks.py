"""Each benchmark starts: its module is whole, and its command line says what it measures."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "__init__")


def run(name: str, *arguments: str) -> int:
    """The exit code of `python -m benchmarks.NAME`, run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        patch.setattr(sys, "argv", [name, *arguments])
        # Other tests import some of them; a module that runs must not be there already.
        patch.delitem(sys.modules, f"benchmarks.{name}", raising=False)
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    return int(ended.value.code or 0)


@pytest.mark.parametrize("name", NAMES)
def test_it_tells_how_it_is_used(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == 0
    assert f"usage: python -m benchmarks.{name} " in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_it_refuses_an_option_that_it_does_not_know(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--quikc") == 2
    assert "--quikc" in capsys.readouterr().err
