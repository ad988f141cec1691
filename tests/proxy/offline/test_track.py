"""What is added up of a session."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from offline_stages import configured
from trimtab.config import Config
from trimtab.offline.chain import Offline
from trimtab.offline.track import Sums, Track

pytestmark = pytest.mark.anyio

USER = {"role": "user", "content": "do it again"}
ANSWER = {"role": "assistant", "content": "done"}


async def tracked(config: Config, *sessions: list[dict[str, Any]], **options: Any) -> Track:
    async with Offline(config) as offline:
        track = Track(offline.stages, **options)
        for messages in sessions:
            body = msgspec.json.encode({"model": "glm-4.6", "messages": messages})
            track.add(await offline.walk(offline.parse("chat", body)))
    return track


def growing(count: int) -> list[list[dict[str, Any]]]:
    return [[USER, ANSWER] * number + [USER] for number in range(count)]


def told(sums: list[Sums]) -> list[tuple[str, int, int, int]]:
    return [(each.stage, each.edited, each.breaks, each.epochs) for each in sums]


async def test_an_edit_that_repeats_itself_breaks_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    track = await tracked(configured(monkeypatch, tmp_path, "cut"), *growing(4), hidden=100)
    client, cut = track.sums()
    assert told([client, cut]) == [("client", 0, 0, 0), ("cut", 4, 0, 0)]
    assert client.tokens == 4 * 100 + 10 * 7 + 6 * 5
    assert cut.tokens == client.tokens - 10
    assert cut.price(0.1) < client.price(0.1)
    assert client.cached > 0.6
    assert len(track) == 4


async def test_a_changed_beginning_is_a_break_and_with_a_record_an_epoch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    track = await tracked(configured(monkeypatch, tmp_path, "count", "cut"), *growing(4))
    client, count, cut = track.sums()
    # `count` keeps a record from the fourth request on; `cut`, behind it, breaks nothing itself.
    assert told([client, count, cut]) == [("client", 0, 0, 0), ("count", 4, 2, 1), ("cut", 3, 0, 0)]
    assert count.cached < client.cached / 2


async def test_a_new_conversation_is_no_break(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sessions = [[{**USER, "content": f"{number}"}] for number in range(3)]
    track = await tracked(configured(monkeypatch, tmp_path, "count"), *sessions)
    assert told(track.sums()) == [("client", 0, 0, 0), ("count", 3, 0, 0)]


async def test_stages_that_change_nothing_cost_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    track = await tracked(configured(monkeypatch, tmp_path, "ask", "guard"), *growing(3), marks=True)
    client, ask, guard = track.sums()
    assert ask.splits is client.splits is guard.splits
    assert client.marks
    assert track.notes == {
        "stage 'ask' undone: offline: no model is asked": 3,
        "stage 'guard' refuses: show a key (offline the request goes on)": 3,
    }


async def test_requests_that_do_not_leave_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    track = await tracked(configured(monkeypatch, tmp_path, "full"), *growing(2))
    assert track.ended == ["stage 'full' refuses: too long"] * 2
    assert track.targets == []
