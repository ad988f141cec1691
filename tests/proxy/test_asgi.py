"""Reading a body, writing an answer."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from fakewire import Line
from trimtab.asgi import APART, PER_TIME, Receive, Writer, extend, read_body, turn_of
from trimtab.dialects import DIALECTS
from trimtab.errors import BadRequest, Cause, Refused, UpstreamError
from trimtab.http1_turn import TURN, Turn
from trimtab.watch import ClientGone

CHAT, MESSAGES = DIALECTS["chat"], DIALECTS["messages"]
pytestmark = pytest.mark.anyio


class Client:
    """One end of an ASGI connection: the messages it sends, and those it got."""

    def __init__(self, *chunks: bytes, gone: bool = False) -> None:
        self.messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": chunk, "more_body": gone or number < len(chunks)}
            for number, chunk in enumerate(chunks, 1)
        ]
        if gone:
            self.messages.append({"type": "http.disconnect"})
        self.got: list[MutableMapping[str, Any]] = []

    @property
    def receive(self) -> Receive:
        async def receive() -> MutableMapping[str, Any]:
            return self.messages.pop(0)

        return receive

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.got.append(message)

    @property
    def head(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.got[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.got[1:])

    @property
    def kinds(self) -> list[tuple[str, bool | None]]:
        return [(message["type"].removeprefix("http.response."), message.get("more_body")) for message in self.got]


async def test_a_body_comes_in_pieces() -> None:
    assert await read_body(Client(b"ab", b"", b"cd").receive, 4) == b"abcd"
    assert await read_body(Client(b"abcd").receive, 4, "4") == b"abcd"


async def test_a_large_body_is_joined_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[Any] = []

    async def to_thread(work: Any, *arguments: Any) -> Any:
        threads.append(work)
        return work(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    half = b"x" * (APART // 2)
    assert await read_body(Client(half, half[1:]).receive, APART) == half + half[1:]
    assert threads == []
    assert await read_body(Client(half, half).receive, APART) == half + half
    assert len(threads) == 1


async def test_a_body_without_a_body() -> None:
    client = Client()
    client.messages = [{"type": "http.request"}]
    assert await read_body(client.receive, 4, "0") == b""


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    client = Client(b"ab", b"cd")
    with pytest.raises(BadRequest, match="larger than 1 MB") as caught:
        await read_body(client.receive, 1024 * 1024, str(1024 * 1024 + 1))
    assert (caught.value.cause, len(client.messages)) == (Cause.TOO_LARGE, 2)


async def test_a_body_is_cut_off_at_the_limit_whatever_it_said() -> None:
    client = Client(b"ab", b"cd", b"ef", b"gh")
    with pytest.raises(BadRequest) as caught:
        await read_body(client.receive, 5, "1")
    assert (caught.value.cause, len(client.messages)) == (Cause.TOO_LARGE, 1)


@pytest.mark.parametrize("declared", ["\u00b2", "-1", "x", "3, 3", "+9", "", "0003"])
async def test_a_length_that_is_no_number_says_nothing(declared: str) -> None:
    assert await read_body(Client(b"abc").receive, 4, declared) == b"abc"


async def test_a_length_of_any_size_is_a_number() -> None:
    with pytest.raises(BadRequest):
        await read_body(Client(b"abc").receive, 4, "9" * 5000)


async def test_a_client_that_leaves_while_it_sends() -> None:
    with pytest.raises(ClientGone):
        await read_body(Client(b"ab", gone=True).receive, 100)


async def test_a_whole_answer() -> None:
    client = Client()
    writer = Writer(client.send, "req_1")
    await writer.whole(201, {"content-type": "text/plain"}, b"hello")
    assert client.kinds == [("start", None), ("body", False)]
    assert client.head == {"x-request-id": "req_1", "content-type": "text/plain", "content-length": "5"}
    assert (client.got[0]["status"], client.body, writer.status, writer.ended) == (201, b"hello", 201, True)
    assert writer.began is not None


async def test_head_gets_the_length_and_no_body() -> None:
    client = Client()
    await Writer(client.send, "req_1", show_id=False).whole(200, {}, b"hello", head=True)
    assert (client.head, client.body) == ({"content-length": "5"}, b"")


async def test_a_stream_is_open_until_it_ends() -> None:
    client = Client()
    writer = Writer(client.send, "req_1")
    await writer.start(200, {})
    await writer.write(b"a")
    assert not writer.ended
    await writer.end(b"b")
    assert client.kinds == [("start", None), ("body", True), ("body", False)]
    assert (client.body, writer.ended) == (b"ab", True)


async def test_a_failure_before_the_answer_is_an_answer() -> None:
    client = Client()
    error = Refused("slow down", cause=Cause.RATE_LIMIT, headers={"retry-after": "7"})
    await Writer(client.send, "req_1").fail(error, MESSAGES, {"server-timing": "auth;dur=1"})
    rendered = MESSAGES.error(error, "req_1")
    assert (client.got[0]["status"], client.body) == (429, rendered.body)
    assert client.head.items() >= {"retry-after": "7", "server-timing": "auth;dur=1", "x-request-id": "req_1"}.items()
    assert client.head["content-length"] == str(len(rendered.body))


@pytest.mark.parametrize("dialect", [CHAT, MESSAGES])
async def test_a_failure_inside_the_answer_is_its_last_frame(dialect: Any) -> None:
    client = Client()
    writer = Writer(client.send, "req_1")
    error = UpstreamError("it broke off")
    await writer.start(200, {})
    await writer.write(b"a")
    await writer.fail(error, dialect, {"x-late": "1"})
    assert client.body == b"a" + dialect.error_frame(error, "req_1")
    assert client.kinds == [("start", None), ("body", True), ("body", False)]
    assert "x-late" not in client.head


async def test_a_failure_behind_the_answer_is_not_told() -> None:
    client = Client()
    writer = Writer(client.send, "req_1")
    await writer.whole(200, {}, b"done")
    await writer.fail(UpstreamError("late"), CHAT)
    assert client.body == b"done"


async def test_a_header_that_cannot_be_written_is_left_out() -> None:
    client = Client()
    writer = Writer(client.send, "req_1")
    await writer.whole(200, {"x-\u8239": "1", "bad name": "1", "x-good": "1"}, b"done")
    assert client.kinds == [("start", None), ("body", False)]
    assert client.head.keys() == {"x-request-id", "x-good", "content-length"}


async def test_a_body_that_does_not_come_in_time() -> None:
    async def never() -> MutableMapping[str, Any]:
        await asyncio.get_running_loop().create_future()
        return {}

    with pytest.raises(BadRequest, match="did not come within 0") as caught:
        await read_body(never, 4, seconds=0.01)
    assert (caught.value.cause, caught.value.headers) == (Cause.SLOW, {"connection": "close"})


async def test_a_large_body_has_more_time() -> None:
    pieces = [b"x" * PER_TIME, b"x" * PER_TIME, b""]
    moved: list[float] = []

    class Guard:
        def reschedule(self, when: float) -> None:
            moved.append(when)

    guard: Any = Guard()
    size = 0
    for piece in pieces:
        size += len(piece)
        extend(guard, 100.0, 5.0, size)
        extend(guard, 100.0, 0.0, size)
    assert moved == [110.0, 115.0, 115.0]


async def test_each_piece_is_told_before_the_next_is_read() -> None:
    told: list[int] = []
    client = Client(b"ab", b"", b"cd")

    def take(size: int) -> None:
        told.append(size)
        if size == 2 and len(told) > 1:
            raise BadRequest("full")

    with pytest.raises(BadRequest, match="full"):
        await read_body(client.receive, 9, take=take)
    assert told == [2, 0, 2]


def arrived(*pieces: bytes) -> Turn:
    turn = Turn(Line(), "POST", modern=True, keep=True, wants_word=False)
    for piece in pieces:
        turn.add(piece)
    turn.complete()
    return turn


async def test_a_body_that_came_with_its_head_is_taken_and_not_waited_for() -> None:
    taken: list[int] = []
    unread = Client().receive
    assert await read_body(unread, 4, take=taken.append, seconds=1.0, turn=arrived(b"ab", b"cd")) == b"abcd"
    assert taken == [4]
    with pytest.raises(BadRequest, match="larger"):
        await read_body(unread, 3, turn=arrived(b"abcd"))
    # Of one that is still coming the pieces are read.
    turn = Turn(Line(), "POST", modern=True, keep=True, wants_word=False)
    assert await read_body(Client(b"xy").receive, 4, turn=turn) == b"xy"


def test_a_turn_is_found_where_our_own_connection_gave_one() -> None:
    turn = arrived()
    assert turn_of({"extensions": {TURN: turn}}) is turn
    assert turn_of({"extensions": {}}) is turn_of({}) is turn_of({"extensions": None}) is None
