from trimtab.events import TextDelta, ToolStart
from trimtab.translate import Spelling, respelled

SPELLING = Spelling({"x_1": "x:1"}, {"ab_2": "a.b"})


def test_the_clients_names_come_back() -> None:
    events = [TextDelta("x_1"), ToolStart("x_1", "read"), ToolStart("new", "ab_2", 1)]
    assert respelled(events, SPELLING) == [TextDelta("x_1"), ToolStart("x:1", "read"), ToolStart("new", "a.b", 1)]


def test_others_pass_as_they_are() -> None:
    events = [TextDelta("x_1"), ToolStart("y", "read")]
    assert respelled(events, SPELLING) is events
