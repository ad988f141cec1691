"""HTTP/1.1 on one connection: requests in turn, limits, and ends."""

import asyncio
from typing import Any

import pytest

from fakewire import Talk, settled
from trimtab.http1 import LINGER, QUEUE
from trimtab.http1_turn import TURN

pytestmark = pytest.mark.anyio

GET = b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\n"
BEHIND = b"GET /behind HTTP/1.1\r\nhost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n"


def post(*fields: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nhost: a\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


async def test_requests_in_one_piece_are_answered_in_turn() -> None:
    talk = Talk()
    talk.go.clear()
    await talk.say(b"".join(GET.replace(b"/1 ", b"/%d " % number) for number in range(3)))
    assert [path for _, path, _ in talk.asked] == ["/0"]
    # Nothing more is read while others wait.
    assert talk.wire.heard == ["pause"]
    talk.go.set()
    await settled()
    assert [path for _, path, _ in talk.asked] == ["/0", "/1", "/2"]
    assert talk.answers == [200] * 3
    assert talk.wire.heard == ["pause", "resume"]


async def test_a_bad_request_behind_good_ones_is_told_behind_their_answers() -> None:
    talk = Talk()
    talk.go.clear()
    await talk.say(GET + post(b"content-length: 1", body=b"x") + b"nonsense\r\n\r\n" + BEHIND)
    assert talk.answers == []
    talk.go.set()
    await settled()
    assert talk.answers == [200, 200, 400]
    assert talk.wire.ended


async def test_no_more_requests_wait_than_a_connection_may_have() -> None:
    talk = Talk()
    talk.go.clear()
    await talk.say(GET * (QUEUE + 3))
    talk.go.set()
    await settled()
    assert talk.answers == [200] * (QUEUE + 1) + [503]


async def test_what_an_app_is_told() -> None:
    talk = await Talk(client=("1.2.3.4", 5), server=("::1", 6), scheme="https", root="/r", state={"a": 1}).say(
        b"GET /a%20b?c=%20 HTTP/1.1\r\nHOST: a\r\nX: y \r\n\r\n"
    )
    (scope,) = talk.scopes
    assert scope["headers"] == [(b"host", b"a"), (b"x", b"y")]
    assert {name: scope[name] for name in ("path", "raw_path", "query_string", "http_version", "method")} == {
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"c=%20",
        "http_version": "1.1",
        "method": "GET",
    }
    assert (scope["client"], scope["server"], scope["scheme"]) == (("1.2.3.4", 5), ("::1", 6), "https")
    assert (scope["root_path"], scope["state"]) == ("/r", {"a": 1})


async def test_a_connection_lives_on_only_where_its_client_lets_it() -> None:
    for fields, version, lives in (
        (b"", b"1.1", True),
        (b"connection: close\r\n", b"1.1", False),
        (b"", b"1.0", False),
        (b"connection: keep-alive\r\n", b"1.0", True),
        # RFC 9112 6.1: who sends chunks to HTTP/1.0 has passed on what it did not read.
        (b"connection: keep-alive\r\ntransfer-encoding: chunked\r\n", b"1.0", False),
    ):
        body = b"0\r\n\r\n" if b"chunked" in fields else b""
        talk = await Talk().say(b"POST / HTTP/%b\r\nhost: a\r\n%b\r\n%b" % (version, fields, body))
        assert talk.answers == [200]
        assert talk.wire.closed is not lives
        assert (b"connection: close" in talk.wire.out) is not lives
        assert talk.server.heard == (["works", "rests"] if lives else ["works"])


async def test_what_follows_the_last_request_is_let_go() -> None:
    talk = await Talk().say(GET[:-2] + b"connection: close\r\n\r\n" + BEHIND, BEHIND)
    assert (len(talk.asked), talk.answers, talk.wire.closed) == (1, [200], True)


async def test_the_last_request_of_a_connection_or_of_a_server_says_so() -> None:
    talk = await Talk(most_requests=2).say(GET, GET)
    assert talk.wire.closed
    assert talk.wire.out.count(b"connection: close") == 1
    talk = Talk()
    talk.server.stopping = True
    await talk.say(GET)
    assert talk.wire.closed
    assert b"connection: close" in talk.wire.out


async def test_heads_and_framing_without_end_are_refused() -> None:
    talk = await Talk(head_limit=100).say(GET[:-2], b"x: " + b"y" * 50, b"y" * 50)
    assert talk.answers == [431]
    # A whole one is for the app to refuse; what came with a body before it does not count.
    large = GET[:-2] + b"x: " + b"y" * 500 + b"\r\n\r\n"
    assert (await Talk(head_limit=100).say(large)).answers == [200]
    assert (
        await Talk(head_limit=100).say(post(b"content-length: 500", body=b"x" * 500) + GET[:9], GET[9:])
    ).answers == [200] * 2
    # A chunk's extension and trailers give nothing to anybody.
    talk = await Talk(head_limit=100).say(CHUNKED + b"\r\n", b"1;" + b"x" * 60, b"x" * 60)
    assert (talk.asked, talk.answers) == ([], [431])
    talk = await Talk(head_limit=100).say(CHUNKED + b"\r\n", *[b"1\r\nx\r\n"] * 50, b"0\r\n\r\n")
    assert talk.asked == [("POST", "/", b"x" * 50)]
    talk = await Talk(head_limit=100).say(*[b"\r\n"] * 60)
    assert talk.answers == [431]


async def test_the_rest_of_a_refused_body_is_let_go_before_the_connection_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    timers: list[tuple[float, Any]] = []
    talk = Talk(head_limit=100)
    monkeypatch.setattr(talk.http._loop, "call_later", lambda *told: timers.append(told), raising=False)
    await talk.say(CHUNKED + b"\r\nzzz\r\n")
    assert (talk.answers, talk.wire.heard) == ([400], ["eof"])
    await talk.say(BEHIND)
    assert talk.asked == []
    ((seconds, close),) = timers
    assert seconds == LINGER
    close()
    assert talk.wire.heard == ["eof", "close"]


async def test_a_client_that_leaves_ends_what_it_asked_for() -> None:
    talk = await Talk().say(post(b"content-length: 4", body=b"ab"))
    talk.http.connection_lost(None)
    await settled()
    assert (talk.asked, talk.answers) == ([], [])
    assert talk.http.over.result() == b""
    await talk.http.finished()
    assert not (await Talk().say(GET)).http.eof_received()


async def test_a_client_that_says_its_last_in_a_body_is_told_and_behind_it_is_gone() -> None:
    talk = await Talk().say(post(b"content-length: 4", body=b"ab"))
    assert talk.http.eof_received()
    await settled()
    assert (talk.asked, talk.answers) == ([], [400])
    assert b"before it was whole" in talk.wire.out
    # What it had asked for is ended, since agents do not half close; nobody is told of a failure that is none.
    talk = Talk()

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    talk.http._app = waits
    await talk.say(GET)
    assert talk.http.eof_received()
    await settled()
    assert (talk.answers, talk.wire.closed) == ([], True)


async def test_a_client_that_is_gone_when_its_connection_is_to_end_is_no_error(
    monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    talk = Talk()

    def gone() -> None:
        raise OSError(107, "Transport endpoint is not connected")

    monkeypatch.setattr(talk.wire, "write_eof", gone)
    await talk.say(CHUNKED + b"\r\nzzz\r\n")
    assert (talk.answers, talk.wire.heard, logged) == ([400], ["close"], [])


async def test_what_an_app_does_behind_its_answer_is_told_of_the_clients_end_too() -> None:
    for ends in ("connection_lost", "eof_received"):
        told: list[str] = []

        async def lingers(scope: Any, receive: Any, send: Any, told: list[str] = told) -> None:
            scope["extensions"][TURN].watch(lambda: told.append("gone"))
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        talk = Talk()
        talk.http._app = lingers
        await talk.say(GET)
        assert (talk.answers, told) == ([204], [])
        getattr(talk.http, ends)(*[None] * (ends == "connection_lost"))
        assert told == ["gone"]


async def test_what_runs_can_be_cancelled() -> None:
    talk = Talk()
    talk.go.clear()
    await talk.say(GET)
    await talk.http.finished(cancel=True)
    assert talk.answers == [500]


async def test_an_app_that_fails_is_told_of_and_costs_the_connection(logged: list[str]) -> None:
    talk = Talk()

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/2":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        raise KeyError("secret")

    talk.http._app = fails
    await talk.say(GET + BEHIND)
    assert talk.answers == [500]
    assert talk.wire.ended
    assert logged[0].startswith("a request failed: KeyError")
    assert "secret" not in logged[0]
    talk = Talk()
    talk.http._app = fails
    await talk.say(GET.replace(b"/1 ", b"/2 "))
    assert talk.answers == [200]
    assert talk.wire.closed
    assert not talk.wire.out.endswith(b"0\r\n\r\n")


async def test_the_time_of_a_head_begins_with_its_first_byte() -> None:
    talk = await Talk(head_seconds=1000.0).say(GET, GET[:5])
    timer = talk.http._timer
    assert timer is not None
    await talk.say(GET[5:9])
    # It is not begun anew.
    assert talk.http._timer is timer
    talk.http._late()
    assert talk.answers == [200, 408]
    talk = await Talk(head_seconds=1000.0).say(GET[:5], GET[5:])
    assert (talk.http._timer, talk.answers) == (None, [200])


async def test_a_slow_reader_is_waited_for() -> None:
    talk = Talk()
    talk.go.clear()
    await talk.say(GET)
    talk.http.pause_writing()
    talk.go.set()
    running = asyncio.create_task(talk.http.finished())
    await settled()
    assert not running.done()
    talk.http.resume_writing()
    await asyncio.wait_for(running, 5)


async def test_what_a_client_asks_and_does_not_fetch_is_not_made() -> None:
    talk = Talk()
    talk.http.pause_writing()
    await talk.say(GET * 3)
    assert (talk.asked, talk.wire.heard) == ([], ["pause"])
    # What is wrong behind them is told behind their answers.
    await talk.say(b"nonsense\r\n\r\n")
    assert talk.answers == []
    for number in (1, 2):
        talk.http.resume_writing()
        talk.http.pause_writing()
        await settled()
        assert talk.answers == [200] * number
    assert talk.server.heard == ["works"]
    talk.http.resume_writing()
    await settled()
    assert talk.answers == [200, 200, 200, 400]
    assert talk.wire.ended


async def test_a_client_that_does_not_read_and_leaves_has_no_more_made() -> None:
    talk = Talk()
    talk.http.pause_writing()
    await talk.say(GET * 3)
    talk.http.connection_lost(None)
    await settled()
    assert talk.asked == []
    assert talk.http.over.result() == b""
