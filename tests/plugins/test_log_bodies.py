"""The file of whole bodies: private, whole, rotated, packed and cleared away."""

import base64
import gzip
import json
import os
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest
from loguru import logger

from trimtab.api import ConfigError
from trimtab.testing import StageBench, StillClock
from trimtab_stages.log_bodies import DAY, Bodies, Body, UpstreamLog, json_line

MB = 1024 * 1024


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="TRACE", format="{message}")
    yield lines
    logger.remove(sink)


def body(content: Any = b'{"a": 1}', id: str = "r1") -> Body:
    return Body(time=1.0, id=id, direction="request", upstream="u", model="m", dialect="chat", content=content)


class Log:
    """Bodies in a folder, opened and closed."""

    def __init__(self, folder: Path, clock: StillClock | None = None, **options: Any) -> None:
        self.bodies = Bodies(UpstreamLog(file=str(folder / "bodies.jsonl"), **options), clock or StillClock(0))

    def __enter__(self) -> Bodies:
        self.bodies.open()
        return self.bodies

    def __exit__(self, *error: object) -> None:
        self.bodies.close()


def rotated(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.startswith("bodies.2"))


@pytest.mark.parametrize("content", [b'{"a":\n [1,\r\n 2]}', b'"\\n"', b"[1.50, 1e3]"])
def test_a_json_body_stands_in_its_line_as_it_is(content: bytes) -> None:
    line = json_line(body(content))
    assert line.count("\n") == 1
    assert content.replace(b"\n", b" ").replace(b"\r", b" ").decode() in line
    assert json.loads(line)["body"] == json.loads(content)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\xff", b'"\xff"', b"{", b"[" * 5000])
def test_what_is_no_json_text_is_base64(content: bytes) -> None:
    kept = json.loads(json_line(body(content)))
    assert "body" not in kept
    assert base64.b64decode(kept["base64"]) == content


def test_a_conversation_is_rendered(tmp_path: Path) -> None:
    raw = b'{ "model":"small", "messages" : [{"role":"user","content":"h\xc3\xa9"}], "x": 1.0 }'
    exchange = StageBench().exchange(raw)
    assert f'"body":{raw.decode()}}}' in json_line(body(exchange.conversation))


def test_the_file_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    with Log(folder) as bodies:
        bodies.write(body())
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "bodies.jsonl").stat().st_mode) == 0o600
    (folder / "bodies.jsonl").chmod(0o644)
    with Log(folder) as bodies:
        bodies.write(body())
    assert stat.S_IMODE((folder / "bodies.jsonl").stat().st_mode) == 0o600
    assert len((folder / "bodies.jsonl").read_text().splitlines()) == 2


def test_no_other_sink_sees_a_body(tmp_path: Path, said: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    stderr = logger.add(sys.stderr, level="TRACE")
    with Log(tmp_path) as bodies, Log(tmp_path / "other") as other:
        bodies.write(body(b'"here"'))
        other.write(body(b'"there"'))
        logger.info("a line of the program")
    logger.remove(stderr)
    assert said == ["a line of the program\n"]
    assert "here" not in capfd.readouterr().err
    assert [json.loads((path / "bodies.jsonl").read_text())["body"] for path in (tmp_path, tmp_path / "other")] == [
        "here",
        "there",
    ]


def test_a_record_that_cannot_be_written_is_not_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: Any) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Bodies, "_full", full)
    with Log(tmp_path) as bodies, pytest.raises(OSError, match="No space"):
        bodies.write(body(b'"the secret plan"'))
    assert "plan" not in "".join(capfd.readouterr())


def test_a_full_file_is_packed(tmp_path: Path, said: list[str]) -> None:
    with Log(tmp_path, max_mb=500 / MB) as bodies:
        for number in range(4):
            bodies.write(body(b'"' + b"x" * 100 + b'"', id=f"r{number}"))
    [packed] = rotated(tmp_path)
    assert packed.endswith(".jsonl.gz")
    assert stat.S_IMODE((tmp_path / packed).stat().st_mode) == 0o600
    text = gzip.decompress((tmp_path / packed).read_bytes()).decode() + (tmp_path / "bodies.jsonl").read_text()
    assert [json.loads(line)["id"] for line in text.splitlines()] == ["r0", "r1", "r2", "r3"]
    assert said == [f"upstream log: packed {packed}\n"]


def test_a_body_larger_than_a_file_gets_one_of_its_own(tmp_path: Path) -> None:
    with Log(tmp_path, max_mb=10 / MB, compress=False, log=False) as bodies:
        for number in range(3):
            bodies.write(body(id=f"r{number}"))
    files = [tmp_path / name for name in rotated(tmp_path)]
    assert [len(path.read_text().splitlines()) for path in files] == [1, 1]


def test_packing_may_wait_for_the_cleanup(tmp_path: Path, said: list[str]) -> None:
    with Log(tmp_path, max_mb=10 / MB, compress_at_once=False) as bodies:
        bodies.write(body())
        bodies.write(body())
        assert [name.endswith(".jsonl") for name in rotated(tmp_path)] == [True]
        bodies.cleanup()
        assert [name.endswith(".gz") for name in rotated(tmp_path)] == [True]
    assert len(said) == 1


def test_only_so_many_files_are_kept(tmp_path: Path, said: list[str]) -> None:
    with Log(tmp_path, max_mb=10 / MB, keep=2, compress=False, log=False) as bodies:
        for number in range(6):
            bodies.write(body(id=f"r{number}"))
    assert len(rotated(tmp_path)) == 2
    assert said == []


def test_old_files_go_and_others_stay(tmp_path: Path, said: list[str]) -> None:
    clock = StillClock(100 * DAY)
    old, new = "bodies.2026-01-01_00-00-00_000000.jsonl.gz", "bodies.2026-01-02_00-00-00_000000.2.jsonl"
    others = ["bodies.conf", "bodies.2026.jsonl", "bodies.jsonl.bak", "xbodies.2026-01-01_00-00-00_000000.jsonl"]
    for name in (old, new, *others):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (60 * DAY, 60 * DAY) if name != new else (80 * DAY, 80 * DAY))
    with Log(tmp_path, clock, days=30, compress=False) as bodies:
        bodies.cleanup()
    assert set(os.listdir(tmp_path)) - {"bodies.jsonl.lock"} == {"bodies.jsonl", new, *others}
    assert said == [f"upstream log: removed {old}\n"]


def test_nothing_goes_without_limits(tmp_path: Path) -> None:
    with Log(tmp_path, max_mb=10 / MB, keep=0, days=0, compress=False) as bodies:
        for _ in range(15):
            bodies.write(body())
    assert len(rotated(tmp_path)) == 14


def test_one_file_without_an_end(tmp_path: Path) -> None:
    with Log(tmp_path, max_mb=10 / MB, rotate=False) as bodies:
        bodies.write(body())
        bodies.write(body())
    assert os.listdir(tmp_path) == ["bodies.jsonl"]


def test_a_file_that_vanishes_is_made_anew(tmp_path: Path) -> None:
    with Log(tmp_path) as bodies:
        bodies.write(body())
        (tmp_path / "bodies.jsonl").unlink()
        bodies.write(body(id="r2"))
    assert json.loads((tmp_path / "bodies.jsonl").read_text())["id"] == "r2"
    assert stat.S_IMODE((tmp_path / "bodies.jsonl").stat().st_mode) == 0o600


def test_files_that_vanish_meanwhile_are_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Log(tmp_path) as bodies:
        gone = str(tmp_path / "bodies.2026-01-01_00-00-00_000000.jsonl")
        monkeypatch.setattr(bodies, "_rotated", lambda: [gone])
        bodies.cleanup()


def test_braces_in_the_name_are_just_that(tmp_path: Path) -> None:
    bodies = Bodies(UpstreamLog(file=str(tmp_path / "{time}.jsonl")), StillClock())
    bodies.open()
    bodies.close()
    bodies.close()
    assert os.listdir(tmp_path) == ["{time}.jsonl"]


@pytest.mark.parametrize("options", [{"max_mb": 0}, {"keep": -1}, {"days": -1}, {"cleanup_hours": -1}])
def test_options_that_cannot_work(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"upstream\."):
        UpstreamLog(**options)


def test_a_check_finds_what_would_fail_and_makes_nothing(tmp_path: Path) -> None:
    Bodies(UpstreamLog(file=str(tmp_path / "a" / "b" / "bodies.jsonl")), StillClock(0)).check()
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").touch()
    Bodies(UpstreamLog(file=str(tmp_path / "file")), StillClock(0)).check()
    for name, reason in (("file/below", "Not a directory"), (".", "Is a directory")):
        with pytest.raises(ConfigError, match=reason):
            Bodies(UpstreamLog(file=str(tmp_path / name)), StillClock(0)).check()


def test_what_one_process_writes_while_another_packs_the_file_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Log(tmp_path, max_mb=60 / MB)
    with other as rotates:
        rotates.write(body(b'"first"'))
        slow = Log(tmp_path)
        blocked = threading.Thread(target=rotates.write, args=(body(b'"second"'),))

        def looks(message: str, file: TextIO) -> bool:
            # Between its look at the file and its line the other one finds it full, and packs it if it may.
            blocked.start()
            blocked.join(0.2)
            return False

        monkeypatch.setattr(slow.bodies, "_full", looks)
        with slow as writes:
            writes.write(body(b'"between"'))
        blocked.join()
    texts = [gzip.decompress(path.read_bytes()) for path in tmp_path.glob("*.gz")]
    texts.append((tmp_path / "bodies.jsonl").read_bytes())
    found = [json.loads(line)["body"] for text in texts for line in text.splitlines()]
    assert sorted(found) == ["between", "first", "second"]
