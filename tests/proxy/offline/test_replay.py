"""Sessions through whole chains."""

import gzip
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from fixtures import FOLDER, needs_recordings
from offline_stages import configured
from trimtab.config import Config, load
from trimtab.offline.recorded import Source, Unreadable
from trimtab.offline.replay import Replay, Session, total

pytestmark = pytest.mark.anyio

USER = {"role": "user", "content": "do it again"}
ANSWER = {"role": "assistant", "content": "done"}
MARKED = {"role": "user", "content": [{"type": "text", "text": "x again", "cache_control": {"type": "ephemeral"}}]}


def conversation(*messages: dict[str, Any], dialect: str = "openai") -> str:
    return json.dumps({"dialect": dialect, "messages": messages})


def logged(*requests: list[dict[str, Any]], direction: str = "request") -> str:
    lines = [
        {"time": 2e9 + number, "id": str(number), "direction": direction, "dialect": "chat",
         "body": {"model": "glm-4.6", "messages": messages}}
        for number, messages in enumerate(requests)
    ]  # fmt: skip
    return "".join(f"{json.dumps(line)}\n" for line in lines)


async def replayed(config: Config, folder: Path, text: str) -> list[Session]:
    path = folder / "recorded.jsonl"
    path.write_text(text)
    async with Replay.opened(config) as replay:
        return await replay.file(Source(path))


async def test_a_conversation_is_played_both_ways(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = configured(monkeypatch, tmp_path, "cut")
    text = conversation(USER, ANSWER, USER, ANSWER, USER, ANSWER)
    (session,) = await replayed(config, tmp_path, text)
    assert (session.name, session.dialect, session.requests) == ("recorded.jsonl", "chat", 3)
    assert session.targets == (("zai-messages", "glm-4.6"),)
    assert [sums.edited for sums in session.implicit] == [sums.edited for sums in session.marks] == [0, 3]
    assert all(split.written == 0 for split in session.implicit[0].splits)
    assert [split.written > 0 for split in session.marks[0].splits] == [True, True, True]
    assert session.marks[0].splits[2].cached == session.marks[0].splits[1].tokens
    assert session.terms is not None
    assert (session.terms.kind, session.terms.input) == ("implicit", 0.6)


async def test_marks_of_the_clients_own_are_read_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = conversation(MARKED, ANSWER, USER, ANSWER, dialect="anthropic")
    (session,) = await replayed(configured(monkeypatch, tmp_path, "cut"), tmp_path, text)
    first, second = session.marks[0].splits
    # The client's second message carries none: only the first is found and kept.
    assert (second.cached, second.written) == (first.written, 0)


async def test_sessions_of_a_log_are_told_apart_by_their_messages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = {"role": "user", "content": "something else"}
    text = logged([USER], [other], [USER, ANSWER, USER], [other, ANSWER, USER], [USER, ANSWER, USER, ANSWER, other])
    sessions = await replayed(configured(monkeypatch, tmp_path, "cut"), tmp_path, text)
    assert [(session.name, session.requests) for session in sessions] == [("session 1", 3), ("session 2", 2)]
    assert all(session.recorded_edited for session in sessions)


async def test_a_session_goes_on_in_the_next_file_of_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whose cache holds what the file before it ended with; the last one may be torn, or empty."""
    turns = [[USER], [USER, ANSWER, USER], [USER, ANSWER, USER, ANSWER, USER]]
    config = configured(monkeypatch, tmp_path, "cut")
    (whole,) = await replayed(config, tmp_path, logged(*turns))
    torn = gzip.compress(logged(*turns[2:]).encode())[:-4]
    files = {"up.1.log": logged(*turns[:2]).encode(), "up.2.log.gz": torn, "up.log": b""}
    async with Replay.opened(config) as replay:
        for name, text in files.items():
            (tmp_path / name).write_bytes(text)
            with nullcontext() if name == "up.1.log" else pytest.raises(Unreadable):
                await replay.file(Source(tmp_path / name))
        assert replay.sessions() == [whole]


async def test_a_turn_that_was_said_anew_belongs_to_its_session(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    edited = {"role": "user", "content": "shorter"}
    text = logged([USER, ANSWER, USER], [USER, ANSWER, edited, ANSWER, USER], direction="received")
    (session,) = await replayed(configured(monkeypatch, tmp_path, "cut"), tmp_path, text)
    assert (session.requests, session.recorded_edited) == (2, False)


async def test_a_request_that_cannot_be_read_is_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "recorded.jsonl"
    path.write_text(logged([USER]).replace('"model": "glm-4.6"', '"model": 5'))
    async with Replay.opened(configured(monkeypatch, tmp_path, "cut")) as replay:
        seen: list[tuple[int, float]] = []
        source = Source(path, path.stat().st_size)
        assert await replay.file(source, progress=lambda *told: seen.append(told)) == []
        assert ([*replay.unread.items()], seen) == (
            [(("recorded.jsonl", "the member 'model' is missing or no string: name a model"), 1)], [(1, 1.0)],
        )  # fmt: skip


async def test_totals_add_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sessions = await replayed(configured(monkeypatch, tmp_path, "cut"), tmp_path, logged([USER], [ANSWER]))
    (client, plain, marks), (cut, _, _) = total(sessions)
    assert (client, cut, len(plain), len(marks)) == ("client", "cut", 2, 2)
    assert list(total([])) == []


@needs_recordings
async def test_the_default_chain_gives_the_figures_of_the_benchmark(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """benchmarks/economy.py plays the one stage alone; its bars are the hybrid's of economy.md."""
    monkeypatch.chdir(tmp_path)
    alone = tmp_path / "alone.toml"
    alone.write_text('[pipeline.default]\nstages = ["env-dedup"]\n')
    source = Source(FOLDER / "conversations" / "01-bob-445cbc.json.gz")
    found = []
    for config in (load(environ={}), load(alone, environ={})):
        async with Replay.opened(config) as replay:
            (session,) = await replay.file(source)
        assert session.notes == {}
        ends = [(ways[0], ways[-1]) for ways in (session.implicit, session.marks)]
        found.append([end.price(0.1) / client.price(0.1) for client, end in ends])
        assert [(end.breaks, end.epochs) for _, end in ends] == [(0, 0), (0, 0)]
    assert found[0] == found[1]
    assert found[0][0] <= 0.596
    assert found[0][1] <= 0.595
