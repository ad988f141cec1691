"""One request and its answer, without a connection."""

import asyncio
from typing import Any

import pytest

from fakewire import Line, settled
from trimtab.http1_turn import MOST, WAKE, Turn

pytestmark = pytest.mark.anyio


def turned(method: str = "POST", *, modern: bool = True, keep: bool = True, waits: bool = False) -> tuple[Line, Turn]:
    line = Line()
    return line, Turn(line, method, modern=modern, keep=keep, wants_word=waits)


def begin(*fields: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": fields}


def piece(data: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def test_a_body_that_is_there_is_one_message() -> None:
    _, turn = turned()
    turn.add(b"ab")
    turn.add(b"cd")
    turn.complete()
    assert await turn.receive() == {"type": "http.request", "body": b"abcd", "more_body": False}
    _, turn = turned()
    turn.complete()
    assert await turn.receive() == {"type": "http.request", "body": b"", "more_body": False}


async def test_the_app_is_woken_for_the_end_or_for_much() -> None:
    line, turn = turned()
    waiting = asyncio.create_task(turn.receive())
    await settled()
    turn.add(b"a")
    await settled()
    assert not waiting.done()
    turn.add(b"b" * WAKE)
    assert await waiting == {"type": "http.request", "body": b"a" + b"b" * WAKE, "more_body": True}
    turn.add(b"c")
    assert (await turn.receive())["body"] == b"c"
    turn.add(b"d" * MOST)
    assert line.heard == ["hold"]
    assert len((await turn.receive())["body"]) == MOST
    assert line.heard == ["hold", "go on"]


async def test_who_leaves_is_told_of() -> None:
    _, turn = turned()
    turn.add(b"half")
    turn.leave()
    assert await turn.receive() == {"type": "http.disconnect"}
    _, turn = turned()
    turn.complete()
    await turn.receive()
    waiting = asyncio.create_task(turn.receive())
    await settled()
    assert not waiting.done()
    turn.leave()
    assert await waiting == {"type": "http.disconnect"}


async def test_a_client_that_waits_for_a_word_gets_it_when_the_app_reads() -> None:
    line, turn = turned(waits=True)
    waiting = asyncio.create_task(turn.receive())
    await settled()
    assert line.written == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    turn.complete()
    await waiting
    # Not where an answer has begun.
    line, turn = turned(waits=True)
    await turn.send(begin())
    await turn.send(piece(b"x"))
    begun = len(line.written)
    waiting = asyncio.create_task(turn.receive())
    await settled()
    assert len(line.written) == begun
    turn.complete()
    await waiting
    # Not where the answer comes without its body, nor where that is there already.
    line, turn = turned(waits=True)
    await turn.send(begin((b"content-length", b"0"), status=413))
    await turn.send(piece(b"", more=False))
    assert line.heard == [False]
    line, turn = turned(waits=True)
    turn.complete()
    await turn.receive()
    assert line.written == []


async def test_an_answer_of_known_length_is_one_write() -> None:
    line, turn = turned()
    turn.complete()
    await turn.send(begin((b"content-length", b"5"), (b"x", b"y")))
    assert (line.written, turn.began) == ([], False)
    await turn.send(piece(b"hello", more=False))
    assert line.written == [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx: y\r\n\r\nhello"]
    assert line.heard == [True]
    assert turn.ended
    assert await turn.receive() == {"type": "http.request", "body": b"", "more_body": False}
    assert await turn.receive() == {"type": "http.disconnect"}


async def test_an_answer_of_unknown_length_is_chunked_where_that_is_known() -> None:
    for modern, head, body in (
        (True, b"transfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n3\r\nbcd\r\n0\r\n\r\n"),
        (False, b"connection: close\r\n\r\n", b"abcd"),
    ):
        line, turn = turned(modern=modern)
        turn.complete()
        await turn.send(begin())
        for message in (piece(b""), piece(b"a"), piece(b""), piece(b"bcd"), piece(b"", more=False)):
            await turn.send(message)
        assert b"".join(line.written) == b"HTTP/1.1 200 OK\r\n" + head + body
        assert line.heard == [modern]
    line, turn = turned()
    turn.complete()
    await turn.send(begin())
    await turn.send(piece(b"all", more=False))
    assert line.written[0].endswith(b"\r\n\r\n3\r\nall\r\n0\r\n\r\n")
    assert len(line.written) == 1


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_answers_without_a_body(method: str, status: int) -> None:
    line, turn = turned(method)
    turn.complete()
    await turn.send(begin((b"content-length", b"5"), status=status))
    await turn.send(piece(b"hello", more=False))
    (out,) = line.written
    assert out.endswith(b"content-length: 5\r\n\r\n")
    assert line.heard == [True]


async def test_a_connection_ends_where_the_app_the_client_or_the_server_says_so() -> None:
    for keep, stopping, fields in ((False, False, ()), (True, True, ()), (True, False, ((b"connection", b"close"),))):
        line, turn = turned(keep=keep)
        line.stopping = stopping
        turn.complete()
        await turn.send(begin((b"content-length", b"0"), *fields))
        await turn.send(piece(b"", more=False))
        assert line.written[0].lower().count(b"connection: close") == 1
        assert line.heard == [False]


@pytest.mark.parametrize(("first", "last"), [(0, 6), (2, 4), (2, 1)])
async def test_a_body_of_another_length_than_told_is_an_error(first: int, last: int) -> None:
    _, turn = turned()
    turn.complete()
    await turn.send(begin((b"content-length", b"5")))
    await turn.send(piece(b"x" * first))
    with pytest.raises(ValueError, match="content-length"):
        await turn.send(piece(b"x" * last, more=False))
    assert not turn.ended


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb: c", b"a\rb", b"a\0b"])
async def test_a_value_that_would_begin_another_header_is_an_error(value: bytes) -> None:
    for name, told in ((b"x", value), (value, b"x")):
        line, turn = turned()
        with pytest.raises(ValueError, match="line break or NUL"):
            await turn.send(begin((name, told)))
        assert line.written == []


async def test_what_comes_out_of_place_is_an_error_and_what_comes_too_late_is_let_go() -> None:
    _, turn = turned()
    with pytest.raises(ValueError, match="no place"):
        await turn.send(piece(b"x"))
    await turn.send(begin())
    with pytest.raises(ValueError, match="no place"):
        await turn.send(begin())
    line, turn = turned()
    turn.drop()
    await turn.send(begin())
    await turn.send(piece(b"x"))
    assert line.written == []
    line, turn = turned()
    line.closing = True
    await turn.send(begin())
    assert line.written == []


async def test_a_write_waits_for_a_slow_reader() -> None:
    line, turn = turned()
    line.full = asyncio.get_running_loop().create_future()
    await turn.send(begin())
    writing = asyncio.create_task(turn.send(piece(b"x")))
    await settled()
    assert not writing.done()
    line.full.set_result(None)
    await writing


async def test_who_asks_for_it_is_called_when_the_client_leaves() -> None:
    _, turn = turned()
    told: list[str] = []
    turn.watch(lambda: told.append("gone"))
    turn.leave()
    turn.leave()
    assert told == ["gone"]
    # One that asks later is told at once, one that has asked for no more never.
    turn.watch(lambda: told.append("late"))
    assert told == ["gone", "late"]
    _, turn = turned()
    turn.watch(lambda: told.append("never"))
    turn.watch(None)
    turn.drop()
    assert told == ["gone", "late"]
