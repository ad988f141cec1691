"""What is read as a request, and what is refused: nothing that h11 would read otherwise."""

import asyncio
import os
from typing import Any

import h11
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fakewire import Talk

pytestmark = pytest.mark.anyio

GET = b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\n"
BEHIND = b"GET /behind HTTP/1.1\r\nhost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n"
LIVES = (h11.DONE, h11.MIGHT_SWITCH_PROTOCOL)  # type: ignore[attr-defined]  # it is not in h11's __all__


def post(*fields: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nhost: a\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


REFUSED = {
    "both lengths": post(b"content-length: 4", b"transfer-encoding: chunked", body=b"0\r\n\r\n"),
    "both lengths, turned": post(b"transfer-encoding: chunked", b"content-length: 4", body=b"0\r\n\r\n"),
    "two lengths": post(b"content-length: 4", b"content-length: 5", body=b"abcde"),
    "a list of lengths": post(b"content-length: 4, 5", body=b"abcd"),
    "a signed length": post(b"content-length: +4", body=b"abcd"),
    "an empty length": post(b"content-length:"),
    "a length beyond all": post(b"content-length: 99999999999999999999999"),
    "a length in hex": post(b"content-length: 0x4", body=b"abcd"),
    "a blank before the colon": post(b"content-length : 4", body=b"abcd"),
    "a coding that is not known": post(b"transfer-encoding: xchunked", body=b"0\r\n\r\n"),
    "a coding before chunked": post(b"transfer-encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "a coding twice": post(b"transfer-encoding: chunked", b"transfer-encoding: chunked", body=b"0\r\n\r\n"),
    "a coding twice in one": post(b"transfer-encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "another coding before chunked": post(
        b"transfer-encoding: gzip", b"transfer-encoding: chunked", body=b"4\r\nabcd\r\n0\r\n\r\n"
    ),
    "identity before chunked": post(
        b"transfer-encoding: identity", b"transfer-encoding: chunked", body=b"4\r\nabcd\r\n0\r\n\r\n"
    ),
    "identity": post(b"transfer-encoding: identity", body=b"abcd"),
    "a coding behind a control": post(b"transfer-encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "a chunk size in 0x": CHUNKED + b"\r\n0x4\r\nabcd\r\n0\r\n\r\n",
    "a chunk size behind a blank": CHUNKED + b"\r\n 4\r\nabcd\r\n0\r\n\r\n",
    "a signed chunk size": CHUNKED + b"\r\n+4\r\nabcd\r\n0\r\n\r\n",
    "a chunk size that ends in LF": CHUNKED + b"\r\n4\nabcd\r\n0\r\n\r\n",
    "a chunk size beyond all": CHUNKED + b"\r\nfffffffffffffffff1\r\nabcd\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"\r\n4\r\nabcdX\r\n0\r\n\r\n",
    "no chunk size": CHUNKED + b"\r\n\r\nabcd\r\n0\r\n\r\n",
    "a bad trailer": CHUNKED + b"\r\n4\r\nabcd\r\n0\r\nx y: z\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    "a NUL in a value": b"GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
    "a CR in a value": b"GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n",
    "a name with a bracket": b"GET / HTTP/1.1\r\nhost: a\r\nx(y: b\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\nhost: a\r\n: b\r\n\r\n",
    "a line that goes on at once": b"GET / HTTP/1.1\r\n host: a\r\n\r\n",
    "bytes above ASCII in the target": b"GET /\xff HTTP/1.1\r\nhost: a\r\n\r\n",
    "a blank behind the version": b"GET / HTTP/1.1 \r\nhost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}
"""What h11 refuses too."""

STRICTER = {
    "lines that end in LF": b"GET / HTTP/1.1\nhost: a\n\n",
    "a value that goes on in the next line": b"GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n",
    "the same length twice": post(b"content-length: 4", b"content-length: 4", body=b"abcd"),
    "a chunk size before a blank": CHUNKED + b"\r\n4 \r\nabcd\r\n0\r\n\r\n",
    "a length behind chunks": CHUNKED + b"\r\n4\r\nabcd\r\n0\r\ncontent-length: 5\r\n\r\n",
    "a control in a value": b"GET / HTTP/1.1\r\nhost: a\r\nx: a\x01b\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nhost: a\r\n\r\n",
    "HTTP/0.9": b"GET / HTTP/0.9\r\nhost: a\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nhost: a\r\n\r\n",
    "a blank before a chunk's extension": CHUNKED + b"\r\n4 ;x=y\r\nabcd\r\n0\r\n\r\n",
}
"""What h11 lets pass and llhttp does not."""


def h11_reads(raw: bytes) -> tuple[list[tuple[str, str, bytes]], bool]:
    """The requests that h11 finds, and whether it refuses what comes behind them.

    It is spared blank lines before a request, which llhttp lets pass as RFC 9112 2.2 asks for.
    """
    found: list[tuple[str, str, bytes]] = []
    try:
        while (rest := raw.lstrip(b"\r\n")) and (read := _first(rest)) is not None:
            request, raw = read
            found.append(request)
    except h11.RemoteProtocolError:
        return found, True
    return found, False


def _first(raw: bytes) -> tuple[tuple[str, str, bytes], bytes] | None:
    """The first request and what stands behind it, which is nothing where its connection ends."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    method = target = ""
    body = b""
    while True:
        event: Any = connection.next_event()
        if isinstance(event, h11.Request):
            method, target = event.method.decode(), event.target.decode()
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            lives = method != "CONNECT" and connection.their_state in LIVES
            return (method, target, body), connection.trailing_data[0] if lives else b""
        else:
            return None


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
async def test_what_h11_refuses_is_refused_and_nothing_behind_it_is_read(raw: bytes) -> None:
    assert h11_reads(raw)[1] or b"content-length: 4\r\n" in raw or raw.startswith(CHUNKED)
    talk = await Talk().say(raw + BEHIND)
    assert talk.asked == []
    assert [status in (400, 501) for status in talk.answers] == [True]
    assert talk.wire.ended
    assert b"connection: close" in talk.wire.out


@pytest.mark.parametrize("raw", STRICTER.values(), ids=STRICTER)
async def test_more_is_refused_than_h11_refuses(raw: bytes) -> None:
    talk = await Talk().say(raw + BEHIND)
    assert (talk.asked, talk.answers) == ([], [400])


@pytest.mark.parametrize(
    "line",
    [b"GET / RTSP/1.0", b"OPTIONS * RTSP/1.1", b"DESCRIBE rtsp://a/b RTSP/1.0", b"SOURCE /x ICE/1.0", b"GET /", b"GET"],
)
async def test_what_is_no_http_is_refused_with_its_first_line(line: bytes) -> None:
    """llhttp reads these as if they were HTTP, or waits for the headers of HTTP/0.9, which has none."""
    talk = await Talk().say(line + b"\r\n")
    assert (talk.asked, talk.answers, talk.wire.ended) == ([], [400], True)
    talk = await Talk().say(b"\r\n" + GET)
    assert talk.answers == [200]


@pytest.mark.parametrize("method", [b"FOO", b"get", b"Post", b"M-X.y"])
async def test_a_method_that_nobody_knows_is_told_so(method: bytes) -> None:
    talk = await Talk().say(method + GET[3:] + BEHIND)
    assert (talk.asked, talk.answers) == ([], [501])
    assert b"models are asked with POST" in talk.wire.out
    # What stands behind another request is not looked at so closely.
    talk = await Talk().say(GET + method + GET[3:])
    assert talk.answers == [200, 400]


async def test_a_method_that_cannot_be_one_is_no_request() -> None:
    for line in (b"G(T / HTTP/1.1", b"F\xffO / HTTP/1.1", b"FOO  / HTTP/1.1", b"F" * 41 + b" / HTTP/1.1"):
        assert (await Talk().say(line + b"\r\nhost: a\r\n\r\n")).answers == [400]


async def test_bad_requests_in_pieces_are_refused_too() -> None:
    for raw in {**REFUSED, **STRICTER}.values():
        talk = await Talk().say(*(raw[at : at + 1] for at in range(len(raw))), BEHIND)
        assert talk.asked == []
        assert len(talk.answers) == 1


GOOD = [
    GET,
    post(b"content-length: 4", body=b"abcd"),
    post(b"transfer-encoding: chunked", body=b"4;x=y\r\nabcd\r\n0\r\nx: y\r\n\r\n"),
    post(b"content-length: 0"),
    b"HEAD /x?y=%20z HTTP/1.1\r\nhost: a\r\nx:  y \t\r\n\r\n",
    b"GET http://a/b HTTP/1.1\r\nhost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 30\r\n\r\n"
    + BEHIND[:30],
]


@st.composite
def traffic(draw: st.DrawFn) -> bytes:
    """Requests in a row, some bytes of them changed, lost or doubled."""
    raw = b"".join(draw(st.lists(st.sampled_from(GOOD), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw) - 1))
        piece = draw(st.sampled_from([b"", b"\r", b"\n", b" ", b"\r\n", b"0", b"\0", b":", b",", b"\xff", b"z", b"1"]))
        raw = raw[:at] + piece + raw[at + draw(st.integers(0, 2)) :]
        assume(raw)
    return raw


@settings(max_examples=int(os.environ.get("TRIMTAB_LAWS", "200")))
@given(raw=traffic())
def test_no_request_is_seen_that_h11_does_not_see(raw: bytes) -> None:
    # llhttp lets pass blank lines before a request, which RFC 9112 2.2 asks for, and more blanks between the parts of
    # its first line, as section 3 allows.
    assume(
        b"  " not in raw.replace(b"x:  y", b"") and not raw.startswith((b"\r", b"\n")) and b"\r\n\r\n\r\n" not in raw
    )

    async def ours() -> list[tuple[str, str, bytes]]:
        talk = await Talk().say(raw)
        targets = [b"?".join(filter(None, (scope["raw_path"], scope["query_string"]))) for scope in talk.scopes]
        return [(method, target.decode(), body) for (method, _, body), target in zip(talk.asked, targets, strict=False)]

    seen = asyncio.run(ours())
    assert seen == h11_reads(raw)[0][: len(seen)]


async def test_the_body_of_a_request_for_another_protocol_is_no_request() -> None:
    head = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: other\r\ncontent-length: %d\r\n\r\n"
    talk = await Talk().say(head % len(BEHIND) + BEHIND + GET)
    assert talk.asked == [("POST", "/", BEHIND), ("GET", "/1", b"")]
    assert b"upgrade" not in dict(talk.scopes[0]["headers"])


async def test_what_is_refused_behind_an_upgrade_that_is_ignored_is_answered() -> None:
    head = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: other\r\ncontent-length: 2\r\n\r\nab"
    talk = await Talk().say(head + post(b"transfer-encoding: hunked", body=b"0\r\n\r\n"))
    assert talk.asked == [("POST", "/", b"ab")]


async def test_an_upgrade_to_http2_is_handed_over_with_all_that_came() -> None:
    raw = GET[:-2] + b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAA\r\n\r\n"
    talk = await Talk().say(raw + b"PRI")
    assert talk.http.over.result() == raw + b"PRI"
    assert talk.asked == []
    # Behind another request it is one like others.
    talk = await Talk().say(GET + raw)
    assert len(talk.asked) == 2
    assert not talk.http.over.done()


async def test_a_tunnel_is_no_request_behind_which_another_is_read() -> None:
    talk = await Talk().say(b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n" + BEHIND)
    assert talk.asked == [("CONNECT", "a:1", b"")]
    assert talk.wire.closed
