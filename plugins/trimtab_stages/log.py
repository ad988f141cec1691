"""One structured line per exchange, and whole bodies in a file of their own where one is named.

It stands last in the chain. The hooks of a reply run in the reverse order, so it hears the upstream's own events, with
the true usage, before `scale` changes them. Keys never appear: the headers of a request are not looked at.
"""

import asyncio
from typing import Any

from loguru import logger

from trimtab.api import (
    BlockStop,
    ConfigError,
    Credentials,
    Event,
    Exchange,
    Fact,
    Failed,
    Finished,
    ProxyError,
    Services,
    Stage,
    StageOptions,
    Started,
    Target,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    ToolStart,
    UpstreamError,
    hookimpl,
)
from trimtab_stages.log_bodies import Bodies, Body, UpstreamLog
from trimtab_stages.log_lines import Detail, Line, fields_of, severity, take, text_of
from trimtab_stages.log_writer import Writer

ALL: frozenset[type[Event]] = frozenset(
    (Started, TextDelta, ThinkingDelta, ToolStart, ToolDelta, BlockStop, Finished, Failed)
)
LINE_BYTES = 2048
"""What a waiting line is taken to hold, with the objects it is made of."""
EVENT_BYTES = 160


class LogOptions(StageOptions, frozen=True, kw_only=True):
    """Options of the log."""

    level: str = "INFO"
    """The least severe lines written."""
    detail: Detail = "balanced"
    """How much a line tells."""
    timings: bool = False
    """Whether every line tells the time of each stage."""
    slow_ms: float = 1000
    """Milliseconds in the stages from which a line is a warning, with the time of each stage; 0 is never."""
    error_ms: float = 5000
    """Milliseconds in the stages from which a line is an error; 0 is never."""
    upstream: UpstreamLog = UpstreamLog()
    """The log of whole bodies."""

    def __post_init__(self) -> None:
        try:
            logger.level(self.level.upper())
        except ValueError:
            raise ValueError(f"level '{self.level}' is none of loguru's: try INFO, WARNING or ERROR") from None
        if min(self.slow_ms, self.error_ms) < 0:
            raise ValueError("slow-ms and error-ms must be 0 (never) or more")


class Heard(Fact, frozen=True):
    """The events of one reply so far."""

    events: list[Event]


class Log(Stage[LogOptions]):
    """Takes what a line needs when an exchange is over; a thread formats and writes it."""

    name = "log"
    Options = LogOptions
    optional = True
    operations = frozenset({"generate", "count", "inspect"})

    def __init__(self, options: LogOptions, label: str | None = None) -> None:
        super().__init__(options, label)
        self._least = logger.level(options.level.upper()).no
        self._numbers = {name: logger.level(name).no for name in ("INFO", "WARNING", "ERROR")}
        self._services: Services | None = None
        self._writer: Writer | None = None
        self._bodies: Bodies | None = None
        if options.upstream.file is not None:
            # Events are decoded for this stage only where bodies are written, which the class cannot know.
            vars(self)["wants"] = ALL

    @hookimpl
    async def start(self, services: Services) -> None:
        """Open the upstream log, if one is named, and start the thread."""
        upstream, clock = self.options.upstream, services.clock
        if upstream.file is not None and not upstream.file.strip():
            raise ConfigError("log.upstream.file is empty: name a file or delete the option")
        bodies = None if upstream.file is None else Bodies(upstream, clock)
        if services.dry:
            if bodies is not None:
                bodies.check()
            return
        self._services = services
        if bodies is None:
            self._writer = Writer(self._write, clock)
        else:
            bodies.open()
            self._bodies = bodies
            chore = bodies.cleanup if upstream.cleanup_hours and upstream.rotate else None
            self._writer = Writer(self._write, clock, chore=chore, every=upstream.cleanup_hours * 3600)
        self._writer.start()

    @hookimpl
    def event(self, exchange: Exchange, event: Event) -> tuple[Event, ...]:
        """Keep an event for the upstream log; only called where that is switched on."""
        heard = exchange.get(Heard)
        if heard is None:
            heard = Heard(events=[])
            exchange.put(heard)
        heard.events.append(event)
        return (event,)

    @hookimpl
    def done(self, exchange: Exchange) -> None:
        """Hand the line, and the bodies, to the thread."""
        if self._writer is None:
            return
        credentials = exchange.get(Credentials)
        target = _target(exchange)
        line = take(exchange, "anonymous" if credentials is None else credentials.client, target)
        self._put(self._writer, line, LINE_BYTES)
        if self._bodies is not None and exchange.outcome.sent_bytes:
            self._put_bodies(self._writer, exchange, target)

    def _put(self, writer: Writer, record: Line | Body, size: int) -> None:
        if not writer.put(record, size) and self._services is not None:
            self._services.counters.add("log_dropped")

    def _put_bodies(self, writer: Writer, exchange: Exchange, target: Target | None) -> None:
        """The conversation goes as it is, frozen; to render it is work for the thread."""
        outcome, heard = exchange.outcome, exchange.get(Heard)
        if self.options.upstream.received and exchange.received is not exchange.conversation:
            came = self._body(exchange, None, "received", exchange.received)
            self._put(writer, came, len(exchange.received.head.scanned.raw))
        sent = self._body(exchange, target, "request", exchange.conversation)
        self._put(writer, sent, max(outcome.sent_bytes, len(exchange.conversation.head.scanned.raw)))
        left = exchange.sent
        # In the client's own dialect that is the conversation, but for a second try that left something out.
        apart = target is not None and (target.dialect != exchange.dialect or left is not exchange.first_sent)
        if target is not None and apart and left is not None:
            self._put(writer, self._body(exchange, target, "sent", left, target.dialect), len(left))
        if heard is not None:
            size = outcome.received_bytes + EVENT_BYTES * len(heard.events)
            self._put(writer, self._body(exchange, target, "reply", heard.events), size)
        elif isinstance(outcome.error, UpstreamError) and outcome.error.body is not None:
            refusal = outcome.error.body
            self._put(writer, self._body(exchange, target, "reply", refusal), len(refusal))

    def _body(
        self, exchange: Exchange, target: Target | None, direction: str, content: Any, dialect: str | None = None
    ) -> Body:
        return Body(
            time=0.0 if self._services is None else self._services.clock.now(),
            id=exchange.id,
            direction=direction,
            upstream=None if target is None else target.upstream.name,
            model=None if target is None else target.model.name,
            dialect=dialect or exchange.conversation.dialect,
            content=content,
        )

    def _write(self, record: Line | Body) -> None:
        """Write one record; runs in the thread."""
        if isinstance(record, Line):
            self._write_line(record)
        elif self._bodies is not None:
            self._bodies.write(record)

    def _write_line(self, line: Line) -> None:
        options = self.options
        spent = line.stages_ms
        level = severity(line, spent, options.slow_ms, options.error_ms)
        if self._numbers[level] < self._least:
            return
        slow = 0 < options.slow_ms <= spent or 0 < options.error_ms <= spent
        fields = fields_of(line, options.detail, timings=options.timings or slow)
        logger.bind(exchange=fields).log(level, text_of(fields))

    @hookimpl
    async def stop(self) -> None:
        """Write what is left and close; waits in a thread, since a disk may be slow."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.stop()
            self._writer = None
        if self._bodies is not None:
            self._bodies.close()
            self._bodies = None


def _target(exchange: Exchange) -> Target | None:
    """Where the request went; None when it went nowhere, since asking for a target may then fail."""
    if not exchange.outcome.sent_bytes:
        return None
    try:
        return exchange.target
    except ProxyError:
        return None
