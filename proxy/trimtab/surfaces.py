"""The endpoints that models are asked through: one per dialect and operation, all through the same pipeline."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from loguru import logger

from trimtab import compaction, headers
from trimtab.admission import MB, Seat
from trimtab.asgi import Receive, Scope, Send, Writer, read_body, turn_of
from trimtab.asking import Asker
from trimtab.blame import where
from trimtab.conversation import Conversation, Message
from trimtab.dialects.base import Dialect
from trimtab.errors import BadRequest, Cause, ProxyError
from trimtab.exchange import Exchange, Incoming, Operation
from trimtab.guard import breathe
from trimtab.http1_turn import Turn
from trimtab.measure import measure
from trimtab.pipeline import LARGE, Pipeline
from trimtab.runtime import Runtime
from trimtab.serving import Serving
from trimtab.values import more_signs, more_values
from trimtab.watch import ClientGone


class Surface:
    """An ASGI endpoint that takes requests of one dialect."""

    def __init__(self, runtime: Runtime, dialect: Dialect, operation: Operation) -> None:
        self._runtime = runtime
        self._asker = Asker(runtime)
        self._dialect = dialect
        self._operation: Operation = operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        incoming = incoming_of(scope)
        serve = self._runtime.config.serve
        identity = headers.request_id(incoming.headers) if serve.request_id else headers.request_id({})
        writer = Writer(send, identity, show_id=serve.request_id)
        try:
            target = len(scope["path"]) + len(scope["query_string"])
            self._runtime.door.check(scope["headers"], incoming.headers.get("host"), target)
            check_method(incoming, "POST")
            self._runtime.admit()
            await self._runtime.look()
            name = scope.get("path_params", {}).get("pipeline", "default")
            turn = turn_of(scope)
            with self._runtime.lease(name) as pipeline, self._runtime.room.seat() as seat:
                exchange = await self._read(pipeline, incoming, receive, identity, seat, turn)
                await Serving(self._runtime, pipeline, exchange, self._dialect, writer).run(receive, turn)
        except ClientGone:
            logger.info(
                "{} {} {}: the client left before its request was whole", identity, incoming.method, incoming.path
            )
        except ProxyError as error:
            self._runtime.counters.add(f"refused.{error.cause}")
            logger.info("{} {} {}: {}", identity, incoming.method, incoming.path, error.message)
            await writer.fail(error, self._dialect)
        except Exception as error:
            # A fault of ours: the client gets an error of its dialect, never a broken connection.
            logger.error("request {} failed: {}", identity, where(error))
            logger.opt(exception=error).debug("request {} failed", identity)
            await writer.fail(ProxyError("the proxy failed on this request; its log says why"), self._dialect)

    async def _read(
        self,
        pipeline: Pipeline,
        incoming: Incoming,
        receive: Receive,
        identity: str,
        seat: Seat,
        turn: Turn | None,
    ) -> Exchange:
        coding = incoming.headers.get("content-encoding", "identity")
        if coding.lower() != "identity":
            raise BadRequest(f"the body is packed ({coding[:40]}): send it without content-encoding")
        serve = self._runtime.config.serve
        declared = incoming.headers.get("content-length", "")
        most, seconds = serve.max_request_mb * MB, serve.body_timeout
        body = await read_body(receive, most, declared, take=seat.take, seconds=seconds, turn=turn)
        # What an earlier turn brought is neither counted nor read again.
        recent = self._runtime.messages.recent
        parting = self._dialect.parting(body, recent)
        news = body if parting is None else body[parting.end :]
        large = len(news) > LARGE or more_signs(news, min(MANY, serve.max_values))
        if large:
            await self._few(body, serve.max_values)
            await breathe()
            found = await asyncio.to_thread(self._dialect.cut, body, recent, parting)
            self._runtime.shapes.early(found.scanned)
        else:
            found = self._dialect.cut(body, recent, parting)
        conversation = self._dialect.parse(body, self._runtime.messages, found)
        if large or len(body) > STEP:
            await digested(conversation, self._runtime.shapes.look)
        self._runtime.shapes.check(conversation)
        if large:
            await breathe()
        exchange = Exchange(
            id=identity,
            operation=self._operation,
            incoming=incoming,
            conversation=conversation,
            pipeline=pipeline.name,
            resolve=pipeline.target,
            ask=self._asker.ask,
            large=large or len(body) > LARGE or _many(conversation),
        )
        compacts = self._dialect.compacts(conversation)
        exchange.compaction = compacts or compaction.requested(conversation, incoming.headers)
        if conversation.mended:
            exchange.notes.append(f"{conversation.mended} lone surrogates mended")
            exchange.headers["x-trimtab-mended"] = str(conversation.mended)
        return exchange

    async def _few(self, body: bytes, limit: int) -> None:
        """Raise BadRequest (413) for a body of too many values, before a parser takes them in one step."""
        if await asyncio.to_thread(more_values, body, limit):
            told = f"the body has more than {limit} values: send less, or raise serve.max-values"
            raise BadRequest(told, cause=Cause.TOO_LARGE)


def _many(conversation: Conversation) -> bool:
    """Whether to go through all messages, or to write the tools anew, takes long, however small they are."""
    return len(conversation.messages) > MANY_MESSAGES or len(conversation.tools) > MANY_TOOLS


MANY_MESSAGES, MANY_TOOLS = 2_000, 200
"""10 ms of translation each."""
MANY = 20_000
"""Commas and opening brackets from which on a request takes as long as one of LARGE bytes."""
STEP = 100_000
"""Bytes of new messages that are read at a time; then the loop is let go."""
OPENING = 2
"""Messages by which conversations are told apart, whose measure is therefore taken in any case."""


async def digested(conversation: Conversation, look: Callable[[Message], object] = lambda message: None) -> None:
    """Read what is new in a large body piece by piece, so that the stages find it read and nothing holds the loop."""
    at, _ = conversation.reached("digested", None)
    new = conversation.messages[at:]
    conversation.remember("digested", None, back=1)
    conversation.remember("digested", None)
    if sum([len(message.raw) for message in new]) <= STEP:
        return
    held = STEP
    for index, message in enumerate(new, at):
        if held + len(message.raw) > STEP:
            await breathe()
            held = 0
        held += len(message.raw)
        if len(message.raw) > STEP:
            # A thread holds the loop for one step of these at a time, 13 ms of each 20 MB, and for hashing not at all.
            await asyncio.to_thread(_read, message, look, measured=index < OPENING)
        else:
            _read(message, look)
    await breathe()


def _read(message: Message, look: Callable[[Message], object], *, measured: bool = False) -> None:
    with suppress(BadRequest):
        _ = message.blocks
    _ = message.digest
    look(message)
    if measured:
        measure(message)


def incoming_of(scope: Scope) -> Incoming:
    """The request line, headers and peer of an ASGI scope."""
    client = scope.get("client")
    return Incoming(
        method=scope["method"],
        path=scope["path"],
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=headers.incoming(scope["headers"]),
        peer=str(client[0]) if client else "",
    )


def check_method(incoming: Incoming, *allowed: str) -> None:
    """Raise BadRequest (405) for a method the path does not know, (426) for one that opens a WebSocket."""
    if incoming.method not in allowed:
        if incoming.method == "GET" and "sec-websocket-key" in incoming.headers:
            told = f"there are no WebSockets at {incoming.path}: send a {allowed[0]} over HTTP"
            raise BadRequest(told, cause=Cause.WEBSOCKET, headers={"upgrade": "HTTP/1.1"})
        told = f"{incoming.path} takes {' or '.join(allowed)}, not {incoming.method}"
        raise BadRequest(told, cause=Cause.METHOD, headers={"allow": ", ".join(allowed)})
