"""Counting, each message once; and what is learned from the upstream's usage."""

from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger

from fixtures import conversations, needs_recordings, turns
from trimtab.api import (
    BadRequest,
    DialectName,
    Exchange,
    FactTable,
    Model,
    ModelTable,
    Services,
    Target,
    TokenCount,
    Tokenizer,
    Usage,
    framing,
    tokenizer,
)
from trimtab.testing import StageBench, table
from trimtab_stages.token_count import TokenCounter, TokenCountOptions

pytestmark = pytest.mark.anyio
CL = tokenizer("cl100k_base")
FRAMING, OPENING = framing("chat").message, framing("chat").opening


class Counting(Tokenizer):
    """Counts a text as one token a word, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__("words")
        self.asked: list[str] = []

    def count(self, text: str, *, beside: bool = False) -> int:
        self.asked.append(text)
        return len(text.split())


class Case:
    """A bench whose counter counts words; `small` bounds the table of counts."""

    def __init__(self, small: int = 10_000, models: ModelTable | None = None, **options: Any) -> None:
        self.stage = TokenCounter(TokenCountOptions(**options))
        self.words = Counting()
        self.bench = StageBench(self.stage, models=models)
        self.bench.services = Services(
            rates=self.bench.services.rates,
            models=self.bench.services.models,
            clock=self.bench.clock,
            counters=self.bench.services.counters,
            counts=FactTable(small),
            store=self.bench.services.store,
            epochs=self.bench.services.epochs,
            economics=self.bench.services.economics,
        )

    async def begin(self, *, real: bool = False) -> "Case":
        await self.stage.start(self.bench.services)
        if not real and self.stage.options.exact:
            self.stage._worker.tokenizer = self.words
            self.stage._worker.cold = False
        return self

    async def exchange(self, body: Any, dialect: str = "chat", operation: Any = "generate") -> Exchange:
        exchange = self.bench.exchange(body, dialect=dialect, operation=operation)
        assert await self.bench.request(exchange) is None
        assert exchange.conversation is exchange.received
        return exchange

    async def count(self, body: Any, dialect: str = "chat", operation: Any = "generate") -> TokenCount:
        return (await self.exchange(body, dialect, operation)).need(TokenCount)


async def words(small: int = 10_000, models: ModelTable | None = None, **options: Any) -> Case:
    return await Case(small, models, **options).begin()


async def real(**options: Any) -> Case:
    return await Case(**options).begin(real=True)


def chat(*texts: Any, **members: Any) -> dict[str, Any]:
    return {"model": "small", "messages": [{"role": "user", "content": text} for text in texts], **members}


def test_the_settings_name_these_defaults() -> None:
    options = TokenCountOptions()
    assert (options.exact, options.encoding, options.forward, options.image_base) == (True, "cl100k_base", True, 85)
    assert (options.image_size, options.description_factor, options.log, options.validate) == (True, 0.25, False, True)
    assert (options.warn_accuracy, options.error_accuracy) == (90, 80)
    assert (options.tolerance_percent, options.tolerance_tokens) == (10.0, 25)


@pytest.mark.parametrize(
    "wrong", [{"warn_accuracy": 70}, {"error_accuracy": -1}, {"warn_accuracy": 101}, {"image_base": -1}]
)
def test_options_that_make_no_sense_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"must be|are percent"):
        TokenCountOptions(**wrong)


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
    tools = [{"name": "read", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}]
    asks = chat("hello", system="be very brief", tools=tools)
    count = await case.count(asks, "messages")
    spoken = '{"name": "read", "input_schema": {"type": "object"}}'
    frame = framing("messages")
    around = frame.offer + frame.tool + len(spoken.split())
    assert (count.overhead, count.messages) == (OPENING + 3 + around, (1 + frame.message,))
    await case.count(asks, "messages")
    assert case.words.asked == [spoken, "be very brief", "hello"]


async def test_a_member_that_only_the_other_dialect_knows_is_not_counted() -> None:
    assert (await (await words()).count(chat("hello", system="be very brief"))).overhead == OPENING


async def test_what_a_stage_put_into_the_head_is_counted() -> None:
    case = await words()
    exchange = case.bench.exchange(chat("hello", system="long and winding text"), dialect="messages")
    exchange.set_member("system", "short", "a test")
    await case.bench.request(exchange)
    assert exchange.need(TokenCount).overhead == OPENING + 1


PICTURE = "aGVsbG8=" * 20_000


def shown(dialect: str, url: str = f"data:image/png;base64,{PICTURE}") -> dict[str, Any]:
    if dialect == "chat":
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}


@pytest.mark.parametrize("dialect", ["chat", "messages"])
@pytest.mark.parametrize("inside", [False, True])
async def test_a_picture_is_not_counted_by_its_letters(dialect: DialectName, inside: bool) -> None:
    image = shown(dialect)
    if inside and dialect == "messages":
        image = {"type": "tool_result", "tool_use_id": "t", "content": [image]}
    case = await words(image_base=700)
    count = await case.count(chat([{"type": "text", "text": "look here"}, image]), dialect)
    frame = framing(dialect)
    around = frame.message + (frame.call if "tool_use_id" in image else 0)
    assert count.messages == (2 + 700 + around,)
    assert case.words.asked == ["look here"]


PNG = "iVBORw0KGgoAAAANSUhEUgAAB4AAAAQ4CAYAAADo08FDAAAA"
"""The first bytes of a picture of 1920 by 1080."""


def eyed(**row: Any) -> ModelTable:
    """The bench's models, the one that sees with another row."""
    held = table()
    return ModelTable(held.upstreams, {**held.models, "eyes": replace_model(held.model("eyes"), **row)})


def replace_model(model: Model, **changes: Any) -> Model:
    return Model(**{name: getattr(model, name) for name in Model.__struct_fields__} | changes)


@pytest.mark.parametrize(
    ("url", "rule", "size", "tokens"),
    [
        (f"data:image/png;base64,{PNG}", "glm", True, 2691 + 2),
        (f"data:image/png;base64,{PNG}", None, True, 1105),
        (f"data:image/png;base64,{PNG}", "glm", False, 85),
        ("https://a.test/b.png", "glm", True, 6144 + 2),
        ("https://a.test/b.png", None, True, 85),
        ("https://a.test/b.png", "glm", False, 85),
        ("data:image/png;base64,AAAA", "anthropic", True, 1568),
    ],
)
async def test_an_image_is_counted_as_its_model_does(url: str, rule: Any, size: bool, tokens: int) -> None:
    case = await words(models=eyed(image_tokens=rule), image_size=size)
    assert (await case.count(chat([shown("chat", url)]))).messages == (tokens + FRAMING,)


async def test_the_same_image_is_another_number_for_another_model() -> None:
    held = eyed(image_tokens="glm")
    more = ModelTable(held.upstreams, {**held.models, "gpt": replace_model(held.model("eyes"), image_tokens=None)})
    case = await words(models=more)
    body = chat([{"type": "text", "text": "look"}, shown("chat", f"data:image/png;base64,{PNG}")])
    counts = [(await case.count({**body, "model": name})).messages[0] for name in ("eyes", "gpt", "eyes")]
    assert counts == [FRAMING + 1 + 2693, FRAMING + 1 + 1105, FRAMING + 1 + 2693]
    assert case.words.asked == ["look"]


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


async def test_a_message_that_cannot_be_read_costs_the_count_and_no_more() -> None:
    case = await words()
    exchange = await case.exchange(chat({"not": "a content"}))
    assert exchange.get(TokenCount) is None
    assert exchange.notes[0].startswith("stage 'token-count' undone: content is neither")


async def test_an_empty_conversation_has_only_its_opening() -> None:
    assert await (await words()).count(chat()) == TokenCount(total=OPENING, overhead=OPENING, forward=True)


@needs_recordings
async def test_a_recorded_session_is_counted_once() -> None:
    case = await words()
    file = next(path for path in conversations() if "openhands" in path.name)
    for _path, body in turns(file, "small"):
        await case.count(body)
    asked = len(case.words.asked)
    assert asked < 2 * sum(len(message.blocks) + 1 for message in case.bench.exchange(body).conversation.messages)
    case.bench._messages.max_bytes = 0
    assert await case.count(body) == await (await words()).count(body)
    assert len(case.words.asked) == asked


# What the upstream says


@pytest.fixture
def said() -> Iterator[list[tuple[str, str]]]:
    records: list[tuple[str, str]] = []

    def keep(message: Any) -> None:
        records.append((message.record["level"].name, message.record["message"]))

    sink = logger.add(keep, level="TRACE")
    yield records
    logger.remove(sink)


WORDS = "word " * 1000
COUNT = 1000 + FRAMING + OPENING


async def replied(case: Case, prompt: int, **outcome: Any) -> Exchange:
    """A request to which the upstream reports so many tokens."""
    exchange = await case.exchange(chat(WORDS))
    return await ended(case, exchange, prompt, **outcome)


async def ended(case: Case, exchange: Exchange, prompt: int, **outcome: Any) -> Exchange:
    exchange.outcome.usage = Usage(input=prompt)
    for name, value in outcome.items():
        setattr(exchange.outcome, name, value)
    case.bench.done(exchange)
    await case.bench.run_later(exchange)
    return exchange


@pytest.mark.parametrize(
    ("prompt", "verdict", "level"),
    [(COUNT, "ok", None), (1150, "warning", "WARNING"), (1500, "error", "ERROR"), (800, "error", "ERROR")],
)
async def test_a_count_is_compared_with_what_the_upstream_reports(
    said: list[tuple[str, str]], prompt: int, verdict: str, level: str | None
) -> None:
    case = await words()
    await replied(case, prompt)
    assert case.bench.services.counters.snapshot() == {f"token_count.{verdict}": 1}
    assert [found for found, _ in said] == ([level] if level else [])


async def test_a_verdict_names_both_numbers(said: list[tuple[str, str]]) -> None:
    await replied(await words(log=True), 1000)
    counted = f"{1000 + FRAMING} tokens in 1 messages, of them 1 new, and {OPENING} around them"
    assert [message for _, message in said] == [
        f"req_test: {counted}; calibrated {COUNT}",
        f"req_test: counted {COUNT} tokens for text/small, the upstream 1000: 99.0 % right, +10 tokens",
    ]


async def test_a_count_may_go_unchecked(said: list[tuple[str, str]]) -> None:
    case = await words(validate=False)
    await replied(case, 1200)
    assert (case.bench.services.counters.snapshot(), said) == ({}, [])
    assert (await case.count(chat(WORDS))).ratio > 1.1


async def test_the_next_count_says_what_the_upstream_is_likely_to_report() -> None:
    case = await words()
    first = await case.count(chat(WORDS))
    await replied(case, round(COUNT * 1.2))
    after = await case.count(chat(WORDS))
    assert (first.ratio, first.calibrated) == (1.0, first.total)
    assert after.calibrated == round(COUNT * 1.2)
    assert (after.total, after.messages) == (first.total, first.messages)
    assert (await case.count({**chat(WORDS), "model": "eyes"})).ratio == 1.0


async def test_another_run_of_the_proxy_knows_it_after_its_first_reply() -> None:
    case = await words()
    for _ in range(20):
        await replied(case, round(COUNT * 1.2))
    again = Case()
    again.bench.services = case.bench.services
    await again.begin()
    assert (await again.count(chat(WORDS))).ratio == 1.0
    await replied(again, COUNT)
    assert (await again.count(chat(WORDS))).ratio == pytest.approx(1.18, abs=0.005)


@pytest.mark.parametrize(
    "outcome",
    [
        {"usage": None},
        {"usage": Usage(output=5)},
        {"usage": Usage(input=9000, estimated=True)},
        {"error": BadRequest("")},
    ],
)
async def test_a_reply_without_a_word_of_the_upstream_teaches_nothing(outcome: Any) -> None:
    case = await words()
    await replied(case, 1300, **outcome)
    assert case.bench.services.counters.snapshot() == {}
    assert (await case.count(chat(WORDS))).ratio == 1.0


async def test_a_reply_of_nobody_knows_whom_teaches_nothing() -> None:
    case = await words()
    exchange = await case.exchange(chat(WORDS))

    def nowhere(_exchange: Exchange) -> Target:
        raise BadRequest("no upstream")

    exchange._resolve, exchange._target = nowhere, None
    await ended(case, exchange, 1300)
    assert case.bench.services.counters.snapshot() == {}


async def test_a_request_to_count_teaches_nothing() -> None:
    case = await words()
    await ended(case, await case.exchange(chat(WORDS), operation="count"), 1300)
    assert case.bench.services.counters.snapshot() == {}


async def test_a_later_edit_that_nobody_counted_teaches_nothing() -> None:
    case = await words()
    exchange = await case.exchange(chat(WORDS, "x"))
    exchange.edit(1, None, "a test")
    await ended(case, exchange, 1300)
    assert case.bench.services.counters.snapshot() == {}


async def test_a_later_count_of_an_edit_is_compared() -> None:
    case = await words()
    exchange = await case.exchange(chat(WORDS, "x"))
    exchange.edit(1, None, "a test")
    exchange.put(TokenCount(total=COUNT))
    await ended(case, exchange, COUNT)
    assert case.bench.services.counters.snapshot() == {"token_count.ok": 1}


@pytest.mark.parametrize(
    ("url", "rule", "size", "learns"),
    [
        (f"data:image/png;base64,{PNG}", "glm", True, True),
        (f"data:image/png;base64,{PNG}", "glm", False, False),
        (f"data:image/png;base64,{PNG}", None, True, False),
        ("https://a.test/b.png", "glm", True, False),
    ],
)
async def test_only_an_image_whose_rule_is_known_teaches(url: str, rule: Any, size: bool, learns: bool) -> None:
    case = await words(models=eyed(image_tokens=rule), image_size=size)
    exchange = await case.exchange(chat(WORDS, [shown("chat", url)]))
    await ended(case, exchange, 2 * exchange.need(TokenCount).total)
    assert case.bench.services.counters.snapshot() == {"token_count.error": 1}
    assert (case.stage._calibration.ratio(case.stage._key(exchange.target, "chat")) > 1.0) is learns


HARD: list[tuple[str, bytes]] = [
    ("spaces", b" " * 1_000_000),
    ("line ends", rb"\n" * 100_000),
    ("one letter", b"a" * 1_000_000),
    ("base64", b"aGVsbG8gd29ybGQ" * 66_666),
    ("lone surrogates", rb"cut \ud83d off \udca9" * 100),
    ("special tokens", b"<|endoftext|>" * 100),
]


@pytest.mark.parametrize(("name", "text"), HARD, ids=[name for name, _ in HARD])
async def test_hard_texts_are_counted(name: str, text: bytes) -> None:
    body = b'{"model":"small","messages":[{"role":"user","content":"%s"}]}' % text
    count = await (await real()).count(body)
    assert 100 < count.total < 1_000_000


async def test_the_count_of_a_conversation_is_that_of_what_is_sent() -> None:
    case = await words()
    exchange = case.bench.exchange(chat("a b c", "d e f g"))
    exchange.edit(0, exchange.conversation.messages[0].with_blocks([]), "a test")
    await case.bench.request(exchange)
    assert exchange.need(TokenCount).messages == (FRAMING, 4 + FRAMING)
    assert case.bench.sent(exchange)["messages"][0]["content"] == ""
