"""Ids of replies."""

from trimtab.dialects.ids import fitting, token


def test_no_two_are_alike() -> None:
    assert len({token() for _ in range(100)}) == 100


def test_an_id_that_fits_stays() -> None:
    assert fitting("msg_1", "msg_", token) == "msg_1"
    assert fitting("chatcmpl-1", "msg_", lambda: "x") == "msg_x"
    assert fitting("", "msg_", lambda: "x") == "msg_x"
