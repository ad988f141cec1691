"""What matters of a range of messages, word for word."""

import pytest

from condensing import talk_of
from talks import call, result, said, user
from trimtab_stages.condense_points import left_out, points, spoken, todo, words

DIALECTS = pytest.mark.parametrize("dialect", ["chat", "messages"])


@DIALECTS
def test_each_kind_has_its_list(dialect: str) -> None:
    made = talk_of(
        [
            user("go"),
            call(dialect, "a", "read", "I look first", path="src/a.py"),
            result(dialect, "a", "1 | error = None"),
            call(dialect, "b", "Edit", "then I change it", path="src/a.py"),
            result(dialect, "b", "done"),
            call(dialect, "c", "bash", command="pytest -q"),
            result(dialect, "c", "E   ValueError: bad port 8443\n1 failed\nExit code: 1"),
            user("keep the port at 8443"),
            call(dialect, "d", "read", path="src/b.py"),
            result(dialect, "d", "words"),
            said("so it is"),
        ],
        dialect,
    )
    found = points(made, 1, 10, 1_000)
    assert found.startswith("[Condensed by trimtab: 9 messages of this conversation.")
    parts = {part.split("\n", 1)[0]: part.split("\n", 1)[1] for part in found.split("\n\n## ")[1:]}
    assert parts == {
        "The user said": "\n<said>\nkeep the port at 8443\n</said>",
        "What the assistant said": "- I look first\n- then I change it",
        "Files changed": "- src/a.py",
        "Files read": "- src/b.py",
        "Commands run": "- pytest -q (exit 1)",
        "Errors seen": "- E ValueError: bad port 8443\n- 1 failed",
    }


def test_the_oldest_words_of_the_user_go_first_and_that_is_told() -> None:
    made = talk_of([user("go"), *[part for n in range(9) for part in (said("so"), user(f"fact {n} " + "x" * 90))]])
    found, _ = spoken(made, 1, len(made), 75)
    assert [f"fact {number}" in found for number in range(9)] == [False] * 6 + [True] * 3
    assert "(6 older messages left out for their size)" in found
    assert left_out(made, 1, len(made), 75) == (6, 0)
    assert left_out(made, 1, len(made), 10_000) == (0, 0)
    assert len(words(made, 1, len(made))) == 9
    assert spoken(made[:2], 1, 2, 10) == ("", "")


def test_all_that_the_user_said_stays_unless_a_budget_is_set() -> None:
    block = "<environment_details>\n# Recently Modified Files\nsrc/a{0}.py\n</environment_details>"
    made = talk_of(
        [user("go"), *[p for n in range(9) for p in (said("so"), user(f"fact {n} " + "x" * 90, block.format(n)))]]
    )
    whole, short = points(made, 1, len(made), 75), points(made, 1, len(made), 75, whole=False)
    assert [whole.count("<said>"), whole.count("<told>"), "left out" in whole] == [9, 9, False]
    assert [short.count("<said>"), short.count("<told>")] == [3, 0]
    assert "(6 older messages left out for their size)" in short
    assert "(9 older sections left out for their size)" in short
    assert left_out(made, 1, len(made), 75) == (6, 9)


def test_lists_keep_the_newest_entries_within_their_room() -> None:
    made = talk_of([user("go"), *[said(f"step {number} " + "y" * 80) for number in range(50)]])
    found = points(made, 1, 51, 250)
    assert "step 49" in found
    assert "step 0 " not in found
    assert len(found) < 600


@DIALECTS
def test_the_last_list_of_things_to_do_is_kept(dialect: str) -> None:
    made = [call(dialect, str(n), "TodoWrite", todos=f"list {n}") for n in range(2)]
    talk = [user("go")]
    for number, use in enumerate(made):
        talk += [use, result(dialect, str(number), "ok")]
    assert "list 1" in todo(talk_of(talk, dialect), 1, 5)
    assert todo(talk_of(talk, dialect), 0, 1) == ""


def test_a_failed_command_without_a_status_says_so() -> None:
    step = [call("messages", "a", "bash", command="make"), result("messages", "a", "no rule", is_error=True)]
    assert "- make (failed)" in points(talk_of([user("go"), *step], "messages"), 1, 3, 100)
