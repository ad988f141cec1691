"""The commands, as they are called."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from offline_stages import configured
from trimtab.cli import main

BODY = {"model": "glm-4.6", "messages": [{"role": "user", "content": "do it again, sk-abcdef1234567890"}]}
LOG = {"direction": "request", "dialect": "chat", "id": "1", "body": BODY}


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    configured(monkeypatch, tmp_path, "cut")
    (tmp_path / "body.json").write_text(json.dumps(BODY))
    (tmp_path / "log.jsonl").write_text(json.dumps(LOG) + "\n")
    return tmp_path


def test_explain_takes_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "body.json"]) == 0
    out, err = capsys.readouterr()
    assert "- do it again, ***\n" in out
    assert "sk-abc" not in out
    assert err == ""


def test_explain_takes_stdin_and_gives_json(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(json.dumps(BODY).encode())))
    assert main(["explain", "-", "--json", "--dialect", "messages"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["dialect"], told["stages"][0]["stage"]) == ("messages", "cut")
    assert told["caches"][0]["client"] == [0, 0, told["tokens"]]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["explain", "none.json"], "none.json: cannot be read (No such file or directory)"),
        (["explain", "pipelines.toml"], "pipelines.toml: no JSON request body"),
        (["explain", "bad.json"], "bad.json: the member 'model' is missing"),
        (["explain", "body.json", "--pipeline", "fast"], "no pipeline 'fast' (known: default)"),
        (["replay", "none"], "none: no such file or folder"),
        (["explain", "torn.json"], "torn.json: no JSON request body, and no line of an upstream log: Input data was"),
        (["replay", "bad.json"], "bad.json: 1 request cannot be read: the member 'model' is missing"),
        (["replay", "torn.json"], "nor a request body: Input data was truncated: give a request body, a captured"),
        (["replay", "/dev/null"], "/dev/null: neither a file nor a folder"),
        (["replay", "log.jsonl", "--config", "none.toml"], "none.toml: cannot be read"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_line(
    arguments: list[str], why: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "bad.json").write_text('{"messages": []}')
    (here / "torn.json").write_text('{"model": "m", "mess')
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert why in err


def test_replay_prints_a_table(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "broken.json").write_text("")
    assert main(["replay", "."]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("body: chat, 1 request, to zai-messages/glm-4.6\n")
    assert "session 1: chat, 1 request" in out
    assert "all 2 sessions: 2 requests" in out
    why = "neither an upstream log, nor a conversation, nor a request body: it is empty: give "
    assert err.startswith(f"left out: broken.json: {why}")


def test_lines_of_a_log_that_cannot_be_read_are_counted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "log.jsonl").write_text(json.dumps(LOG) + "\n" + 2 * f"{json.dumps(LOG)[:-9]}\n")
    assert main(["replay", "log.jsonl"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("session 1: chat, 1 request,")
    assert err == "left out: log.jsonl: 2 requests cannot be read: the line is no JSON object\n"


@pytest.mark.parametrize("command", ["explain", "replay"])
def test_long_work_shows_a_bar(
    command: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It moves with each request of a file, not with each file only."""
    user, answer = BODY["messages"][0], {"role": "assistant", "content": "yes"}
    talk = {"dialect": "openai", "messages": [user, answer, user, answer, user, answer, user]}
    (here / "talk.json").write_text(json.dumps(talk))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert main([command, "talk.json"]) == 0
    shown = [part.split("]")[1].split()[0] for part in capsys.readouterr().err.split("\r") if "]" in part]
    assert len({*shown}) >= 4
    assert shown == sorted(shown, key=lambda share: int(share.rstrip("%")))


def test_replay_compares_two_chains(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "other.toml").write_text('[pipeline.default]\nstages = ["ask"]\n')
    assert main(["replay", "log.jsonl", "--compare", "other.toml", "--read", "0.3"]) == 0
    assert "second over first" in capsys.readouterr().out
    assert main(["replay", "log.jsonl", "--compare", "other.toml", "--json"]) == 0
    one, two = json.loads(capsys.readouterr().out)
    assert (one["config"], two["config"]) == ("pipelines.toml", "other.toml")
    assert [stage["stage"] for stage in two["total"]] == ["client", "ask"]


def test_replay_gives_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "log.jsonl", "--json", "--read", "0.25"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["config"] == "pipelines.toml"
    assert list(told["total"][1]["implicit"]["cost"]) == ["0.25"]


def test_a_number_of_lines_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["explain", "x", "--lines=-3"])
    assert "'-3' is no number: 0 or more" in capsys.readouterr().err


@pytest.mark.parametrize("share", ["-0.1", "1.5", "x"])
def test_a_price_that_is_no_share_is_refused(share: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["replay", "x", f"--read={share}"])
    assert "is no share" in capsys.readouterr().err
