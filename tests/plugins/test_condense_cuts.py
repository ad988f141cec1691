"""Results that are too large by themselves are cut, head and tail."""

import pytest

from condensing import conversation_of
from talks import call, result, said, text, user
from trimtab.api import Conversation, TokenCount
from trimtab_stages.condense_cuts import cut, cuts, shortened
from trimtab_stages.condense_ranges import MARK

LINES = "".join(f"line {number}\n" for number in range(1_000))


def counted(conversation: Conversation) -> TokenCount:
    """A count of four bytes a token."""
    sizes = tuple(len(message.raw) // 4 for message in conversation.messages)
    return TokenCount(total=sum(sizes), messages=sizes)


def test_head_and_tail_stay_sixty_to_forty() -> None:
    after = cut(LINES, 1_000)
    head, _, rest = after.partition("\n[")
    note, _, tail = rest.partition("]\n")
    assert (LINES.startswith(head), LINES.endswith(tail)) == (True, True)
    assert (len(head), len(tail)) == (600, 400)
    gone = len(LINES) - 1_000
    assert note == f"{gone} characters, {LINES[600:-400].count(chr(10))} lines cut here: too long for the window"


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_the_largest_results_of_a_turn_are_cut_to_half_of_the_window(dialect: str) -> None:
    made = conversation_of(
        [user("go"), call(dialect, "c", "read", path="a"), result(dialect, "c", LINES), said("so")], dialect
    )
    assert cuts(made, counted(made), 10_000) == {}
    [(index, after)] = cuts(made, counted(made), 2_000).items()
    assert index == 2
    assert len(after.raw) // 4 < 1_050
    assert b"lines cut here" in after.raw


def test_small_results_beside_a_large_one_stay() -> None:
    uses = call("chat", "a", "read", path="a")
    uses["tool_calls"] += call("chat", "b", "read", path="b")["tool_calls"]
    made = conversation_of([user("go"), uses, result("chat", "a", "short"), result("chat", "b", LINES)])
    assert [*cuts(made, counted(made), 2_000)] == [3]


def test_a_turn_without_results_is_left_alone() -> None:
    made = conversation_of([user(LINES), said(LINES)])
    assert cuts(made, counted(made), 100) == {}


def test_it_depends_on_its_turn_only() -> None:
    step = [call("chat", "c", "read", path="a"), result("chat", "c", LINES)]
    short, long = (
        conversation_of([user("go"), *step]),
        conversation_of([user("go"), *step, said("so"), user("on"), *step]),
    )
    one, two = cuts(short, counted(short), 2_000), cuts(long, counted(long), 2_000)
    assert one[2].raw == two[2].raw == two[6].raw


def test_what_was_cut_is_not_cut_again() -> None:
    """However many tokens the second pass finds in it."""
    said_ = [user("go"), call("chat", "c", "read", path="a"), result("chat", "c", cut(LINES, 5_000))]
    made = conversation_of(said_)
    assert cuts(made, counted(made), 2_000) == {}
    assert [*cuts(conversation_of([*said_[:2], result("chat", "c", LINES)]), counted(made), 2_000)] == [2]
    # What stands beside it leaves no room, and is not made longer by a cut.
    one = call("messages", "c", "read", path="a")
    beside = conversation_of(
        [user("go"), one, user(*result("messages", "c", "short " * 12)["content"], text("x" * 9_000))], "messages"
    )
    assert cuts(beside, counted(beside), 2_000) == {}


def test_a_turn_that_was_cut_is_left_as_it_is() -> None:
    """A result beside the cut one, which had room before, has less by the second count."""
    uses = call("chat", "a", "read", path="a")
    uses["tool_calls"] += call("chat", "b", "read", path="b")["tool_calls"]
    one, two = result("chat", "a", cut(LINES, 5_000)), result("chat", "b", LINES[:4_500])
    made = conversation_of([user("go"), uses, one, two])
    assert cuts(made, counted(made), 2_000) == {}
    quoting = result(
        "chat", "a", f"it ends with {LINES}\n[many characters, 9 lines cut here: too long for the window]\n"
    )
    assert [*cuts(conversation_of([user("go"), uses, quoting, two]), counted(made), 2_000)] == [2, 3]


def test_a_result_beside_a_text_of_ours_was_looked_at_before() -> None:
    large = f"[read_file for 'a.py'] Result:\n{LINES}"
    for beside, number in (("go on", 1), (f"{MARK}: 6 messages of this conversation.]", 0)):
        made = conversation_of([user(large, beside)])
        assert len(cuts(made, counted(made), 2_000)) == number


def test_a_turn_with_a_cleared_result_is_left_as_it_is() -> None:
    """It had been cut before that, if it was too large; what stands beside its results counts too."""
    uses = call("chat", "a", "read", path="a")
    uses["tool_calls"] += call("chat", "b", "read", path="b")["tool_calls"]
    cleared = result("chat", "a", "[Old tool result cleared: read a, 44 lines. Run it again if needed.]")
    made = conversation_of([user("go"), uses, cleared, result("chat", "b", LINES)])
    assert cuts(made, counted(made), 2_000) == {}


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_a_conversation_that_comes_shortened_is_known(dialect: str) -> None:
    def talk(content: str) -> bool:
        made = [user("go"), call(dialect, "c", "read", path="a"), result(dialect, "c", content), said("so")]
        return shortened(conversation_of(made, dialect).messages)

    assert talk(cut(LINES, 1_000))
    assert talk("[Old tool result cleared: read a, 44 lines. Run it again if needed.]")
    assert not talk(LINES)
    assert not talk("a page on [Old tool result cleared: x], and on lines cut here: too long for the window]")
