"""Requests over a pool without a session, as far as they need no socket; tests/wire/test_upstream.py does the rest."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from yarl import URL

from trimtab.upstream import straight

pytestmark = pytest.mark.anyio

URL_ = URL("http://up.test:81/v1/a%2Fb?k=%20", encoded=True)
LIMITS = aiohttp.ClientTimeout(total=None)


class Body:
    """An answer's body; `end` brings it to its end."""

    def on_eof(self, call: Any) -> None:
        self.end = call


class Pool:
    """A connector with one connection, whose answers are scripted, and of which is kept what befell it."""

    def __init__(self, *statuses: int, unsent: int = 0) -> None:
        self.written: list[bytes] = []
        self.fate = ""
        self.body: Any = Body()
        self._answers = [SimpleNamespace(code=status, headers={"a": "b"}) for status in statuses]
        self.transport: Any = SimpleNamespace(write=self.written.append, get_write_buffer_size=lambda: unsent)
        self.protocol: Any = SimpleNamespace(set_response_params=lambda **given: None, read=self._read)

    async def connect(self, request: aiohttp.ClientRequest, **given: Any) -> Any:
        assert (request.host, request.port) == ("up.test", 81)
        assert given == {"traces": [], "timeout": LIMITS}
        return self

    async def _read(self) -> Any:
        if not self._answers:
            raise aiohttp.ServerDisconnectedError
        return self._answers.pop(0), self.body

    def close(self) -> None:
        self.fate = "closed"

    def release(self) -> None:
        self.fate = "given back"


async def ask(pool: Any, headers: Mapping[str, str], body: bytes = b"{}") -> straight.Straight:
    way = straight.way("POST", URL_)
    assert way is not None
    return await straight.ask(pool, way, headers, body, LIMITS)


@pytest.mark.parametrize(
    "url", ["ftp://up.test", "http://name:word@up.test", "http://name@up.test", "/v1", "http:///a"]
)
async def test_what_is_left_to_the_session(url: str) -> None:
    assert straight.way("POST", URL(url, encoded=True)) is None


@pytest.mark.parametrize("size", [2, straight.JOINED, straight.JOINED + 1])
async def test_what_is_sent(size: int) -> None:
    pool = Pool(200)
    await ask(pool, {"x-api-key": "k", "x-title": "é"}, b"x" * size)
    head = "POST /v1/a%2Fb?k=%20 HTTP/1.1\r\nHost: up.test:81\r\nx-api-key: k\r\nx-title: é\r\n"
    assert b"".join(pool.written) == f"{head}content-length: {size}\r\n\r\n".encode() + b"x" * size
    assert len(pool.written) == (1 if size <= straight.JOINED else 2)


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "a\0b"])
@pytest.mark.parametrize("name", [False, True], ids=["value", "name"])
async def test_a_header_that_would_be_two_is_never_sent(value: str, *, name: bool) -> None:
    pool = Pool(200)
    with pytest.raises(ValueError, match="holds a line break or NUL"):
        await ask(pool, {value: "v"} if name else {"n": value})
    assert pool.written == []


async def test_what_is_said_before_the_answer_is_passed_over() -> None:
    pool = Pool(100, 103, 201)
    answer = await ask(pool, {})
    assert (answer.status, answer.headers, answer.content) == (201, {"a": "b"}, pool.body)


@pytest.mark.parametrize(("unsent", "fate"), [(0, "given back"), (1, "closed")])
async def test_a_connection_goes_back_unless_something_is_still_to_be_sent(unsent: int, fate: str) -> None:
    pool = Pool(200, unsent=unsent)
    answer = await ask(pool, {})
    assert pool.fate == ""
    pool.body.end()
    assert pool.fate == fate
    answer.release()
    assert pool.fate == fate


async def test_an_answer_that_is_closed_closes_its_connection() -> None:
    pool = Pool(200)
    (await ask(pool, {})).close()
    assert pool.fate == "closed"


async def test_a_connection_without_an_answer_is_closed() -> None:
    pool = Pool(100)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await ask(pool, {})
    assert pool.fate == "closed"


async def test_a_connection_that_is_gone_already_is_not_written_to() -> None:
    pool = Pool(200)
    pool.transport = None
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await ask(pool, {})
    assert pool.fate == "closed"
