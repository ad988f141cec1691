"""Sections that no later block says anew stay word for word, the newest first where there is no room."""

import pytest

from condensing import talk_of
from talks import said, user
from trimtab_stages.condense_events import events, retold, told

MODIFIED = "# Recently Modified Files\nsrc/a{0}.py"


def block(number: int) -> str:
    return (
        f"<environment_details>\n{MODIFIED.format(number)}\n\n# Current Time\n10:0{number}\n\n"
        "# Something New\nthe same\n</environment_details>"
    )


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_states_go_and_the_rest_stays_once(dialect: str) -> None:
    made = talk_of([user("go", block(0)), said("yes"), user("on", block(1)), said("yes"), user(block(2))], dialect)
    found = events(made, 1, len(made))
    assert found == [MODIFIED.format(1), MODIFIED.format(2), "# Something New\nthe same"]
    assert events(made, 1, 2) == []


def test_the_oldest_go_first_and_are_counted() -> None:
    sections = [MODIFIED.format(number) for number in range(4)]
    assert told([], 100) == ""
    assert retold(told(sections, 1_000)) == sections
    assert told(sections) == told(sections, 1_000)
    assert "left out" not in told(sections)
    short = told(sections, 2 * len(sections[0]))
    assert retold(short) == sections[2:]
    assert short.startswith("## The environment told (2 older sections left out for their size)\n")
    assert told(sections, -5) == "## The environment told (4 older sections left out for their size)"
    assert retold(told([sections[0], sections[1], sections[0]])) == [sections[1], sections[0]]
