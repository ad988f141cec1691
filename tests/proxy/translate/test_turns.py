from trimtab.translate.names import Ids
from trimtab.translate.piece import Call, Kind, Piece, Said, lost
from trimtab.translate.turns import Turn, answered, turns


def said(*pieces: Piece, assistant: bool = False) -> Said:
    return Said(pieces, assistant=assistant)


def words(text: str, role: str = "user") -> Piece:
    return Piece(role, Kind.TEXT, text.encode())


USER, EMPTY = said(words("u")), said(words(""), assistant=True)
CALLS = said(Piece("assistant", Kind.CALL, id="1", said="a"), assistant=True)


def test_what_one_side_says_is_one_turn() -> None:
    spoken = said(words("x"), assistant=True)
    found = turns([USER, USER, spoken, spoken, USER], {})
    assert [(turn.assistant, len(turn.said)) for turn in found] == [(False, 2), (True, 2), (False, 1)]


def test_an_empty_turn_of_the_assistant_goes_and_those_around_become_one() -> None:
    assert [len(turn.said) for turn in turns([USER, EMPTY, USER], {})] == [2]
    assert turns([EMPTY], {}) == []
    assert len(turns([EMPTY, USER, EMPTY], {})) == 1


def test_calls_at_the_end_get_a_turn_to_be_answered_in() -> None:
    assert [turn.assistant for turn in turns([USER, CALLS], {})] == [False, True, False]


def test_what_is_lost_is_told_once() -> None:
    dropped: dict[str, None] = {}
    turns([said(lost("user", "x"), lost("user", "y")), said(lost("user", "x"))], dropped)
    assert list(dropped) == ["x", "y"]


def test_results_stand_beside_their_calls() -> None:
    def result(id_: str, body: bytes) -> Piece:
        return Piece("user", Kind.RESULT, body, said=id_)

    asked = [Call("a", "1"), Call("b", "2"), Call("a", "3"), Call("c", "4")]
    turn = Turn([said(words("t"), result("b", b"B"), result("a", b"A1"), result("x", b"X"))], assistant=False)
    turn.said.append(said(result("a", b"A2"), result("b", b"B2"), lost("user", "z")))
    found = answered(turn, asked)
    bodies = [(id_, result and result.body) for id_, result in found.results]
    assert bodies == [("1", b"A1"), ("2", b"B2"), ("3", b"A2"), ("4", None)]
    assert [piece.body for piece in found.rest] == [b"t", b"X"]


def test_a_turn_keeps_how_it_was_joined_for_all_it_depended_on() -> None:
    turn, made = Turn([USER], assistant=False), []

    def make(dropped: dict[str, None]) -> list[bytes]:
        made.append(1)
        dropped["d"] = None
        return [b"x"]

    dropped: dict[str, None] = {}
    assert turn.kept(1, dropped) == ()
    assert turn.keep(1, dropped, make) == turn.kept(1, {}) == (b"x",)
    assert turn.kept(2, {}) == ()
    again: dict[str, None] = {}
    turn.kept(1, again)
    assert dropped == again == {"d": None}
    several = Turn([USER, CALLS], assistant=False)
    assert several.keep(1, {}, make) == (b"x",) == several.kept(1, {})
    assert Turn([USER, USER], assistant=False).kept(1, {}) == ()


def test_calls_of_a_turn_get_ids() -> None:
    ids = Ids()
    assert Turn([CALLS], assistant=True).calls(ids) == (Call("a", "1"),)
    assert [call.id == "1" for call in Turn([CALLS, CALLS], assistant=True).calls(ids)] == [False, False]
