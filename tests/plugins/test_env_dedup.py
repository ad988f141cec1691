"""The stage as a whole: what of a request goes, what stays, and what it tells."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from loguru import logger

from trimtab.api import Exchange, TokenCount
from trimtab.testing import StageBench
from trimtab_stages.env_dedup import EnvDedup, EnvDeduplication, EnvDedupOptions
from trimtab_stages.env_places import SUPERSEDED

pytestmark = pytest.mark.anyio

MARK = {"cache_control": {"type": "ephemeral"}}


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """What is logged."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), format="{level} {message}")
    yield lines
    logger.remove(sink)


def bench(**options: Any) -> StageBench:
    """The stage alone."""
    return StageBench(EnvDeduplication(EnvDedupOptions(**options)))


def block(time: int, *more: str) -> str:
    """A block in the form of Roo; `more` are further sections."""
    sections = "\n\n".join([f"# Current Time\n{time}", *more])
    return f"<environment_details>\n{sections}\n</environment_details>"


def text(value: str, **more: Any) -> dict[str, Any]:
    """A part of text."""
    return {"type": "text", "text": value, **more}


def talk(*turns: Any, last: str = "") -> list[dict[str, Any]]:
    """The messages of some turns of a user, with answers between."""
    messages: list[dict[str, Any]] = []
    for content in turns:
        messages += [{"role": "user", "content": content}, {"role": "assistant", "content": last or "I see"}]
    return messages[:-1]


async def sent(stage: StageBench, messages: list[dict[str, Any]], dialect: str = "chat") -> tuple[Exchange, list[Any]]:
    """The exchange, and what of the messages leaves."""
    body = {"model": "small", "max_tokens": 9, "messages": messages}
    exchange = stage.exchange(json.dumps(body).encode(), dialect=dialect)
    await stage.request(exchange)
    assert exchange.notes == []
    out = stage.sent(exchange)["messages"]
    return exchange, [message["content"] for message in out if message["role"] != "assistant"]


TABS, TREE = "# VSCode Open Tabs\na.py", "# Current Workspace Directory (/w) Files\na.py"
EDITED = "# Recently Modified Files\na.py"


async def test_a_session() -> None:
    turns = [[text(f"do {n}"), text(block(n, TABS, *more))] for n, more in enumerate([[TREE], [EDITED], [EDITED]])]
    async with bench() as stage:
        exchange, left = await sent(stage, talk(*turns))
    wrap = "<environment_details>\n{}\n</environment_details>"
    assert left == [
        [text("do 0"), text(wrap.format(f"{TABS}\n\n{TREE}"))],
        [text("do 1"), text(wrap.format(EDITED))],
        [text("do 2"), text(wrap.format(f"# Current Time\n2\n\n{EDITED}"))],
    ]
    fact = exchange.need(EnvDedup)
    assert (fact.blocks, fact.sections) == (3, 4)
    assert fact.bytes == len(exchange.received.render()) - len(exchange.conversation.render())
    assert stage.services.counters.snapshot() == {
        "env_dedup.blocks": 3,
        "env_dedup.bytes": fact.bytes,
        "env_dedup.sections": 4,
    }
    assert [edit.reason for edit in exchange.edits] == [
        "1 section said elsewhere",
        "2 sections said elsewhere",
        "1 section said elsewhere",
    ]


async def test_one_block_alone_is_untouched() -> None:
    body = json.dumps({"model": "small", "messages": talk([text("a"), text(block(1, TABS))])}).encode()
    async with bench() as stage:
        exchange = stage.exchange(body)
        await stage.request(exchange)
        assert exchange.conversation.render() == body
        assert exchange.edits == []
        assert exchange.get(EnvDedup) is None


@pytest.mark.parametrize(
    "messages",
    [
        talk("hi", "there"),
        talk(f"look:\n{block(1)}\nthere", f"and:\n{block(2)}\nthere"),
        talk("hi", "there", "again", last=block(1)),
        talk(f"```\n\n{block(1)}\n```", f"```\n\n{block(2)}"),
        [{"role": "system", "content": block(1)}, *talk("hi")],
    ],
)
async def test_what_is_no_block_leaves_as_it_came(messages: list[dict[str, Any]]) -> None:
    body = json.dumps({"model": "small", "messages": messages}, indent=1).encode()
    async with bench() as stage:
        exchange = stage.exchange(body)
        await stage.request(exchange)
        assert exchange.conversation.render() == body


async def test_blocks_behind_the_output_of_tools() -> None:
    def called(n: int, output: str) -> list[dict[str, Any]]:
        call = {"id": f"c{n}", "type": "function", "function": {"name": "read", "arguments": "{}"}}
        return [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"c{n}", "content": output},
        ]

    start = [{"role": "user", "content": [text("do it"), text(block(0, TABS))]}]
    outputs = [f"read\n\n{block(n, TABS)}" for n in (1, 2)]
    async with bench() as stage:
        _, left = await sent(stage, [*start, *called(1, outputs[0]), *called(2, outputs[1])])
        assert left[1:] == ["read\n\n", outputs[1].replace(TABS + "\n", "")]
        more = {"role": "user", "content": "stop"}
        _, left = await sent(stage, [*start, *called(1, outputs[0]), *called(2, outputs[1]), more])
        assert left[2:] == [outputs[1], "stop"], "a user's message follows: this is output and no more"


async def test_a_message_of_nothing_else_says_so() -> None:
    async with bench() as stage:
        _, left = await sent(stage, talk(*(block(n) for n in range(3))))
        assert left == [SUPERSEDED, SUPERSEDED, block(2)]


async def test_marks_stand_before_the_blocks() -> None:
    turns = [[text(f"do {n}"), text(block(n, TABS))] for n in range(3)]
    messages = talk(*turns)
    for index in (-3, -1):
        messages[index]["content"][1] |= MARK
    async with bench() as stage:
        exchange, left = await sent(stage, messages, "messages")
        assert left == [
            [text("do 0"), text(f"<environment_details>\n{TABS}\n</environment_details>")],
            [text("do 1", **MARK)],
            [text("do 2", **MARK), text("<environment_details>\n# Current Time\n2\n\n</environment_details>")],
        ]
        first, left = await sent(stage, [{"role": "user", "content": [text("a"), text(block(1), **MARK)]}], "messages")
        assert left == [[text("a", **MARK), text(block(1))]]
        assert [edit.reason for edit in first.edits] == ["cache mark before the block"]
        assert first.get(EnvDedup) is None
    assert exchange.conversation.render().count(b"cache_control") == 2


async def test_without_a_block_to_take_the_mark_a_message_stays() -> None:
    turns = [[text(f"do {n}"), text(block(n, TABS))] if n != 1 else [text(block(1, TABS))] for n in range(3)]
    messages = talk(*turns)
    messages[-1]["content"][1] |= MARK
    async with bench() as stage:
        _, left = await sent(stage, messages, "messages")
        assert left[1] == turns[1]
        assert left[0] == [text("do 0"), text(f"<environment_details>\n{TABS}\n</environment_details>")]


async def test_a_mark_on_a_message_itself_keeps_all_as_it_is() -> None:
    messages = talk(*([text("a"), text(block(n))] for n in range(3)))
    messages[-1] |= MARK
    async with bench() as stage:
        exchange, _ = await sent(stage, messages)
        assert exchange.edits == []


async def test_tags_of_the_user() -> None:
    turns = [f"do {n}\n\n<ctx>\nbranch {n // 2}\n</ctx>" for n in range(3)]
    async with bench(patterns=("<ctx>.*?</ctx>",)) as stage:
        _, left = await sent(stage, talk(*turns))
        assert left == [turns[0], "do 1\n\n", turns[2]]
    async with bench() as stage:
        assert (await sent(stage, talk(*turns)))[1] == turns


async def test_a_short_block_is_not_replaced_by_a_longer_text() -> None:
    async with bench(patterns=("<c>|</c>",)) as stage:
        _, left = await sent(stage, talk("<c>1</c>", "<c>2</c>"))
        assert left == ["<c>1</c>", "<c>2</c>"]


async def test_a_compaction_request_is_not_touched() -> None:
    summary = "Your task is to create a detailed summary of the conversation so far"
    async with bench() as stage:
        exchange, _ = await sent(stage, talk([text("a"), text(block(1))], [text(summary), text(block(2))]))
        exchange = stage.exchange(exchange.received.render())
        exchange.compaction = True
        await stage.request(exchange)
        assert exchange.edits == []


async def test_a_message_is_edited_once() -> None:
    messages = talk(*([text("a"), text(block(n, TABS))] for n in range(4)))
    async with bench() as stage:
        one, _ = await sent(stage, messages[:5])
        other, _ = await sent(stage, messages)
        assert one.conversation.messages[2] is other.conversation.messages[2]
        assert one.conversation.messages[4] is not other.conversation.messages[4]


async def test_what_is_counted_and_told(heard: list[str]) -> None:
    messages = talk(*([text("a"), text(block(n))] for n in range(2)))
    async with bench(log=True, stats=False) as stage:
        await sent(stage, messages)
        assert stage.services.counters.snapshot() == {}
    assert [line.strip() for line in heard] == ["INFO req_test: env-dedup took 1 sections out of 1 blocks, 94 bytes"]


async def test_a_choice_against_the_default_is_noted_at_start(heard: list[str]) -> None:
    async with bench(max_age=30):
        pass
    assert "max-age 30 is taken as 60 answers of the session" in heard[0]
    async with bench():
        assert len(heard) == 1


async def test_tokens_are_counted_behind_the_stage_that_counts() -> None:
    messages = talk(*([text("a"), text(block(n))] for n in range(2)))
    async with bench() as stage:
        exchange, _ = await sent(stage, messages)
        stage.done(exchange)
        assert "env_dedup.tokens" not in stage.services.counters.snapshot()
        left = sum(len(message.raw) for message in exchange.conversation.messages)
        exchange.put(TokenCount(total=left, messages=(left // 2, 0, left // 2)))
        stage.done(exchange)
        found = stage.services.counters.snapshot()
        assert found["env_dedup.tokens"] == pytest.approx(found["env_dedup.bytes"], abs=2)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"strategy": "keep_lates"}, "strategy 'keep_lates' does not exist: there is keep_latest, delta"),
        ({"strategy": "delta", "whole-block": True}, "whole-block belongs to strategy 'keep_latest'"),
        ({"strategy": "delta", "max-age": 5}, "max-age edits older text, which strategy 'delta' never does"),
        ({"similarity": 0}, "similarity must be more than 0"),
        ({"max-age": -1}, "max-age must be 0"),
        ({"patterns": ["<ctx>.+</ctx>"]}, r"write `<open>\.\*\?</open>`"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=told):
        msgspec.convert(options, EnvDedupOptions)


async def test_items_of_one_answer_in_a_row_are_one_turn() -> None:
    """In Responses a thought and each call are items of their own."""
    said = [{"role": "assistant", "content": "I see"}]
    several = [{"type": "reasoning", "id": "r", "summary": []}, {"type": "mcp_call", "id": "m"}, *said]
    left = []
    for answer in (said, several):
        items: list[Any] = []
        for time in range(3):
            items += [{"role": "user", "content": f"step {time}\n\n{block(time)}"}, *answer]
        async with bench() as stage:
            exchange = stage.exchange({"model": "small", "input": items[: -len(answer)]}, dialect="responses")
            await stage.request(exchange)
            left.append([item["content"] for item in stage.sent(exchange)["input"] if item.get("role") == "user"])
    assert left[0] == left[1]
    assert [content.count("# Current Time") for content in left[0]] == [0, 0, 1]
