"""Where a conversation may be cut, and what the user said in it."""

from typing import Any

import pytest

from talks import body, call, result, said, text, user
from trimtab.api import Message
from trimtab.testing import StageBench
from trimtab_stages import condense_ranges as ranges

ENVIRONMENT = "<environment_details>\n# Current Time\nnow\n</environment_details>"
READ = "[read_file for 'a.py'] Result:"


def messages(made: list[dict[str, Any]], dialect: str = "chat") -> tuple[Message, ...]:
    return StageBench().exchange(body(made), dialect=dialect).conversation.messages


def test_the_opening_ends_before_the_assistant() -> None:
    made = messages([{"role": "system", "content": "be good"}, user("go"), said("so"), user("on")])
    assert (ranges.opening(made), ranges.task(made)) == (2, 1)
    assert (ranges.opening(made[:2]), ranges.task(made[:1])) == (2, None)


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_no_cut_parts_a_call_from_its_result(dialect: str) -> None:
    step = [call(dialect, "c", "read", path="a"), result(dialect, "c", "words")]
    made = messages([user("go"), *step, said("so"), user("on"), *step, user("stop")], dialect)
    assert [*ranges.cuts(made)] == [1, 3, 4, 5, 7]
    assert [*ranges.cuts(made, 4)] == [4, 5, 7]
    assert [*ranges.cuts(messages([user("go"), step[0], step[0], step[1]], dialect))] == [1]


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        (["fix it"], ("fix it",)),
        ([text("fix it"), text(ENVIRONMENT)], ("fix it",)),
        ([f"fix it\n\n{ENVIRONMENT}"], ("fix it",)),
        ([text("<system-reminder>\nbe kind\n</system-reminder>"), text("go")], ("go",)),
        ([text(READ), text("print()"), text(ENVIRONMENT)], ()),
        ([f"{READ}\nprint()"], ()),
        ([text("[attempt_completion] Result:"), text("<feedback>\nno\n</feedback>")], ("<feedback>\nno\n</feedback>",)),
        (["[Condensed by trimtab: 3 messages]"], ()),
        ([ENVIRONMENT], ()),
    ],
)
def test_what_a_person_said(parts: list[Any], found: tuple[str, ...]) -> None:
    (message,) = messages([user(*parts)])
    assert ranges.said(message) == found


def test_results_and_the_assistant_are_no_words_of_the_user() -> None:
    step = [call("messages", "c", "read"), result("messages", "c", "words")]
    made = messages([user("go"), *step, said("so")], "messages")
    assert [ranges.said(message) for message in made] == [("go",), (), (), ()]
    assert ranges.last_word(made) == 0
    assert ranges.last_word(messages([user("go"), said("so"), user("on"), said("so")])) == 2
    assert ranges.last_word(messages([said("so")])) == 0


def test_what_was_shortened_before_it_came_is_seen_in_its_opening() -> None:
    ours = user(text("do it"), text(f"{ranges.MARK}: 4 messages of this conversation. What follows ...]"))
    assert ranges.condensed(messages([ours, user("and now that"), said("so")]))
    assert not ranges.condensed(messages([user("do it"), said("so"), ours]))
    assert not ranges.condensed(messages([user(f"what does {ranges.MARK} mean?"), said("so")]))
