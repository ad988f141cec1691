"""A session's client: plain blocking HTTP, as an agent's own library would do it."""

import json
from http.client import HTTPConnection, HTTPException, HTTPMessage
from time import perf_counter
from types import TracebackType
from typing import Any, NamedTuple, Self

from trimtab.dialects import DIALECTS
from trimtab.dialects.sse import Framer
from trimtab.errors import ProxyError
from trimtab.events import Event, Finished, Usage

from .session import Session

TIMEOUT = 30.0


class DemoFailed(Exception):
    """The demo cannot go on; the text says why."""


class Answer(NamedTuple):
    """A reply as an agent keeps it, with what it cost."""

    body: dict[str, Any]
    usage: Usage


class Turn(NamedTuple):
    """What one turn cost, and what the proxy's headers say of the window; nothing where no proxy answered."""

    usage: Usage
    ms: float
    """From sending to the last byte."""
    risk: str
    full: str


class Talk:
    """One session with one server, over a connection that stays open."""

    def __init__(self, session: Session, port: int) -> None:
        self._session = session
        self._port = port
        self._connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def turn(self) -> Turn:
        """Take one turn."""
        session, body = self._session, self._session.body()
        begun = perf_counter()
        raw, headers = self._ask(body)
        took = (perf_counter() - begun) * 1000
        answer = read(session.dialect, session.model, raw)
        session.answered(answer.body)
        return Turn(answer.usage, took, headers.get("x-context-risk", ""), headers.get("x-context-utilization", ""))

    def _ask(self, body: bytes) -> tuple[bytes, HTTPMessage]:
        fields = {"content-type": "application/json", "authorization": "Bearer demo"}
        place = f"http://127.0.0.1:{self._port}{self._session.path}"
        try:
            self._connection.request("POST", self._session.path, body, fields)
            response = self._connection.getresponse()
            raw = response.read()
        except (OSError, HTTPException) as error:
            raise DemoFailed(f"{place} did not answer: {str(error) or type(error).__name__}") from error
        if response.status != 200:
            raise DemoFailed(f"{place} answered {response.status}: {raw[:500].decode(errors='replace')}")
        return raw, response.headers


def read(dialect: str, model: str, stream: bytes) -> Answer:
    """A streamed reply as one body. Raises DemoFailed when it is not whole or tells no usage."""
    framer, decoder = Framer(), DIALECTS[dialect].decoder(lambda kind: True)
    try:
        events: list[Event] = [event for frame in framer.feed(stream) for event in decoder.decode(frame)]
        events += decoder.finish()
        body = json.loads(DIALECTS[dialect].fold(events, model))
    except ProxyError as error:
        raise DemoFailed(f"the reply was not whole: {error.message}") from error
    usage = next((event.usage for event in events if isinstance(event, Finished)), None)
    if usage is None or not decoder.complete:
        raise DemoFailed("the reply broke off or told no usage")
    return Answer(body, usage)
