from pathlib import Path

import pytest

from trimtab.config.document import MODELS, PACKAGED, find, read
from trimtab.config.environment import Value
from trimtab.errors import ConfigError


def test_a_byte_order_mark_does_no_harm(here: Path) -> None:
    (here / "x.toml").write_text("[serve]\n", encoding="utf-8-sig")
    assert read(here / "x.toml").tables == {"serve": {}}


def test_the_packaged_files_can_be_read() -> None:
    assert read(MODELS).tables["upstream"]
    stages = ["auth", "env-dedup", "image-aging", "token-count", "risk-assess", "condense", "route", "scale", "log"]
    assert read(PACKAGED).tables["pipeline"]["default"]["stages"] == stages


def test_the_packaged_file_is_the_last_resort(here: Path) -> None:
    assert find(None, {}) == PACKAGED
    assert find(None, {"TRIMTAB_PIPELINES": Value("x.toml", "environment")}) == Path("x.toml")


def test_a_syntax_error_has_its_line(here: Path) -> None:
    (here / "x.toml").write_text("a = 1\na = 2\n")
    with pytest.raises(ConfigError, match=r"^x\.toml: not TOML: .*line 2"):
        read(here / "x.toml")
