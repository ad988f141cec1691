"""One request explained."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from offline_stages import configured
from trimtab.config import Config
from trimtab.errors import BadRequest
from trimtab.offline.explain import Explanation, explain
from trimtab.offline.recorded import Recorded

pytestmark = pytest.mark.anyio

USER = {"role": "user", "content": "do it again with sk-abcdef1234567890"}
ANSWER = {"role": "assistant", "content": "done"}


async def told(config: Config, *messages: dict[str, Any], dialect: str = "messages", **head: Any) -> Explanation:
    body = msgspec.json.encode({"model": "auto", "max_tokens": 9, **head, "messages": messages})
    return await explain(config, Recorded(None, dialect, body))


async def test_each_stage_tells_what_it_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = await told(configured(monkeypatch, tmp_path, "cut", "ask"), USER, ANSWER, USER)
    cut, ask = found.stages
    assert (cut.after - cut.before, found.tokens) == (-2, cut.before)
    assert [(change.where, change.reason, change.tokens) for change in cut.changes] == [
        ("message 0 (user)", "said", -1), ("message 2 (user)", "said", -1),
    ]  # fmt: skip
    assert cut.first_changed == 2
    assert (ask.first_changed, ask.changes) == (None, ())
    assert ask.notes == ("stage 'ask' undone: offline: no model is asked",)


async def test_keys_are_never_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = await told(configured(monkeypatch, tmp_path, "cut"), USER)
    assert found.stages[0].changes[0].lines == ("- do it again with ***", "+ do it with ***")


async def test_the_turn_before_is_what_a_cache_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = configured(monkeypatch, tmp_path, "cut")
    first = await told(config, USER)
    (implicit,) = (await told(config, USER, ANSWER, USER)).caches
    assert (first.turns, first.caches[0].client.cached) == (1, 0)
    assert implicit.client.cached == first.tokens
    assert implicit.sent.cached == first.tokens - 1
    (broken,) = (await told(configured(monkeypatch, tmp_path, "count"), USER, ANSWER, USER, ANSWER, USER)).caches
    assert broken.sent.cached < 4 < broken.client.cached


async def test_a_turn_may_end_in_a_message_of_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Claude Code sends one in the middle of a conversation; the request before ended with it."""
    config, system = configured(monkeypatch, tmp_path, "cut"), {"role": "system", "content": "be brief"}
    found = await told(config, USER, system, ANSWER, USER)
    assert (found.turns, found.caches[0].client.cached > 0) == (2, True)
    assert (await told(config, system, ANSWER, USER, dialect="chat")).turns == 1


async def test_it_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[int, float]] = []
    body = msgspec.json.encode({"model": "auto", "messages": [USER, ANSWER] * 3 + [USER]})
    config = configured(monkeypatch, tmp_path, "cut")
    await explain(config, Recorded(None, "chat", body), progress=lambda *told: seen.append(told))
    assert seen == [(1, 0.25), (2, 0.5), (3, 0.75), (4, 1.0)]


async def test_records_of_earlier_turns_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = await told(configured(monkeypatch, tmp_path, "count"), *[USER, ANSWER] * 3, USER)
    assert (found.turns, found.stages[0].records) == (4, 1)
    assert [path for path in tmp_path.iterdir() if path.name != "pipelines.toml"] == []  # noqa: ASYNC240


async def test_a_client_with_marks_sees_them_priced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    marked = {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}
    found = await told(configured(monkeypatch, tmp_path, "cut"), marked, ANSWER, marked)
    assert [cached.kind for cached in found.caches] == ["implicit", "marks"]
    assert found.caches[1].client.written > 0


async def test_the_route_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = configured(monkeypatch, tmp_path, "cut")
    same = await told(config, {"role": "user", "content": "x"}, model="glm-4.6")
    assert same.route is not None
    assert (same.untouched, same.route.translated, same.route.bytes) == (True, False, same.bytes)
    other = await told(config, {"role": "user", "content": "x"}, dialect="chat", frequency_penalty=1)
    assert other.route is not None
    assert (other.route.upstream, other.route.model, other.route.translated) == ("zai-messages", "glm-4.6", True)
    assert other.route.url == "https://api.z.ai/api/anthropic/v1/messages"
    assert other.route.dropped == ("frequency_penalty",)


async def test_a_request_that_does_not_leave_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = await told(configured(monkeypatch, tmp_path, "full"), USER)
    assert (found.route, found.ended) == (None, "stage 'full' refuses: too long")


async def test_the_clients_own_summary_is_recognised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = {"role": "user", "content": "Your task is to create a detailed summary of the conversation so far, again"}
    found = await told(configured(monkeypatch, tmp_path, "cut"), asked)
    assert (found.compaction, found.stages[0].changes) == (True, ())


async def test_a_body_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="'messages' is missing"):
        await explain(configured(monkeypatch, tmp_path, "cut"), Recorded(None, "chat", b'{"model":"m"}'))
