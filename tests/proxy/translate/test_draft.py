import msgspec
import pytest

from translating import CHAT, MESSAGES, ZAI_CHAT, parsed, user
from trimtab.conversation import DialectName
from trimtab.errors import BadRequest
from trimtab.models import Model, Target
from trimtab.translate import translate
from trimtab.translate.draft import (
    LONGEST_WORD,
    MOST_WORDS,
    Draft,
    budget_of,
    effort_of,
    nearest,
    nothing,
    pseudonym,
)


def draft(target: Target = CHAT, **head: object) -> Draft:
    return Draft(parsed("chat", {"model": "m", "messages": [user("hi")], **head}), target)


def test_a_member_that_the_upstream_does_not_accept_is_dropped() -> None:
    made = draft(ZAI_CHAT)
    made.set("top_p", 1, "top_p")
    made.set("user", "x", "metadata.user_id")
    assert (made.out, list(made.dropped)) == ({"top_p": 1}, ["metadata.user_id"])


def test_a_member_that_upstream_or_model_refuses_is_dropped() -> None:
    upstream = msgspec.structs.replace(CHAT.upstream, drop=("a",))
    made = draft(Target(upstream, Model(name="m", drop=("b",))))
    assert [made.takes(name) for name in "abc"] == [False, False, True]


def test_a_number_is_clipped_and_what_is_none_dropped() -> None:
    made = draft()
    for name, value in (("a", 5), ("b", "5"), ("c", True), ("d", 1)):
        made.clip(name, value, (0, 2))
    assert (made.out, list(made.dropped)) == ({"a": 2, "d": 1}, ["a", "b", "c"])
    limited = draft(ZAI_CHAT)
    assert [limited.limit("n", value) for value in (5.0, 0, "x", None, 131_072)] == [5, None, None, None, 131_072]
    assert list(limited.dropped) == ["n"]
    fitting = draft(ZAI_CHAT)
    assert [fitting.limit("n", value) for value in (5, None)] == [5, None]
    assert not fitting.dropped
    assert (fitting.limit("n", 10**9), list(fitting.dropped)) == (131_072, ["n"])


def test_a_tool_is_dropped_by_its_kind() -> None:
    made = draft()
    made.drop_tool("web search")
    made.drop("seed")
    assert (list(made.dropped), list(made.tools)) == (["web_search", "seed"], ["web_search"])


def test_each_member_goes_by_its_rule() -> None:
    made = draft(a=1, b=None, c=[], d=2, seed=3)
    made.copy(
        {"a": lambda found, value: found.set("a", value + 1, "a"), "b": nothing, "model": nothing, "messages": nothing}
    )
    assert (made.out, list(made.dropped)) == ({"a": 2}, ["d", "seed"])


@pytest.mark.parametrize(
    ("effort", "known", "found"),
    [
        ("medium", ("low", "high", "max"), "high"),
        ("none", ("low", "high", "max"), "low"),
        ("xhigh", ("low", "high", "max"), "max"),
        ("max", ("low", "high"), "high"),
        ("odd", ("low", "medium"), "medium"),
    ],
)
def test_the_next_higher_effort_is_taken(effort: str, known: tuple[str, ...], found: str) -> None:
    assert nearest(effort, known) == found


def test_efforts_and_budgets() -> None:
    assert [effort_of(budget) for budget in (1, 2048, 2049, 8192, 8193)] == ["low", "low", "medium", "medium", "high"]
    assert [effort_of(budget_of(effort)) for effort in ("low", "medium", "high")] == ["low", "medium", "high"]
    assert budget_of("odd") == budget_of("medium")


def test_a_users_name_of_a_length_nobody_takes_becomes_its_hash() -> None:
    assert pseudonym("someone", 6, 128) == "someone"
    assert len(pseudonym("me", 6, 128)) == 32
    assert pseudonym("x" * 200, 6, 128) == pseudonym("x" * 200, 6, 128) != pseudonym("y" * 200, 6, 128)


@pytest.mark.parametrize("words", [["x"] * (MOST_WORDS + 1), ["x" * (LONGEST_WORD + 1)]])
def test_more_stop_words_than_can_be_looked_for_are_refused_by_their_name(words: list[str]) -> None:
    made = draft()
    made.watch(["x" * LONGEST_WORD] * MOST_WORDS, "stop")
    assert len(made.stop_words) == MOST_WORDS
    with pytest.raises(BadRequest, match="looks for 64 more at most, of up to 1000 characters") as refused:
        made.watch(words, "stop")
    assert refused.value.param == "stop"


@pytest.mark.parametrize(
    ("dialect", "name", "target"), [("chat", "stop", MESSAGES), ("messages", "stop_sequences", CHAT)]
)
def test_a_hundred_thousand_stop_words_are_refused_at_once(dialect: DialectName, name: str, target: Target) -> None:
    body = {"model": "m", "max_tokens": 5, "messages": [user("hi")], name: [f"x{n}" for n in range(100_000)]}
    upstream = msgspec.structs.replace(target.upstream, stop_words=1)
    with pytest.raises(BadRequest, match="send fewer or shorter ones"):
        translate(parsed(dialect, body), Target(upstream, target.model))
