"""Whether an edit pays, and whether predictions of the provider's cache come true."""

from typing import Any

import pytest

from trimtab.api import Cache, Exchange, Model, ModelTable, Prices, TokenCount, Upstream, Usage, spend, terms
from trimtab.economics import CONVERSATIONS, REQUESTS, SURVIVES, TRIALS, Economics
from trimtab.testing import StageBench

MARK = {"cache_control": {"type": "ephemeral"}}
ROWS = ModelTable(
    {
        "chat": Upstream(dialect="chat", base_url="http://a.test/v1"),
        "messages": Upstream(dialect="messages", base_url="http://b.test"),
        "plan": Upstream(
            dialect="chat", base_url="http://c.test", billing="prompts", cache=Cache(kind="implicit", read=0.2)
        ),
    },
    {
        "small": Model(upstreams={"chat": "chat"}, prices=Prices(input=2.0, cached=0.2, output=4.0)),
        "other": Model(upstreams={"chat": "chat"}),
        "marks": Model(upstreams={"messages": "messages"}),
        "quota": Model(upstreams={"chat": "plan"}, prices=Prices(input=2.0, cached=0.2, output=4.0)),
    },
)


def body(turns: int, model: str = "small", size: int = 4_000) -> dict[str, Any]:
    said = [{"role": role, "content": role[0] * size} for _ in range(turns) for role in ("user", "assistant")]
    return {"model": model, "messages": [*said, {"role": "user", "content": "go on"}]}


class Case:
    """A proxy without stages: what it is told of a session."""

    def __init__(self) -> None:
        self.bench = StageBench(models=ROWS)
        self.economics: Economics = self.bench.services.economics

    def exchange(self, turns: int, model: str = "small", **more: Any) -> Exchange:
        return self.bench.exchange(body(turns, model), **more)

    def serve(self, turns: int, cached: int | None = None, model: str = "small", **more: Any) -> Exchange:
        exchange = self.exchange(turns, model, **more)
        self.bench.sends(exchange, None if cached is None else Usage(input=100, cache_read=cached, output=10))
        return exchange

    @property
    def counts(self) -> dict[str, int]:
        return self.bench.services.counters.snapshot()


@pytest.fixture
def case() -> Case:
    return Case()


def test_the_gain_is_that_of_the_formula(case: Case) -> None:
    case.serve(3)
    exchange = case.exchange(4)
    verdict = case.economics.weigh(exchange, removed=20_000, behind=30_000)
    # T (w + r (R - 1)) - p (w - r) (S + T), with w = 1, r = 0.1, R = 10, p = 1.
    assert verdict.gain == pytest.approx(20_000 * 1.9 - 0.9 * 50_000)
    assert not verdict.pays
    near = case.economics.weigh(exchange, removed=20_000, behind=20_000)
    assert near.gain == pytest.approx(20_000 * 1.9 - 0.9 * 40_000)
    assert near.pays
    assert near.dollars == pytest.approx(near.gain * 2.0 / 1e6)
    assert case.counts["economy.edits_allowed"] == case.counts["economy.edits_declined"] == 1


def test_a_request_that_counts_is_weighed_and_not_booked(case: Case, logged: list[str]) -> None:
    case.serve(3)
    said = len(logged)
    for operation, booked in (("count", 0), ("generate", 1)):
        exchange = case.exchange(4, operation=operation)
        assert case.economics.weigh(exchange, removed=20_000, behind=20_000).pays
        assert [len(exchange.notes), case.counts.get("economy.edits_allowed", 0), len(logged) - said] == [
            1, booked, booked,
        ]  # fmt: skip


@pytest.mark.parametrize(("factor", "pays"), [(11.4, False), (11.6, True)])
def test_with_a_live_cache_it_pays_from_the_known_break_even_on(
    case: Case, factor: float, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anthropic: more than 11.5 S / T requests (context.md 7)."""
    monkeypatch.setattr("trimtab.economics.REQUESTS", factor)
    case.serve(1, model="marks", dialect="messages")
    exchange = case.exchange(2, "marks", dialect="messages")
    assert case.economics.weigh(exchange, removed=10_000, behind=10_000).pays is pays


def test_every_decision_is_told_with_its_inputs(case: Case) -> None:
    case.serve(1)
    exchange = case.exchange(2)
    exchange.stage = "mine"
    verdict = case.economics.weigh(exchange, removed=100, behind=5)
    assert exchange.notes == [f"mine: the edit {verdict}"]
    assert str(verdict) == (
        "pays: gain 96 tokens, $0.0002 (removed 100, behind 5, requests to come 10, cache alive 1.0, write 1.00, "
        "read 0.100)"
    )


@pytest.mark.parametrize(("seconds", "alive"), [(0, 1.0), (300, 1.0), (301, SURVIVES), (3_600, SURVIVES), (3_601, 0.0)])
def test_a_pause_lets_the_cache_die(case: Case, seconds: float, alive: float) -> None:
    case.serve(2)
    case.bench.clock.advance(seconds)
    assert case.economics.weigh(case.exchange(3), removed=1, behind=1).alive == alive


def test_a_mark_for_an_hour_lets_it_live_longer(case: Case) -> None:
    given = body(1, "marks")
    given["messages"][-1]["content"] = [
        {"type": "text", "text": "go", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    ]
    case.bench.sends(case.bench.exchange(given, dialect="messages"))
    case.bench.clock.advance(3_000)
    exchange = case.exchange(2, "marks", dialect="messages")
    assert case.economics.weigh(exchange, removed=1, behind=1).alive == 1.0


def test_what_begins_has_no_cache_and_what_goes_on_may_have_one(case: Case) -> None:
    assert case.economics.weigh(case.exchange(0), removed=1, behind=1).alive == 0.0
    assert case.economics.weigh(case.exchange(3), removed=1, behind=1).alive == 1.0


def test_another_target_has_no_cache(case: Case) -> None:
    case.serve(2)
    assert case.economics.weigh(case.exchange(3, "other"), removed=1, behind=1).alive == 0.0
    assert (case.serve(3, model="other")).outcome.predicted == 0


def test_another_client_is_another_conversation(case: Case) -> None:
    case.serve(0)
    other = case.exchange(0, headers={"authorization": "Bearer x"})
    assert case.economics.weigh(other, removed=1, behind=1).alive == 0.0
    assert case.economics.weigh(case.exchange(0), removed=1, behind=1).alive == 1.0


def test_long_conversations_let_expect_more_requests(case: Case) -> None:
    for number in range(1, 61):
        case.serve(number)
        case.bench.clock.advance(10)
    assert case.economics.weigh(case.exchange(60), removed=1, behind=1).requests == REQUESTS
    case.bench.clock.advance(4_000)
    fresh = body(0)
    fresh["messages"][0]["content"] = "another task"
    for _ in range(2):
        case.bench.sends(case.bench.exchange(fresh))
    assert case.economics.weigh(case.bench.exchange(fresh), removed=1, behind=1).requests == 58


def test_what_is_remembered_is_bounded(case: Case) -> None:
    for number in range(CONVERSATIONS + 5):
        case.bench.sends(case.bench.exchange({"model": "small", "messages": [said(str(number))]}))
    assert len(case.economics._known) == CONVERSATIONS


def said(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_what_was_sent_before_is_predicted_to_be_cached(case: Case) -> None:
    assert case.serve(2).outcome.predicted is None
    again = case.serve(3)
    raws = [len(message.raw) for message in again.conversation.messages]
    assert again.outcome.predicted == sum(raws[:4]) // 4
    case.bench.clock.advance(301)
    assert (case.serve(4)).outcome.predicted == 0


def test_counted_tokens_are_taken_where_there_are_some(case: Case) -> None:
    case.serve(2)
    exchange = case.exchange(3)
    exchange.put(TokenCount(total=8_000, messages=(1_000,) * 7, overhead=500, ratio=1.1))
    case.economics.sending(exchange)
    assert exchange.outcome.predicted == round(4_500 * 1.1)


def test_a_prompt_that_is_too_small_is_not_cached(case: Case) -> None:
    small = {"model": "small", "messages": [said("hi")]}
    for _ in range(2):
        exchange = case.bench.exchange(small)
        case.bench.sends(exchange)
    assert exchange.outcome.predicted == 0


def test_with_marks_only_what_stands_before_one_is_cached(case: Case) -> None:
    given = body(3, "marks")
    given["messages"][3]["content"] = [{"type": "text", "text": "a" * 4_000, **MARK}]
    for _ in range(2):
        exchange = case.bench.exchange(given, dialect="messages")
        case.bench.sends(exchange)
    sizes = [len(message.raw) for message in exchange.conversation.messages]
    assert exchange.outcome.predicted == sum(sizes[:4]) // 4
    unmarked = case.serve(3, model="marks", dialect="messages")
    assert unmarked.outcome.predicted == 0


def test_predictions_that_keep_failing_end_edits_to_save(case: Case) -> None:
    for turns in range(1, TRIALS + 9):
        case.serve(turns, cached=0)
    target = case.exchange(1).target
    assert not case.economics.trusted(target)
    verdict = case.economics.weigh(case.exchange(20), removed=10_000, behind=1)
    assert verdict.gain > 0
    assert not verdict.pays
    assert "keep failing" in str(verdict)
    assert case.economics.trusted(case.exchange(1, "other").target)


def test_predictions_that_hold_are_trusted_again(case: Case) -> None:
    for turns in range(1, 20):
        exchange = case.serve(turns, cached=0)
    assert not case.economics.trusted(exchange.target)
    for turns in range(20, 40):
        case.serve(turns, cached=1_000_000)
    assert case.economics.trusted(exchange.target)


def test_what_is_reported_is_booked_in_three_currencies(case: Case) -> None:
    case.serve(2, cached=1_000)
    case.serve(3, cached=1_000)
    counts = case.counts
    assert counts["economy.prompt_tokens"] == 2 * 1_100
    assert counts["economy.cached_tokens"] == 2 * 1_000
    # 100 fresh at $2, 1,000 cached at $0.20, 10 out at $4, for a million each.
    assert counts["economy.microdollars"] == 2 * (200 + 200 + 40)
    assert counts["economy.predicted_tokens"] > 0
    assert "economy.quota_prompts" not in counts


def test_a_plan_that_counts_prompts_tells_no_money(case: Case) -> None:
    case.serve(2, cached=1_000, model="quota")
    assert case.counts["economy.quota_prompts"] == 1
    assert "economy.microdollars" not in case.counts
    verdict = case.economics.weigh(case.exchange(3, "quota"), removed=10, behind=1)
    assert verdict.dollars is None
    assert "no money (the plan counts prompts)" in str(verdict)


@pytest.mark.parametrize("usage", [None, Usage(input=5, estimated=True)])
def test_nothing_is_booked_of_an_estimate(case: Case, usage: Usage | None) -> None:
    exchange = case.serve(2)
    case.bench.sends(exchange, usage)
    assert case.counts == {}


def test_a_count_is_no_request(case: Case) -> None:
    case.serve(2, operation="count")
    assert (case.serve(3)).outcome.predicted is None


def test_prices_come_from_the_model_then_the_upstream_then_the_usual() -> None:
    found = {name: terms(ROWS.resolve(name, images=False, dialect="chat")) for name in ROWS.models}
    assert (found["small"].kind, found["small"].write, found["small"].read) == ("implicit", 1.0, 0.1)
    assert (found["marks"].kind, found["marks"].write, found["marks"].read) == ("explicit", 1.25, 0.1)
    assert (found["quota"].quota, found["quota"].read) == (True, 0.1)
    assert (found["other"].input, found["other"].lifetime, found["other"].smallest) == (None, 300.0, 1024)


def test_own_rows_win() -> None:
    upstream = Upstream(dialect="messages", base_url="http://b.test", cache=Cache(kind="implicit", smallest=512))
    table = ModelTable(
        {"u": upstream},
        {"m": Model(upstreams={"messages": "u"}, cache=Cache(read=0.3, lifetime=60.0)),
         "p": Model(upstreams={"messages": "u"}, prices=Prices(input=4.0, cached=1.0, output=8.0, write=5.0))},
    )  # fmt: skip
    found = terms(table.resolve("m", images=False, dialect="messages"))
    assert (found.kind, found.read, found.write, found.lifetime, found.smallest) == ("implicit", 0.3, 1.0, 60.0, 512)
    found = terms(table.resolve("p", images=False, dialect="messages"))
    assert (found.read, found.write, found.input, found.output) == (0.25, 1.25, 4.0, 8.0)


def test_without_prices_only_tokens_are_told() -> None:
    target = ROWS.resolve("other", images=False, dialect="chat")
    assert spend(target, Usage(input=5, cache_read=3, output=2)) == (8, None, 0)
