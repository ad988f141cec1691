"""What happens at epochs before the frontier."""

import json

from trimtab.testing import StageBench
from trimtab_stages.env_blocks import ENVIRONMENT
from trimtab_stages.env_fold import TITLE, aged, folded
from trimtab_stages.env_policy import How
from trimtab_stages.env_turns import Going, going, read


def plan(*blocks: str, together: int = 1) -> list[Going]:
    """Of each block nothing goes; the first ones may come in one turn."""
    said = [{"role": "user", "content": f"<environment_details>\n{text}\n</environment_details>"} for text in blocks]
    answer = {"role": "assistant", "content": "ok"}
    pairs = [[one, answer] if number >= together else [one] for number, one in enumerate(said, 1)]
    body = {"model": "small", "messages": [message for pair in pairs for message in pair]}
    turns, _ = read(StageBench().exchange(json.dumps(body).encode()).received.messages, [ENVIRONMENT], "key")
    return [*going(turns, How(unchanged=False, older="none"), marked=False)]


TIMES = [f"# Current Time\n{n}\n\n# Recently Modified Files\n{n // 2}.py" for n in range(5)]


def test_the_last_copy_before_the_frontier_stays_and_events_do() -> None:
    found = aged(plan(*TIMES), 5)
    assert [sorted(going.gone) for going in found] == [[0], [0], [], [], []]


def test_a_state_of_which_an_older_copy_cannot_go_keeps_the_ones_between() -> None:
    assert [sorted(going.gone) for going in aged(plan(*TIMES), 99, {"Current Time"})] == [[]] * 5


def test_a_section_that_stands_twice_stays() -> None:
    twice = "# Current Time\n1\n\n# Current Time\n2"
    assert [going.gone for going in aged(plan(twice, *TIMES[:1]), 9)] == [frozenset(), frozenset()]


def test_a_section_that_stands_twice_in_a_turn_stays_in_both_of_its_messages() -> None:
    found = aged(plan("# Current Time\n1", "# Current Time\n2", *TIMES[:2], together=2), 99)
    assert [sorted(going.gone) for going in found] == [[], [], [0], []]


def test_events_before_the_frontier_come_together_each_text_once() -> None:
    found = folded(plan(*TIMES), 7)
    assert [sorted(going.gone) for going in found] == [[1], [1], [1], [1], []]
    assert [going.said for going in found] == [
        "", "", "", f"{TITLE}# Recently Modified Files\n0.py\n\n# Recently Modified Files\n1.py", "",
    ]  # fmt: skip


def test_one_block_with_events_is_left_alone() -> None:
    given = plan("# Current Time\n1", TIMES[0])
    assert folded(given, 9) == given
    assert folded(plan(*TIMES), 1)[0].said == ""


def test_a_block_in_which_a_state_is_kept_folds_nothing() -> None:
    """A header behind the output of a terminal may be a line of it, and may not come behind the state it names."""
    output = "# Actively Running Terminals\nok\n\n# Git Status\nmine"
    found = folded(plan(TIMES[0], output, TIMES[2]), 9)
    assert [sorted(going.gone) for going in found] == [[1], [], [1]]
    assert found[2].said == f"{TITLE}# Recently Modified Files\n0.py\n\n# Recently Modified Files\n1.py"
