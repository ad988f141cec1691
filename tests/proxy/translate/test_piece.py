import msgspec

from translating import assistant, parsed, text, user
from trimtab.translate import Kind, pieces
from trimtab.translate.piece import Piece, cached, inside, joined, lost, members, unknown, word


def test_a_messages_pieces_are_made_once() -> None:
    message = parsed("messages", {"model": "m", "messages": [assistant(text("a"))]}).messages[0]
    made: list[int] = []

    def make(_: object) -> list[Piece]:
        made.append(1)
        return [Piece("assistant", Kind.TEXT, b"a")]

    said = cached(message, "responses", make)
    assert cached(message, "responses", make) is said
    assert (made, said.assistant, said.speaks, said.marked) == ([1], True, True, False)
    assert pieces(message, "chat") is pieces(message, "chat")


def test_a_message_is_summed_up() -> None:
    said = cached(
        parsed("chat", {"model": "m", "messages": [user("a")]}).messages[0],
        "messages",
        lambda _: [
            Piece("user", Kind.RESULT, b'""', id="x", said="y", mark=b"{}"),
            Piece("user", Kind.TEXT),
            lost("user", "é, thing"),
        ],
    )
    assert (said.calls, said.results, said.speaks, said.lost, said.marked) == ((), True, False, ("___thing",), True)


def test_insides_of_strings_can_be_joined() -> None:
    both = joined([inside('a"\n'), inside("é")])
    assert msgspec.json.decode(b'"' + both + b'"') == 'a"\n\n\né'
    assert joined([b"a"]) == b"a"


def test_members_that_say_nothing_are_not_missed() -> None:
    found = members(b'{"type":"x","a":null,"b":[],"c":{},"d":"","e":false,"f":1}')
    assert unknown(found, frozenset({"type"})) == ["f"]
    assert members(b'"text"') == {}


def test_a_name_is_fit_for_a_header() -> None:
    assert word("a,b c\r\né" + "x" * 99) == "a_b_c___" + "x" * 32
