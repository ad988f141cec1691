"""The laws of design.md for env-dedup, on sessions that hypothesis makes and on the recorded ones."""

import json
import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from fixtures import conversations, needs_recordings, turns
from laws.env_sessions import Session, sessions
from trimtab.api import Exchange, Message, Text, ToolResult, tokenizer
from trimtab.testing import StageBench
from trimtab_stages.env_blocks import ENVIRONMENT
from trimtab_stages.env_dedup import EnvDeduplication, EnvDedupOptions
from trimtab_stages.env_places import Place, find
from trimtab_stages.env_policy import distinct

pytestmark = pytest.mark.anyio


CHOICES: dict[str, dict[str, Any]] = {
    "keep_latest": {},
    "whole-block": {"whole_block": True},
    "delta": {"strategy": "delta"},
    "selective_removal": {"strategy": "selective_removal"},
    "merge": {"strategy": "merge"},
    "keep_most_relevant": {"strategy": "keep_most_relevant"},
    "max-age": {"max_age": 1},
}
ALL = int(os.environ.get("TRIMTAB_LAWS", "0"))
EACH = max(20, ALL // len(CHOICES))
"""Conversations made for each strategy and dialect: TRIMTAB_LAWS=10000 makes as many of each dialect, all together."""
EPOCHS = ("merge", "max-age")
"""Those that change older turns, at epochs."""
OFTEN = 2
"""Answers from one epoch to the next in made sessions, which are short."""


def stage(choice: str = "keep_latest") -> StageBench:
    """The stage alone, with nothing in memory."""
    return StageBench(EnvDeduplication(EnvDedupOptions(**CHOICES[choice])))


async def edited(bench: StageBench, body: bytes, dialect: str) -> Exchange:
    """The exchange of a body behind the stage, which broke no invariant."""
    exchange = bench.exchange(body, dialect=dialect)
    await bench.request(exchange)
    assert exchange.notes == []
    return exchange


def said(message: Message) -> tuple[Any, ...]:
    """Role and blocks, without cache marks; a list of one text is the text."""
    found = message.notes.get("said")
    if found is None:
        found = message.notes["said"] = (message.role, *map(_said, message.blocks))
    return tuple(found)


def _said(block: Any) -> Any:
    if isinstance(block, Text):
        return block.text
    if isinstance(block, ToolResult):
        return block.id, *map(_said, block.content)
    members = json.loads(block.raw)
    members.pop("cache_control", None)
    return json.dumps(members)


def holds_prefix(before: Exchange, after: Exchange, choice: str) -> bool:
    """The prefix law, for two requests of which the second extends the first; strict where nothing but adds.

    Not where the first one's last turn goes on: a tool's output ends in a block only where the turn ends with it.
    """
    received = before.received.messages
    end = max((i + 1 for i, message in enumerate(received) if message.role == "assistant"), default=0)
    if choice == "delta":
        end = len(received)
    one, other = before.conversation.messages[:end], after.conversation.messages[:end]
    return [*map(said, one)] == [*map(said, other)]


def check_kept(exchange: Exchange, choice: str = "keep_latest") -> None:
    """Nothing is lost: no event, nothing sent once, no word of the user, of no state the newest value.

    A list of files that is sent again and again is kept whenever it changed. `merge` keeps events in another place;
    `whole-block` keeps of blocks the newest only, which its documentation says.
    """
    old, new = exchange.received.messages, exchange.conversation.messages
    whole = "\n".join(_text(said(message)) for message in new)
    for index, place in places(old):
        text = _text(said(new[index]))
        assert [word for word in _outside(said(old[index]), place) if word not in text] == []
        if choice != "whole-block":
            where = whole if choice == "merge" else text
            kept = [section for section in distinct(place.sections) if section.rule == "kept" and section.value]
            assert [section.value for section in kept if section.value not in where] == []
            assert [
                section.value for section in place.sections if section.rule != "state" and section.value not in whole
            ] == []
    if choice != "whole-block":
        assert newest(old) == newest(new)
    touched = {index for index, _ in places(old)}
    assert all(one is other for i, (one, other) in enumerate(zip(old, new, strict=True)) if i not in touched)


def _text(parts: tuple[Any, ...]) -> str:
    return "\n".join(part if isinstance(part, str) else _text(part) for part in parts)


def _outside(parts: tuple[Any, ...], place: Place) -> Iterator[str]:
    """What a message says outside its block."""
    block = place.found.head + "".join(section.text for section in place.sections) + place.found.foot
    for part in parts:
        if not isinstance(part, str):
            yield from _outside(part, place)
        elif part.rstrip().endswith(block):
            yield part[: place.found.start].strip()
        else:
            yield part


def newest(messages: Sequence[Message]) -> dict[str, str]:
    """What the last copy of each state says."""
    return {s.key: s.value for _, place in places(messages) for s in place.sections if s.key}


def places(messages: Sequence[Message]) -> Iterator[tuple[int, Place]]:
    """The blocks of a conversation; a tool's output holds one only where it ends a turn."""
    for index, message in enumerate(messages):
        place = find(message, [ENVIRONMENT])
        ends = index + 1 == len(messages) or messages[index + 1].role == "assistant"
        if place is not None and (place.inner is None or ends):
            yield index, place


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs in short sessions."""
    monkeypatch.setattr("trimtab_stages.env_dedup.STEP", OFTEN)
    monkeypatch.setattr("trimtab_stages.env_dedup.PER_MINUTE", 1)


MADE = settings(
    phases=[Phase.explicit, Phase.generate],
    max_examples=EACH,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


_STANDING: dict[tuple[str, int], StageBench] = {}


async def standing(choice: str, number: int) -> StageBench:
    """A bench for all made sessions: what is remembered of other sessions may play no part, and it starts once."""
    bench = _STANDING.get((choice, number))
    if bench is None:
        bench = _STANDING[choice, number] = await stage(choice).__aenter__()
    return bench


async def check_laws(choice: str, session: Session) -> None:
    """The prefix law, what is kept, and that a second pass changes nothing, request by request."""
    bench, other = await standing(choice, 1), await standing(choice, 2)
    before: Exchange | None = None
    requests = breaks = 0
    for body in session.requests():
        exchange = await edited(bench, body, session.dialect)
        sent = exchange.conversation.render()
        check_kept(exchange, choice)
        breaks += before is not None and not holds_prefix(before, exchange, choice)
        again = await edited(other, sent, session.dialect)
        assert again.conversation.render() == sent, "a second pass changes nothing"
        before, requests = exchange, requests + 1
    assert breaks <= (requests // OFTEN if choice in EPOCHS else 0)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("choice", CHOICES)
@MADE
@given(session=sessions("messages"))
async def test_made_sessions_obey_the_laws(choice: str, session: Session) -> None:
    await check_laws(choice, session)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("choice", CHOICES)
@MADE
@given(session=sessions("chat"))
async def test_made_chat_sessions_obey_the_laws(choice: str, session: Session) -> None:
    await check_laws(choice, session)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("choice", CHOICES)
@MADE
@given(session=sessions("responses"))
async def test_made_responses_sessions_obey_the_laws(choice: str, session: Session) -> None:
    await check_laws(choice, session)


FOUND = {
    "a state in a terminal's output moves behind a newer one": [
        "# Current Workspace Directory (/w) Files\nold.py\n\n# Recently Modified Files\na.py",
        "# Actively Running Terminals\nok\n\n# Current Workspace Directory (/w) Files\nmine.py",
        "# Current Workspace Directory (/w) Files\nnew.py",
        "# Recently Modified Files\nb.py",
        "# Current Time\n1",
        "# Current Time\n2",
    ],
    "a text that stands twice takes the place of the first copy": [
        "# Actively Running Terminals\nok\n\n# Git Status\nM a.py",
        "# Actively Running Terminals\n\n# Git Status\nmine\n\n# Current Time\n1\n\n# Git Status\nM a.py",
        "# Current Time\n2",
        "# Current Time\n3",
    ],
    "events that leave make the going of a state pay": [
        "# Git Status\nM a.py\n\n# Current Cost\n$2.00\n\n# Something New\n" + "one\n" * 60,
        "# Git Status\nM a.py\n\n# Current Cost\n$1.00\n\n# Something New\n" + "one\n" * 60,
        "# Something New\ntwo",
        "# Something New\ntwo",
    ],
}
"""Blocks of sessions that broke a law once."""


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("found", FOUND)
async def test_sessions_that_broke_a_law_once_obey_it(choice: str, found: str) -> None:
    said = [f"<environment_details>\n{text}\n</environment_details>" for text in FOUND[found]]
    pairs = [({"role": "user", "content": text}, {"role": "assistant", "content": "ok"}) for text in said]
    await check_laws(choice, Session("messages", [message for pair in pairs for message in pair], False, False))


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("choice", CHOICES)
async def test_a_block_that_may_not_change_is_no_reason_to_forget_what_came_between(choice: str) -> None:
    """Marks cannot stand before the first block; what a later one says again came anew behind another value."""
    one, other = (f"# VSCode Open Tabs\n{value * 40}" for value in ("a.py", "b.py"))
    texts = [one, other, "# Something New\n1", one, *["# Something New\n2"] * 3]
    said: list[dict[str, Any]] = []
    for number, value in enumerate(texts):
        block = {"type": "text", "text": f"<environment_details>\n{value}\n</environment_details>"}
        words = [{"type": "text", "text": "do it"}] if number else []
        said += [{"role": "user", "content": [*words, block]}, {"role": "assistant", "content": "ok"}]
    await check_laws(choice, Session("messages", said, True, False))


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("choice", CHOICES)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(session=sessions())
async def test_what_was_seen_before_does_not_matter(choice: str, session: Session) -> None:
    async with stage(choice) as bench:
        for body in reversed([*session.requests()]):
            sent = (await edited(bench, body, session.dialect)).conversation.render()
            async with stage(choice) as fresh:
                assert (await edited(fresh, body, session.dialect)).conversation.render() == sent


@needs_recordings
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("file", conversations() or [None], ids=lambda file: file and file.name)
async def test_recorded_sessions_obey_the_laws(file: Path, choice: str) -> None:
    if choice != "keep_latest" and not holds_blocks(file):
        # Without blocks no strategy has anything to do, which `keep_latest` shows.
        return
    async with stage(choice) as bench, stage(choice) as other:
        before: Exchange | None = None
        bodies = [*turns(file, "small")]
        breaks = 0
        for number, (path, body) in enumerate(bodies):
            dialect = "messages" if path.endswith("messages") else "chat"
            exchange = await edited(bench, body, dialect)
            sent = exchange.conversation.render()
            if ENVIRONMENT.open.encode() not in body:
                assert sent == body
                continue
            assert len(sent) <= len(body)
            breaks += before is not None and not holds_prefix(before, exchange, choice)
            if number % 10 == 9 or number == len(bodies) - 1:
                check_kept(exchange, choice)
                assert (await edited(other, sent, dialect)).conversation.render() == sent
                assert tokens(exchange.conversation.messages) < tokens(exchange.received.messages)
            before = exchange
        assert breaks <= (len(bodies) // 10 if choice in EPOCHS else 0)


@cache
def holds_blocks(file: Path) -> bool:
    """Whether a recorded session holds blocks."""
    return any(ENVIRONMENT.open.encode() in body for _, body in turns(file, "small"))


def tokens(messages: Sequence[Message]) -> int:
    """Tokens of all texts."""
    return sum(tokenizer().count(_text(said(message))) for message in messages)
