"""When a conversation is condensed, by which rung, and what the client is told."""

import re
from typing import Any

import pytest

from condensing import CONSTRAINT, NOTES, bench, parted, requests, run, session
from talks import body, result, said, user
from talks import text as text_part
from trimtab.api import Cause, Condensed, Exchange, Overflowed, Refused, Risk, RiskLevel, TokenCount, UpstreamTimeout
from trimtab.testing import StageBench
from trimtab_stages.condense import Condense
from trimtab_stages.condense_options import CondenseOptions

pytestmark = pytest.mark.anyio
DIALECTS = pytest.mark.parametrize("dialect", ["chat", "messages"])
CLIENT = {"user-agent": "claude-cli/2.1.197 (external, sdk-cli)"}


def total(exchange: Exchange) -> int:
    return exchange.need(TokenCount).total


def text(exchange: Exchange) -> str:
    return exchange.conversation.render().decode()


async def test_with_nothing_to_do_it_leaves_everything() -> None:
    async with bench() as case:
        exchange = await run(case, session(3))
        assert exchange.conversation is exchange.received
        assert exchange.get(Condensed) is None
        assert case.services.counters.snapshot() == {}


@DIALECTS
async def test_old_results_go_when_it_gets_tight(dialect: str) -> None:
    async with bench() as case:
        exchange = await run(case, session(19, dialect), dialect)
        raw = StageBench.sent(exchange)["messages"]
        assert "[Old tool result cleared: read src/file0.py, " in str(raw[2])
        assert "cleared" not in str(raw[-1])
        assert CONSTRAINT in str(raw[0])
        assert total(exchange) < 6_000
        assert exchange.get(Condensed) == Condensed(form="smart_truncation", messages=exchange.edits[0].index + 1)  # type: ignore[operator]
        assert exchange.headers["x-trimtab-condensed"].startswith("smart_truncation; messages=")
        assert exchange.need(Risk).level is RiskLevel.SAFE
        assert "x-context-warning" not in exchange.headers
        assert int(exchange.headers["x-context-used"]) == total(exchange)


@DIALECTS
@pytest.mark.parametrize("every", [0, 3])
async def test_a_session_stays_within_its_window_and_its_prefix_holds(dialect: str, every: int) -> None:
    epochs = count = 0
    async with bench() as case:
        before: Exchange | None = None
        for messages in requests(session(60, dialect, every=every)):
            exchange = await run(case, messages, dialect)
            assert total(exchange) + 500 <= 10_000
            assert CONSTRAINT in text(exchange)
            if (
                before is not None
                and parted(before, exchange)
                and "forced" not in exchange.headers["x-trimtab-condensed"]
            ):
                epochs += 1
            before, count = exchange, count + 1
    assert 0 < epochs <= count // 10


async def test_a_client_that_compacts_itself_is_left_to_it_for_longer() -> None:
    async with bench() as case:
        assert (await run(case, session(17), headers=CLIENT)).get(Condensed) is None
        assert (await run(case, session(19), headers=CLIENT)).get(Condensed) is not None


async def test_an_edit_that_does_not_pay_waits_until_it_is_needed() -> None:
    async with bench() as case:
        exchange = await run(case, session(17))
        assert exchange.get(Condensed) is None
        assert any("the edit does not pay" in note for note in exchange.notes)


async def test_each_decision_is_logged_with_its_numbers(logged: list[str]) -> None:
    """Weighed, not weighed any more, and forced."""
    async with bench(on_overflow="truncate") as case:
        for messages in requests(session(60)):
            await run(case, messages)
    for words in (
        r"the edit (does not pay|pays): gain -?\d+ tokens.* \(removed \d+, behind \d+, requests to come \d+, cache ",
        r"the edit is not weighed at 9\d% of the window \(removed \d+, behind \d+\)",
        r"smart_truncation up to message \d+ is forced: prompt and answer take \d+% of 10000",
    ):
        assert any(re.search(words, line) for line in logged), words


async def test_key_points_come_where_old_results_are_not_enough() -> None:
    made = session(36, size=300, talk=30, every=4)
    async with bench(strategy="key_point_extraction") as case:
        exchange = await run(case, made)
        assert exchange.need(Condensed).form == "key_point_extraction"
        first = StageBench.sent(exchange)["messages"][0]["content"]
        assert [CONSTRAINT in first[0]["text"], first[1]["text"].startswith("[Condensed by trimtab: ")] == [True, True]
        assert all(f"fact-{number}" in text(exchange) for number in range(3, 32, 4))
        assert exchange.need(TokenCount).messages[0] > 100


async def test_what_cannot_fit_is_refused_in_the_words_of_a_client_that_compacts() -> None:
    made = session(45, size=100, talk=30)
    async with bench() as case:
        for dialect, start in (
            ("messages", "prompt is too long: "),
            ("chat", "This model's maximum context length is 10000"),
        ):
            with pytest.raises(Refused) as caught:
                await run(case, session(45, dialect, size=100, talk=30), dialect, headers=CLIENT)
            assert caught.value.message.startswith(start)
            assert (caught.value.cause, caught.value.param) == (Cause.OVERFLOW, "messages")
        assert total(await run(case, made)) <= 10_000


async def test_the_users_oldest_words_go_where_nothing_else_fits_and_that_is_told() -> None:
    # The user's own words are what is too long: neither results nor key points with all of them make room.
    made = [user(f"start. {CONSTRAINT}")]
    for number in range(40):
        made += [said("so"), user(f"part {number:02} " + "more words of the user " * 60)]
    async with bench() as case:
        exchange = await run(case, made)
        done = exchange.need(Condensed)
        assert done == Condensed(form="shortened_key_points", messages=done.messages, truncated=True, forced=True)
        assert total(exchange) <= 9_500
        assert CONSTRAINT in text(exchange)
        gone = sum(f"part {number:02} more" not in text(exchange) for number in range(40))
        assert gone > 5
        assert exchange.headers["x-trimtab-truncated"] == f"{gone} messages of the user, 0 sections"
        assert f"({gone} older messages left out for their size)" in text(exchange)
        assert exchange.notes[-1].endswith(f"; left out: {gone} messages of the user, 0 sections")
    async with bench(on_overflow="error") as case:
        with pytest.raises(Refused):
            await run(case, made)


async def test_a_refusal_tells_the_count_that_decided() -> None:
    """Not the calibrated one, which may be another with the next request."""
    told = set()
    async with StageBench(Condense(CondenseOptions(on_overflow="error"))) as case:
        for ratio in (0.8, 1.0, 1.3):
            exchange = case.exchange(body(session(40, size=900)))
            sizes = tuple(300 for _ in exchange.received.messages)
            exchange.put(TokenCount(total=sum(sizes), messages=sizes, ratio=ratio))
            exchange.put(Risk(level=RiskLevel.OVERFLOW, used=sum(sizes), reserve=500, limit=5_000))
            with pytest.raises(Refused) as caught:
                await case.request(exchange)
            told.add(int(re.findall(r"resulted in (\d+) tokens", caught.value.message)[0]))
    assert len(told) == 1
    assert 5_000 < told.pop() < sum(sizes) + 500, "old results went before it was refused"


async def test_a_long_answer_goes_and_the_last_word_stays() -> None:
    huge = [user(f"go. {CONSTRAINT}"), *[m for n in range(3) for m in (said("word " * 3_000), user(f"on {n}"))]]
    huge += [said("word " * 1_000), user("last")]
    async with bench() as case:
        exchange = await run(case, huge)
        assert (exchange.need(Condensed).form, exchange.need(Condensed).truncated) == ("key_point_extraction", False)
        assert [words in text(exchange) for words in ("on 0", "on 1", "on 2", "last")] == [True] * 4
        assert exchange.headers["x-trimtab-condensed"].endswith("; forced")


async def test_a_huge_result_is_cut_when_it_comes_and_stays_so() -> None:
    async with bench() as case:
        made = [user("go"), *session(1, size=40_000)[1:]]
        first = await run(case, made)
        assert "characters, " in text(first)
        assert total(first) < 7_000
        assert first.headers["x-trimtab-truncated"] == "1 results"
        later = await run(case, [*made, said("so"), user("on")])
        assert later.conversation.messages[2].raw == first.conversation.messages[2].raw


async def test_copies_become_references_where_that_is_asked_for() -> None:
    made = session(2)
    made[4] = {**made[4], "content": made[2]["content"]}
    async with bench(repeats=True) as case, bench() as other:
        exchange = await run(case, made)
        assert "[Same result as of the earlier call read src/file0.py" in str(StageBench.sent(exchange)["messages"][4])
        assert total(exchange) < total(await run(other, made))
        assert exchange.get(Condensed) is None


async def test_two_workers_and_a_restart_send_the_same_bytes() -> None:
    store = StageBench().services.store
    made = [*requests(session(40))]
    async with bench(store=store) as one, bench(store=store) as two:
        for messages in made:
            assert text(await run(one, messages)) == text(await run(two, messages))
        last = text(await run(one, made[-1]))
    async with bench(store=store) as case:
        assert text(await run(case, made[-1])) == last


async def test_a_lost_store_costs_one_epoch() -> None:
    made = [*requests(session(40))]
    epochs = 0
    async with bench() as case:
        for messages in made[:30]:
            before = await run(case, messages)
    async with bench() as case:
        for messages in made[30:35]:
            after = await run(case, messages)
            epochs += parted(before, after)
            before = after
    assert epochs <= 1


async def test_a_second_pass_changes_nothing() -> None:
    async with bench() as case:
        for messages in requests(session(40)):
            once = text(await run(case, messages)).encode()
            exchange = case.exchange(once)
            await case.request(exchange)
            assert exchange.conversation.render() == once


async def test_a_count_makes_the_edits_and_writes_nothing() -> None:
    async with bench() as case:
        counted = await run(case, session(19), operation="count")
        assert "epochs.written" not in case.services.counters.snapshot()
        assert text(await run(case, session(19))) == text(counted)


async def test_a_request_to_summarise_is_not_touched() -> None:
    async with bench() as case:
        exchange = await run(case, session(30), headers={"x-request-compaction": "true"})
        assert exchange.conversation is exchange.received


MODEL: dict[str, Any] = {"strategy": "conversation_summary", "model_rungs": True, "max_messages": 200}


async def test_a_summary_is_prepared_before_it_is_needed() -> None:
    made = [*requests(session(60, size=300, talk=30))]
    async with bench(answers=[NOTES] * 20, **MODEL) as case:
        forms: list[str] = []
        for messages in made:
            exchange = await run(case, messages)
            fact = exchange.get(Condensed)
            if fact is not None and (not forms or forms[-1] != fact.form):
                forms.append(fact.form)
                assert NOTES in text(exchange).replace("\\n", "\n")
                assert CONSTRAINT in text(exchange)
            asked = len(case.asked)
            await case.run_later(exchange)
            assert len(case.asked) - asked <= 1
        assert forms == ["summary"]
        assert {model for model, _ in case.asked} == {"small"}


@pytest.mark.parametrize("answer", ["yes", "## Goal\n" + "word " * 99, UpstreamTimeout("no answer within 30 s")])
async def test_a_model_that_fails_costs_a_rung_and_no_time(answer: Any, logged: list[str]) -> None:
    made = [*requests(session(60, size=300, talk=30))]
    async with bench(answers=[answer] * 99, **MODEL) as case:
        for messages in made:
            asked = len(case.asked)
            exchange = await run(case, messages)
            assert len(case.asked) == asked, "no request waits for a model"
            assert total(exchange) <= 10_000
            await case.run_later(exchange)
        assert exchange.need(Condensed).form == "key_point_extraction"
        assert len(case.asked) == 1
        assert any("condense got no summary from 'small'" in line for line in logged)


async def test_progressive_summaries_are_added_and_stay() -> None:
    made = [*requests(session(150, size=300, talk=30))]
    options = {**MODEL, "strategy": "progressive_summarization"}
    async with bench(answers=[NOTES] * 50, **options) as case:
        seen: list[list[str]] = []
        for messages in made:
            exchange = await run(case, messages)
            await case.run_later(exchange)
            content = StageBench.sent(exchange)["messages"][0]["content"]
            texts = [part["text"] for part in content[1:]] if isinstance(content, list) else []
            if texts and (not seen or seen[-1] != texts):
                assert not seen or len(texts) < 3 or texts[: len(seen[-1])] == seen[-1] or "made one by" in texts[0]
                seen.append(texts)
        assert len(seen) >= 3
        assert max(map(len, seen)) <= 5


async def test_nothing_happens_where_the_window_is_not_known_or_messages_are_gone() -> None:
    async with bench() as case:
        exchange = case.exchange({**body(session(30)), "model": "unknown"})
        await case.request(exchange)
        assert exchange.conversation.messages == exchange.received.messages
        gone = case.exchange(body(session(30)))
        gone.edit(0, None, "somebody else")
        await case.request(gone)
        assert "condense did nothing: a stage before it removed messages" in gone.notes
    assert result("chat", "c", "x")["role"] == "tool"


async def test_what_the_upstream_found_too_long_is_made_to_fit_and_remembered() -> None:
    async with bench(30_000) as case:
        exchange = await run(case, session(40))
        assert exchange.get(Condensed) is None
        long = total(exchange)
        assert await case.pipeline.again(exchange, Overflowed(used=30_000, limit=20_000))
        assert total(exchange) < long * 2 // 3
        assert exchange.need(Condensed).form == "smart_truncation"
        later = await run(case, session(41))
        assert total(later) < long * 2 // 3
        short = await run(case, [user("hi")])
        assert not await case.pipeline.again(short, Overflowed())


async def test_one_overflow_of_a_prompt_far_below_the_window_changes_nothing_for_others(logged: list[str]) -> None:
    async with bench(100_000) as case:
        short = await run(case, [user("hi")])
        for told in (Overflowed(), Overflowed(used=11, limit=5), Overflowed(used=11, limit=4096)):
            assert not await case.pipeline.again(short, told)
        assert not [line for line in logged if "takes no more" in line]
        exchange = await run(case, session(40))
        long = total(exchange)
        assert exchange.need(Risk).limit == 100_000
        # This one is made shorter, as it was told; others are not.
        assert await case.pipeline.again(exchange, Overflowed(used=30_000, limit=20_000))
        assert total(exchange) < long * 2 // 3
        [line] = [line for line in logged if "takes no more" in line]
        assert line.endswith(
            'half of the window in the table (100000); if that holds for all, set [model."small"] window'
        )
        assert (await run(case, [user("ho")])).need(Risk).limit == 100_000


@pytest.mark.parametrize("strategy", ["smart_truncation", "key_point_extraction"])
async def test_cache_marks_in_odd_places_stay_and_change_no_word(strategy: str) -> None:
    """On the system prompt, a tool, and a part of an old result: to an upstream the same prompt without them."""
    mark: dict[str, Any] = {"cache_control": {"type": "ephemeral"}}
    texts = []
    for marks in ({}, mark):
        made = session(40, "messages")
        made[2]["content"][0]["content"] = [{**text_part(made[2]["content"][0]["content"]), **marks}]
        head = {"system": [{**text_part("be good"), **marks}], "tools": [{"name": "read", "input_schema": {}, **marks}]}
        async with bench(strategy=strategy) as case:
            exchange = case.exchange(body(made, **head), dialect="messages")
            await case.request(exchange)
            assert [note for note in exchange.notes if "undone" in note] == []
            assert exchange.get(Condensed) is not None
            assert text(exchange).count("cache_control") == (3 if marks else 0)
            texts.append(text(exchange).replace(',"cache_control":{"type":"ephemeral"}', ""))
    assert texts[0] == texts[1]
