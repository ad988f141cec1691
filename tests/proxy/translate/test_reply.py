from trimtab.events import TextDelta, ToolStart
from trimtab.translate import OwnIds, Spelling, respelled
from trimtab.translate.names import squeezed

SPELLING = Spelling({"x_1": "x:1"}, {"ab_2": "a.b"})


def test_the_clients_names_come_back() -> None:
    events = [TextDelta("x_1"), ToolStart("x_1", "read"), ToolStart("new", "ab_2", 1)]
    assert respelled(events, SPELLING) == [TextDelta("x_1"), ToolStart("x:1", "read"), ToolStart("new", "a.b", 1)]


def test_others_pass_as_they_are() -> None:
    events = [TextDelta("x_1"), ToolStart("y", "read")]
    assert respelled(events, SPELLING) is events


def test_each_call_of_a_reply_has_an_id_of_its_own() -> None:
    made = iter("xyz")
    ids = OwnIds("chat", lambda: next(made))
    first = [TextDelta("a"), ToolStart("k", "read", 1)]
    assert ids.own(first) is first
    again = [ToolStart("k", "read", 2), ToolStart("", "read", 3), ToolStart("k", "read", 4), ToolStart("m", "read", 5)]
    assert [event.id for event in ids.own(again) if isinstance(event, ToolStart)] == ["call_x", "call_y", "call_z", "m"]
    odd = [ToolStart("functions.read:0", "read", 6)]
    assert ids.own(odd) is odd
    [plain] = OwnIds("messages").own(odd)
    assert isinstance(plain, ToolStart)
    assert plain.id == squeezed("functions.read:0")
    long = [ToolStart("i" * 90, "read", 7)]
    assert OwnIds("messages").own(long) is long
    text = [TextDelta("b")]
    assert ids.own(text) is text
