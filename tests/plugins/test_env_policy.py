"""The policy `keep_latest`: which sections of which turn go."""

from itertools import pairwise

from trimtab_stages.env_blocks import Rule, Section
from trimtab_stages.env_policy import KEEP_LATEST, WORTH, Arrival, How, plan


def sections(*values: str, rule: Rule = "state", pad: int = 0) -> tuple[Section, ...]:
    """Sections `key=value`; `!` in front of one makes it stay."""
    return tuple(
        Section(f"{value}{'.' * pad}\n", "" if value[0] == "!" else value.partition("=")[0], _rule(value, rule))
        for value in values
    )


def _rule(value: str, rule: Rule) -> Rule:
    return "kept" if value[0] == "!" else rule


def sent(
    *turns: tuple[Section, ...], numbers: tuple[int, ...] = (), fixed: int = -1, how: How = KEEP_LATEST
) -> list[str]:
    """What is sent of each turn."""
    arrivals = [
        Arrival(numbers[index] if numbers else index, turn, fixed=index == fixed) for index, turn in enumerate(turns)
    ]
    return [
        " ".join(section.value for place, section in enumerate(turn) if place not in gone)
        for turn, gone in zip(turns, plan(arrivals, how), strict=True)
    ]


def states(*values: str) -> list[tuple[Section, ...]]:
    """One turn for each word of values with commas between."""
    return [sections(*value.split(",")) for value in values]


def test_the_example_of_the_docstring() -> None:
    assert sent(*states("t=1,tabs=A", "t=2,tabs=A", "t=3,tabs=B", "t=4,tabs=A")) == ["tabs=A", "", "", "t=4"]


def test_what_always_changes_is_sent_once() -> None:
    assert sent(*states("t=1", "t=2", "t=3")) == ["", "", "t=3"]


def test_what_never_changes_is_sent_where_it_came() -> None:
    assert sent(*states("a=1", "a=1", "a=1")) == ["a=1", "", ""]


def test_an_older_copy_stays_when_its_turn_is_past() -> None:
    assert sent(*states("a=1", "a=1", "a=2", "a=2", "a=3")) == ["a=1", "", "a=2", "", "a=3"]


def test_back_to_what_was_sent() -> None:
    assert sent(*states("a=1", "a=1", "a=2", "a=1", "a=2", "a=1")) == ["a=1", "", "", "", "", ""]
    assert sent(*states("a=1", "a=1", "a=2", "a=2", "a=1")) == ["a=1", "", "a=2", "", "a=1"]


def test_events_stay_repeats_included() -> None:
    assert sent(*states("!e=1,t=1", "!e=1,t=2", "!e=1,t=3")) == ["!e=1", "!e=1", "!e=1 t=3"]


def test_history_goes_only_where_it_repeats() -> None:
    turns = [sections(value, rule="history") for value in ("m=code", "m=code", "m=ask", "m=code", "m=code")]
    assert sent(*turns) == ["m=code", "", "m=ask", "m=code", ""]


def test_a_state_that_is_not_said_again_stays() -> None:
    assert sent(*states("a=1,t=1", "t=2", "a=2,t=3")) == ["a=1", "", "a=2 t=3"]


def test_a_turn_between_makes_a_copy_stay() -> None:
    turns = states("t=1", "t=2")
    assert sent(*turns, numbers=(0, 1)) == ["", "t=2"]
    assert sent(*turns, numbers=(0, 2)) == ["t=1", "t=2"]


def test_what_comes_twice_in_a_turn_stays() -> None:
    assert sent(*states("t=1", "t=2,t=2", "t=2", "t=2")) == ["t=1", "t=2 t=2", "t=2", ""]


def test_a_fixed_turn_stays_whole() -> None:
    turns = states("a=1,t=1", "a=1,t=2", "a=1,t=3")
    assert sent(*turns, fixed=1) == ["a=1", "a=1 t=2", "t=3"]
    assert sent(*states("a=1", "a=2", "a=2"), fixed=1) == ["", "a=2", ""]


def test_going_must_pay() -> None:
    small, large = sections("t=1"), sections("!tree", pad=1000)
    assert sent(small + large, sections("t=2")) == ["t=1 !tree" + "." * 1000, "t=2"]
    assert sent(large + small, sections("t=2")) == ["!tree" + "." * 1000, "t=2"]


def test_what_pays_is_counted_from_the_end() -> None:
    first, tree, end = sections("t=1", pad=10), sections("!tree", pad=int(10 * WORTH * 2)), sections("c=1", pad=10)
    assert sent(first + tree + end, sections("t=2", "c=2"))[0] == f"t=1{'.' * 10} {tree[0].value}"
    together = sections("t=1", pad=int(10 * WORTH * 2))
    assert sent(together + tree + end, sections("t=2", "c=2"))[0] == tree[0].value


def test_a_second_pass_finds_nothing() -> None:
    turns = states("a=1,t=1", "a=1,t=2", "a=2,t=3", "a=1,t=4", "!e", "a=3,t=4", "a=1,t=4")
    gone = plan([Arrival(index, turn) for index, turn in enumerate(turns)])
    left = [tuple(s for place, s in enumerate(turn) if place not in out) for turn, out in zip(turns, gone, strict=True)]
    assert plan([Arrival(index, turn) for index, turn in enumerate(left)]) == [frozenset()] * len(turns)


def test_more_turns_change_the_last_one_only() -> None:
    turns = states("a=1,t=1", "a=1,t=2", "a=2,t=2", "a=1,t=4", "!e", "a=3,t=4", "a=1,t=4")
    plans = [plan([Arrival(i, turn) for i, turn in enumerate(turns[:end])]) for end in range(1, len(turns) + 1)]
    assert all(one[:-1] == other[: len(one) - 1] for one, other in pairwise(plans))


def test_nothing_is_nothing() -> None:
    assert plan([]) == []


def test_what_need_not_pay_goes_whatever_stands_behind_it() -> None:
    turns = [(*sections("t=1"), *sections("!e", pad=1_000)), sections("t=2")]
    assert [text[:3] for text in sent(*turns)] == ["t=1", "t=2"]
    assert [text[:3] for text in sent(*turns, how=How(priced=False))] == ["!e.", "t=2"]
