"""Reminders of agents in texts."""

import re

from hypothesis import given
from hypothesis import strategies as st

from trimtab_stages.reminders import reminders, without_reminders

REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
TEXTS = st.lists(st.sampled_from(["<system-reminder>", "</system-reminder>", "a\n", "<", "reminder>", "é"])).map(
    "".join
)


@given(TEXTS)
def test_they_are_what_the_expression_finds(text: str) -> None:
    assert reminders(text) == REMINDER.findall(text)
    assert without_reminders(text) == REMINDER.sub("", text)


def test_one_without_an_end_is_text() -> None:
    text = "a<system-reminder>b</system-reminder>c<system-reminder>d"
    assert reminders(text) == ["<system-reminder>b</system-reminder>"]
    assert without_reminders(text) == "ac<system-reminder>d"
