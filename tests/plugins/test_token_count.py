"""Counting, each message once."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from trimtab.api import FactTable, Services, TokenCount, Tokenizer, tokenizer
from trimtab.testing import StageBench
from trimtab_stages.token_count import FRAMING, IN_PLACE, OPENING, TokenCounter, TokenCountOptions

pytestmark = pytest.mark.anyio
CL = tokenizer("cl100k_base")


class Counting(Tokenizer):
    """Counts a text as one token a word, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__("words")
        self.asked: list[str] = []
        self.threads: set[bool] = set()

    def count(self, text: str) -> int:
        self.asked.append(text)
        self.threads.add(threading.current_thread() is threading.main_thread())
        return len(text.split())


class Case:
    """A bench whose counter counts words; `small` bounds the table of counts."""

    def __init__(self, small: int = 10_000, **options: Any) -> None:
        self.stage = TokenCounter(TokenCountOptions(**options))
        self.words = Counting()
        self.bench = StageBench(self.stage)
        self.bench.services = Services(
            models=self.bench.services.models,
            clock=self.bench.clock,
            counters=self.bench.services.counters,
            counts=FactTable(small),
            store=self.bench.services.store,
        )

    async def begin(self) -> "Case":
        await self.stage.start(self.bench.services)
        self.stage._tokenizer = self.words
        self.stage._cold = False
        return self

    async def count(self, body: Any, dialect: str = "chat", operation: Any = "generate") -> TokenCount:
        exchange = self.bench.exchange(body, dialect=dialect, operation=operation)
        assert await self.bench.request(exchange) is None
        assert exchange.conversation is exchange.received
        return exchange.need(TokenCount)


async def words(small: int = 10_000, **options: Any) -> Case:
    return await Case(small, **options).begin()


async def real(**options: Any) -> Case:
    case = Case(**options)
    await case.stage.start(case.bench.services)
    return case


def chat(*texts: Any, **members: Any) -> dict[str, Any]:
    return {"model": "small", "messages": [{"role": "user", "content": text} for text in texts], **members}


async def test_a_turn_costs_its_new_messages() -> None:
    case = await words()
    first = await case.count(chat("a b c", "d e"))
    assert (first.messages, first.overhead) == ((3 + FRAMING, 2 + FRAMING), OPENING)
    assert first.total == sum(first.messages) + first.overhead
    second = await case.count(chat("a b c", "d e", "f"))
    assert second.messages == (*first.messages, 1 + FRAMING)
    assert case.words.asked == ["a b c", "d e", "f"]


async def test_the_same_message_twice_is_counted_once() -> None:
    case = await words()
    count = await case.count(chat("go on", "x", "go on"))
    assert count.messages == (2 + FRAMING, 1 + FRAMING, 2 + FRAMING)
    assert case.words.asked == ["go on", "x"]


async def test_what_the_table_of_messages_forgot_the_table_of_counts_knows() -> None:
    case = await words()
    await case.count(chat("a b c"))
    case.bench._messages.max_bytes = 0
    await case.count(chat("x"))
    assert (await case.count(chat("a b c"))).messages == (3 + FRAMING,)
    assert case.words.asked == ["a b c", "x"]


async def test_a_table_of_counts_that_is_too_small_costs_time_and_no_token() -> None:
    case = await words(small=2)
    texts = [f"{number} b" for number in range(9)]
    expected = (2 + FRAMING,) * 9
    assert (await case.count(chat(*texts))).messages == expected
    assert (await case.count(chat(*texts))).messages == expected


async def test_system_and_tools_are_overhead_counted_once() -> None:
    case = await words()
    tools = [{"name": "read", "input_schema": {"type": "object"}}]
    asks = chat("hello", system="be very brief", tools=tools)
    count = await case.count(asks, "messages")
    assert (count.overhead, count.messages) == (OPENING + 3 + 1, (1 + FRAMING,))
    await case.count(asks, "messages")
    assert case.words.asked == ["be very brief", '{"name":"read","input_schema":{"type":"object"}}', "hello"]


async def test_all_that_a_model_reads_is_counted() -> None:
    use = {"type": "tool_use", "id": "t", "name": "read", "input": {"path": "a b"}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "two words"}]}
    said = {"type": "text", "text": "one"}
    thought = {"type": "thinking", "thinking": "hm hm hm", "signature": "long-signature"}
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "some plain text"}}
    odd = {"type": "odd", "says": "x y"}
    turns = [
        {"role": "user", "content": [said, document]},
        {"role": "assistant", "content": [thought, said, use]},
        {"role": "user", "content": [result, odd]},
    ]
    case = await words()
    await case.count({"model": "small", "messages": turns}, "messages")
    text = "|".join(case.words.asked)
    assert [part in text for part in ("two words", "hm hm hm", "read", '{"path":"a b"}', "some plain text", "x y")] == [
        True
    ] * 6
    assert "long-signature" not in text


PICTURE = "aGVsbG8=" * 20_000


@pytest.mark.parametrize(
    ("dialect", "image"),
    [
        ("chat", {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}),
        ("messages", {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}),
        (
            "messages",
            {
                "type": "tool_result",
                "tool_use_id": "t",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}
                ],
            },
        ),
    ],
)
async def test_a_picture_is_not_counted_by_its_letters(dialect: str, image: Any) -> None:
    case = await words(image_base=700)
    count = await case.count(chat([{"type": "text", "text": "look here"}, image]), dialect)
    assert count.messages == (2 + 700 + FRAMING,)
    assert case.words.asked == ["look here"]


async def test_a_file_is_not_counted_by_its_letters() -> None:
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PICTURE}}
    case = await words()
    assert (await case.count(chat([pdf]), "messages")).messages == (FRAMING,)


async def test_the_same_bytes_are_counted_anew_in_another_dialect() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}}
    case = await words(image_base=700)
    counts = [(await case.count(chat([image]), dialect)).messages[0] for dialect in ("chat", "messages", "chat")]
    assert counts[0] == counts[2] == 700 + FRAMING
    assert counts[1] < 100


@pytest.mark.parametrize("encoding", ["cl100k_base", "o200k_base"])
async def test_both_encodings(encoding: Any) -> None:
    text = "The rudder turns the ship. \u8239\u8235\u5f88\u5927\u3002 " * 50
    count = await (await real(encoding=encoding)).count(chat(text))
    assert count.messages == (tokenizer(encoding).count(text) + FRAMING,)
    assert count.encoding == encoding
    assert CL.count(text) != tokenizer("o200k_base").count(text)


async def test_two_encodings_share_the_table_and_no_count() -> None:
    text = "\u8239\u8235\u5f88\u5927\u3002" * 50
    both = [TokenCounter(TokenCountOptions(encoding=name), name) for name in ("cl100k_base", "o200k_base")]
    found = []
    async with StageBench(*both) as bench:
        for stage in both:
            exchange = bench.exchange(chat(text))
            await stage.request(exchange)
            found.append(exchange.need(TokenCount).messages[0] - FRAMING)
    assert found == [CL.count(text), tokenizer("o200k_base").count(text)]


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("abcd", 1), ("abcde", 2), ("\u8239" * 8, 2)])
async def test_not_exact_is_a_quarter_of_the_characters(text: str, tokens: int) -> None:
    case = await words(exact=False)
    assert (await case.count(chat(text))).messages == (tokens + FRAMING,)
    assert case.words.asked == []


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("operation", ["generate", "count"])
async def test_the_fact_says_whether_the_upstream_may_answer(forward: bool, operation: str) -> None:
    assert (await (await words(forward=forward)).count(chat("x"), operation=operation)).forward is forward


def threads(case: Case) -> set[bool]:
    """Whether the counting was done in the loop's own thread."""
    return case.words.threads


@pytest.mark.parametrize(("size", "here"), [(IN_PLACE, True), (IN_PLACE + 1, False)])
async def test_much_new_text_is_counted_in_a_thread(size: int, here: bool) -> None:
    case = await words()
    await case.count(chat("x" * (size // 2), "y" * (size - size // 2)))
    assert threads(case) == {here}


async def test_old_text_and_pictures_are_not_much_new_text() -> None:
    case = await words()
    await case.count(chat("x" * (IN_PLACE + 1)))
    case.words.threads.clear()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
    await case.count(chat("x" * (IN_PLACE + 1), [{"type": "text", "text": "look"}, image]))
    assert threads(case) == {True}


async def test_the_first_count_loads_the_table_of_tokens_in_a_thread() -> None:
    case = Case()
    await case.stage.start(case.bench.services)
    case.stage._tokenizer = case.words
    await case.count(chat("a"))
    await case.count(chat("b"))
    assert threads(case) == {True, False}


HARD: list[tuple[str, Callable[[], bytes]]] = [
    ("spaces", lambda: b" " * 1_000_000),
    ("line ends", lambda: rb"\n" * 100_000),
    ("one letter", lambda: b"a" * 1_000_000),
    ("lone surrogates", lambda: rb"cut \ud83d off \udca9" * 100),
    ("special tokens", lambda: b"<|endoftext|>" * 100),
]


@pytest.mark.parametrize(("name", "text"), HARD, ids=lambda value: value if isinstance(value, str) else "")
async def test_hard_texts_are_counted(name: str, text: Callable[[], bytes]) -> None:
    body = b'{"model":"small","messages":[{"role":"user","content":"%s"}]}' % text()
    count = await (await real()).count(body)
    assert 100 < count.total < 1_000_000


async def test_an_empty_conversation_has_only_its_opening() -> None:
    assert await (await words()).count(chat()) == TokenCount(total=OPENING, overhead=OPENING, forward=True)
