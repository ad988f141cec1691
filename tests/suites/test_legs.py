"""The verdicts of the suites."""

import sys
from collections import Counter

import pytest

from suites.legs import counted
from suites.servers import Ended, step
from suites.steady import Told, judged


@pytest.mark.parametrize(
    ("last", "numbers"),
    [
        ("125 passed in 5.55s", (125, 0)),
        ("20 failed, 60 passed, 190 deselected in 12.03s", (60, 20)),
        ("3 passed, 1 error in 2s", (3, 1)),
        ("ended after 300 s", (0, 0)),
    ],
)
def test_numbers_are_those_of_the_last_line(last: str, numbers: tuple[int, int]) -> None:
    assert counted(Ended(0, f"1 passed\n{last}\n", 1.0)) == numbers


def test_a_step_is_ended_after_its_time_with_its_children() -> None:
    waits = "import threading; threading.Event().wait()"
    ended = step(
        "hangs", [sys.executable, "-c", f"import subprocess; subprocess.run([{sys.executable!r}, '-c', {waits!r}])"], 1
    )
    assert (ended.code, ended.out) == (124, "\nended after 1 s\n")


FAULT = ("/v1/messages body", "Unknown property: speed")


@pytest.mark.parametrize(
    ("told", "known", "good"),
    [
        (Told(3, 0, Counter()), Counter(), True),
        (Told(3, 1, Counter({FAULT: 1})), Counter({FAULT: 1}), True),
        (Told(3, 2, Counter({FAULT: 2})), Counter({FAULT: 1}), False),
        (Told(3, 1, Counter({FAULT: 1})), Counter(), False),
        (Told(0, 0, Counter()), Counter(), False),
    ],
)
def test_only_faults_of_the_client_itself_are_let_pass(told: Told, known: Counter[tuple[str, str]], good: bool) -> None:
    assert judged("a leg", told, known).good is good
