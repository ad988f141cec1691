"""A new copy of a result becomes a reference to the first one."""

import pytest

from condensing import talk_of
from talks import call, result, user
from trimtab_stages.condense_repeats import repeats

LONG = "some words of a file\n" * 40


def talk(dialect: str, *contents: str) -> list[dict[str, object]]:
    made = [user("go")]
    for number, content in enumerate(contents):
        made += [call(dialect, f"c{number}", "read", path=f"src/{number}.py"), result(dialect, f"c{number}", content)]
    return made


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_only_the_new_copy_changes(dialect: str) -> None:
    found = repeats(talk_of(talk(dialect, LONG, "other" * 99, LONG, LONG), dialect), 0)
    assert sorted(found) == [6, 8]
    line = b"[Same result as of the earlier call read src/0.py, 41 lines: unchanged since.]"
    assert all(line in message.raw for message in found.values())


def test_a_longer_session_has_the_same_references() -> None:
    made = talk("chat", LONG, LONG, "other " * 99, LONG, "other " * 99)
    before: dict[int, bytes] = {}
    for end in range(1, len(made) + 1):
        found = {index: message.raw for index, message in repeats(talk_of(made[:end]), 0).items()}
        assert {index: found[index] for index in before} == before
        before = found
    assert sorted(before) == [4, 8, 10]


def test_short_results_and_what_stands_before_the_frontier_are_left_alone() -> None:
    assert repeats(talk_of(talk("chat", "ok", "ok")), 0) == {}
    assert sorted(repeats(talk_of(talk("chat", LONG, LONG, LONG)), 3)) == [6]


def test_a_second_pass_changes_nothing() -> None:
    made = talk_of(talk("chat", LONG, LONG, LONG))
    after = [repeats(made, 0).get(index, message) for index, message in enumerate(made)]
    assert repeats(after, 0) == {}


def test_a_copy_of_what_the_task_holds_refers_to_it_behind_every_frontier() -> None:
    """The task stays when turns go; a second pass finds it there."""
    made = [user(f"[read_file for 'a.py'] Result:\n{LONG}"), *talk("chat", "other", LONG, LONG)[1:]]
    line = b"[Same result as of the earlier call read_file a.py, 41 lines: unchanged since.]"
    for start, changed in ((0, [4, 6]), (5, [6])):
        found = repeats(talk_of(made), start)
        assert sorted(found) == changed
        assert all(line in message.raw for message in found.values())
    assert sorted(repeats(talk_of([*made[:1], *made]), 5)) == [5, 7]
