"""Serves one exchange: the stages, the upstream, the way back, and an end that is always booked."""

import asyncio
from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from time import perf_counter

from loguru import logger

from trimtab import compacting, counted, extras, headers, late, replies, required
from trimtab.asgi import STREAM_HEADERS, Receive, Writer
from trimtab.attempts import Attempts, Reach
from trimtab.blame import freed, where
from trimtab.counting import count
from trimtab.dialects import DIALECTS
from trimtab.dialects.base import Dialect
from trimtab.errors import ProxyError, StageFailed, UpstreamError
from trimtab.events import Event
from trimtab.exchange import Exchange
from trimtab.facts import TokenCount
from trimtab.fitting import Fitting
from trimtab.guard import breathe
from trimtab.hookspecs import Reply
from trimtab.http1_turn import Turn
from trimtab.models import Target
from trimtab.outgoing import call_for, refusal, relieved
from trimtab.overflow import told
from trimtab.pipeline import Listener, Pipeline
from trimtab.policy import breaks_off, client_of
from trimtab.relay import Relay
from trimtab.rescue import Shown
from trimtab.runtime import Runtime
from trimtab.translate import Spelling, spelling
from trimtab.upstream import Call, Response
from trimtab.watch import ClientGone, Watch


class Serving:
    """One exchange from its parsed request to its booked end."""

    def __init__(
        self, runtime: Runtime, pipeline: Pipeline, exchange: Exchange, dialect: Dialect, writer: Writer
    ) -> None:
        self._runtime = runtime
        self._pipeline = pipeline
        self._exchange = exchange
        self._dialect = dialect.bound(exchange.received)
        self._writer = writer
        self._begun = perf_counter()
        self._waited = 0.0
        self._spelling: Spelling | None = None
        self._fitting: Fitting | None = None
        self._client = client_of(exchange.incoming.headers)
        self._shown = Shown(hold=runtime.config.retry.holds(self._client))
        self._sent_to: Target | None = None
        self._attempts: Attempts | None = None
        """Those under way: they lead back here, and what leads in a circle is left to the garbage collector."""

    async def run(self, receive: Receive, turn: Turn | None = None) -> None:
        """Answer the client; whatever happens, the done hooks run once."""
        try:
            async with self._watch(receive, turn) as watch:
                await self._answer(watch)
        except (ClientGone, OSError):
            # Upstream sockets raise UpstreamError: what is left is the client's own connection.
            self._exchange.outcome.client_gone = not self._writer.ended
        except ProxyError as error:
            await self._fail(error)
        except Exception as error:
            # A fault of ours: the client gets an error of its dialect, never a broken connection.
            logger.error("request {} failed: {}", self._exchange.id, where(error))
            logger.opt(exception=error).debug("request {} failed", self._exchange.id)
            detail = f" ({type(error).__name__}: {error})" if self._runtime.config.serve.debug else ""
            await self._fail(ProxyError(f"the proxy failed on this request; its log says why{detail}"))
        finally:
            self._book()

    def _watch(self, receive: Receive, turn: Turn | None) -> Watch:
        serve = self._runtime.config.serve
        ping = self._ping if self._exchange.received.stream and self._exchange.operation == "generate" else None
        return Watch(
            receive,
            first_ping=serve.first_ping,
            interval=serve.ping_interval,
            ping=ping,
            among=self._runtime.watches,
            left=None if turn is None else turn.watch,
        )

    async def _answer(self, watch: Watch) -> None:
        reply = await self._pipeline.request(self._exchange)
        if reply is None and self._dialect.compacts(self._exchange.received) and self._exchange.operation == "generate":
            reply = await compacting.compact(self._exchange)
        if reply is not None:
            await self._own(watch, reply)
            return
        target = self._exchange.target
        self._name_model(target)
        if self._exchange.operation == "count":
            body = self._dialect.count(
                await count(self._runtime, self._exchange, target, self._pipeline.provider(TokenCount))
            )
            await self._writer.whole(200, self._fields("application/json"), body)
        else:
            required.check(self._exchange, self._runtime.config.core.default_max_tokens)
            await self._ask(watch, target)

    async def _ask(self, watch: Watch, target: Target) -> None:
        """Ask the upstream; once more where it says that the prompt is too long and a stage makes it shorter."""
        attempts = self._attempts = Attempts(self._runtime, self._pipeline, self._exchange, self._reach)
        serve = partial(self._forward, watch)
        try:
            await attempts.run(watch, target, serve)
        except UpstreamError as error:
            # A stream that has opened and said nothing goes on with the second reply, as it does behind a fallback.
            told = None if self._reach().shown else late.told(error)
            if told is None or not await self._pipeline.again(self._exchange, told):
                raise
            self._runtime.counters.add("overflow_shortened")
            target = self._exchange.target
            self._name_model(target)
            await attempts.run(watch, target, serve)
        finally:
            self._attempts = None

    def _reach(self) -> Reach:
        """How much of an answer has reached the client; pings say nothing."""
        return Reach(self._writer.status is not None, self._shown.reached or self._writer.ended)

    def _name_model(self, target: Target) -> None:
        """Without a stage that writes it, the core writes the target's name of the model."""
        exchange = self._exchange
        if exchange.conversation.model != target.model.name:
            exchange.stage = "core"
            exchange.set_member("model", target.model.name, f"served by upstream '{target.upstream.name}'")

    async def _forward(self, watch: Watch, target: Target, key: str | None) -> None:
        self._name_model(target)
        required.fill(self._exchange, self._runtime.config.core.default_max_tokens)
        make = partial(call_for, self._runtime, self._exchange, target, keyed=(key,))
        large = self._exchange.large and target.dialect != self._exchange.dialect
        call = await asyncio.to_thread(make) if large else make()
        if target is not self._sent_to:
            self._sent_to = target
            self._runtime.economics.sending(self._exchange)
        self._exchange.outcome.sent_bytes = len(call.body)
        if self._exchange.large:
            await breathe()
        translated = target.dialect != self._exchange.dialect
        spelled = partial(spelling, self._exchange.conversation, target.dialect)
        self._spelling = (await asyncio.to_thread(spelled) if large else spelled()) if translated else None
        try:
            await self._send(watch, target, call)
        except UpstreamError as error:
            again = relieved(self._exchange, target, call, error)
            if again is None:
                raise
            await self._send(watch, target, again)

    async def _send(self, watch: Watch, target: Target, call: Call) -> None:
        asked = perf_counter()
        async with await self._runtime.forwarder.send(call) as response:
            self._waited = perf_counter() - asked
            await counted.told(self._exchange)
            if response.status >= 300:
                raise await refusal(call, response)
            if response.content_type == "text/event-stream":
                await self._stream(watch, target, response)
            else:
                await self._whole(watch, target, response)

    async def _stream(self, watch: Watch, target: Target, response: Response) -> None:
        """Pass a stream on piece by piece; nothing is held back but a piece of a frame."""
        upstream, extra = DIALECTS[target.dialect], self._runtime.config.core.extras
        if not self._exchange.received.stream:
            await self._fold(watch, target, response)
            return
        passing = Relay(
            self._exchange,
            self._listener(),
            upstream,
            self._dialect,
            annotated=extra,
            shown=self._shown,
            raises=partial(breaks_off, self._client),
        )
        outcome, begun = self._exchange.outcome, False
        while chunk := await response.chunk():
            outcome.received_bytes += len(chunk)
            out = passing.feed(chunk)
            if passing.ended:
                await self._end(watch, response, out)
                await response.drain()
                return
            if out:
                watch.hold()
                if not begun and self._attempts is not None:
                    self._attempts.answers()
                begun = True
                if self._writer.status is None or watch.pinging:
                    await self._open(watch, response)
                await self._writer.write(out)
                watch.touch()
            else:
                watch.heard()
        await self._end(watch, response, passing.finish())

    async def _open(self, watch: Watch, response: Response | None) -> None:
        """Send the head of a stream, unless it has gone out; wait for a ping that is under way."""
        if watch.pinging:
            await watch.settle()
        if self._writer.status is None:
            await self._writer.start(200, self._fields(None, response) | STREAM_HEADERS)

    async def _end(self, watch: Watch, response: Response | None, out: bytes) -> None:
        await self._open(watch, response)
        await self._writer.end(out)

    async def _fold(self, watch: Watch, target: Target, response: Response) -> None:
        """An upstream that streams although nobody asked: gather its events into one body."""
        replies.refuse_several(self._exchange)
        gathered = replies.gather(self._exchange, DIALECTS[target.dialect], await self._read(watch, response))
        events = self._passed(gathered)
        body = self._marked(self._dialect.fold(events, self._exchange.received.model), events)
        await self._writer.whole(200, self._fields("application/json", response), body)

    def _passed(self, events: Sequence[Event]) -> Sequence[Event]:
        """All events of a reply through the stages, with estimates where the upstream told no usage."""
        told = replies.settled(self._exchange, events)
        return self._listener()(extras.opened(self._exchange, told))

    def _marked(self, out: bytes, events: Sequence[Event]) -> bytes:
        """Frames or a body with what the proxy adds."""
        wanted = self._runtime.config.core.extras
        return extras.annotate(out, extras.added(self._exchange, events)) if wanted else out

    async def _whole(self, watch: Watch, target: Target, response: Response) -> None:
        body = await self._read(watch, response)
        upstream, listener = DIALECTS[target.dialect], self._listener()
        late.check(body, upstream)
        if self._exchange.received.stream:
            replies.refuse_several(self._exchange)
            replies.name_unshown(self._exchange, upstream.name, body)
            events: list[Event] = upstream.unfold(body)
            for event in events:
                replies.observe(self._exchange, event)
            await self._say(watch, self._passed(events), response)
            return
        extra = self._runtime.config.core.extras
        out = replies.whole(self._exchange, listener, upstream, self._dialect, body, annotated=extra)
        await self._writer.whole(200, self._fields("application/json", response), out)

    async def _read(self, watch: Watch, response: Response) -> bytes:
        body = await response.read(heard=watch.touch)
        self._exchange.outcome.received_bytes = len(body)
        return body

    async def _own(self, watch: Watch, reply: Reply) -> None:
        """An answer that a stage gave."""
        if reply.rendered is not None and self._writer.status is None:
            fields = self._fields(None) | reply.rendered.headers
            await self._writer.whole(reply.rendered.status, fields, reply.rendered.body)
            return
        if not replies.ends(reply.events):
            raise StageFailed(self._exchange.stage, "its Reply has no end: add Finished or Failed")
        for event in reply.events:
            replies.observe(self._exchange, event)
        events = self._listener()(reply.events)
        if self._exchange.received.stream:
            await self._say(watch, events, None)
        else:
            body = self._dialect.fold(events, self._exchange.received.model)
            await self._writer.whole(200, self._fields("application/json"), body)

    async def _say(self, watch: Watch, events: Sequence[Event], response: Response | None) -> None:
        """Events that are all there, as a stream."""
        model, usage = self._exchange.received.model, replies.wants_usage(self._exchange)
        if self._shown.begun:
            out = self._shown.again(self._dialect, model, usage=usage).encode(self._shown.follow(events))
        else:
            out = self._dialect.encoder(model, usage=usage).encode(events)
        await self._end(watch, response, self._marked(out, events))

    async def _ping(self) -> None:
        if self._writer.ended:
            return
        if self._writer.status is None:
            await self._writer.start(200, self._fields(None) | STREAM_HEADERS)
        await self._writer.write(self._dialect.ping)

    async def _fail(self, error: ProxyError) -> None:
        outcome = self._exchange.outcome
        outcome.error = error = told(self._exchange, error)
        passed = error.headers if isinstance(error, UpstreamError) else {}
        if self._writer.status and breaks_off(self._client, error):
            self._writer.break_off()
            return
        try:
            await self._writer.fail(error, self._dialect, {**passed, **self._fields(None)})
        except OSError:
            outcome.client_gone = True

    def _fields(self, content_type: str | None, response: Response | None = None) -> dict[str, str]:
        """Headers of an answer: the upstream's that a client acts on, the stages', what was dropped, and timings."""
        exchange = self._exchange
        fields = headers.to_client(response.headers) if response is not None else {}
        fields |= exchange.headers
        if content_type is not None:
            fields["content-type"] = content_type
        if exchange.dropped:
            fields["x-trimtab-dropped"] = ",".join(exchange.dropped)
        outcome = exchange.outcome
        waits = (("queue", outcome.queue_s), ("retry", outcome.backoff_s), ("upstream", self._waited))
        steps = exchange.timings + [step for step in waits if step[1]]
        told = [f"{label};dur={seconds * 1000:.2f}" for label, seconds in steps]
        if exchange.timings:
            label, seconds = max(exchange.timings, key=itemgetter(1))
            told.append(f'slowest;dur={seconds * 1000:.2f};desc="{label}"')
        fields["server-timing"] = ", ".join(told)
        return fields

    def _listener(self) -> Listener:
        if self._spelling is not None:
            schema = self._exchange.told_schema
            self._fitting = Fitting(schema) if schema is not None else None
            see = self._fitting.see if self._fitting is not None else None
            return replies.Respelling(self._pipeline, self._exchange, self._spelling, see)
        return self._pipeline.listener(self._exchange)

    def _book(self) -> None:
        """Complete the outcome, run the done hooks, and start what the stages left for later."""
        exchange, outcome, writer = self._exchange, self._exchange.outcome, self._writer
        outcome.status = writer.status
        outcome.total_s = perf_counter() - self._begun
        if writer.began is not None:
            outcome.first_byte_s = writer.began - self._begun
        counters = self._runtime.counters
        counters.add(f"requests.{exchange.dialect}.{exchange.operation}")
        if outcome.error is not None:
            counters.add(f"failed.{outcome.error.cause}")
        if outcome.client_gone:
            counters.add("client_gone")
        if self._fitting is not None and outcome.error is None:
            self._fitting.report(exchange, counters)
        self._runtime.economics.told(exchange)
        self._pipeline.done(exchange)
        for work in exchange.pending:
            self._runtime.later(work)
        if outcome.error is not None:
            freed(outcome.error)
