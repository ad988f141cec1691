"""What the image is made of."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from docs.pages import ROOT

COPIES = re.compile(r"^COPY (?!--from)(.+) \S+$", re.MULTILINE)


def copied() -> list[str]:
    """What the Containerfile takes out of the folder it is built in."""
    return [name for line in COPIES.findall((ROOT / "Containerfile").read_text("utf-8")) for name in line.split()]


def test_only_sources_and_what_the_wheel_is_made_of_are_copied() -> None:
    assert sorted(copied()) == ["LICENSE", "README.md", "pipelines.toml", "plugins", "proxy", "pyproject.toml"]
    assert [name for name in copied() if not (ROOT / name).exists()] == []


def test_the_wheel_made_of_them_is_whole_and_holds_nothing_else(tmp_path: Path) -> None:
    """The final image takes nothing but this wheel."""
    for name in copied():
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, symlinks=True)
        else:
            shutil.copy(source, tmp_path / name)
    (tmp_path / "proxy" / "trimtab" / "notes.txt").write_text("not for the image")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "out", "."]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    (wheel,) = (tmp_path / "out").glob("*.whl")
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = {
        str(path.relative_to(root))
        for root in (ROOT / "proxy", ROOT / "plugins")
        for path in root.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and not any(part.endswith(".egg-info") for part in path.parts)
    }
    assert found == sources
