"""What is done with an upstream's reply, streamed or whole: it is observed, settled, gathered and put into form."""

from collections.abc import Callable, Sequence

from trimtab import extras
from trimtab.conversation import Conversation, DialectName
from trimtab.dialects import stops
from trimtab.dialects.base import Dialect
from trimtab.dialects.sse import Framer
from trimtab.errors import LOST, Cause, UpstreamError
from trimtab.events import Event, Failed, Finished, Started, StopReason, ToolStart, Usage
from trimtab.exchange import Exchange
from trimtab.pipeline import Listener, Pipeline
from trimtab.stopwords import StopWords
from trimtab.translate import OwnIds, Spelling, respelled, unshown

_ENDS = (Finished, Failed)


def ends(events: Sequence[Event]) -> bool:
    """Whether a reply comes to its end in these events, a good one or a failure."""
    # A type written as a union would be made anew for each event.
    return any(isinstance(event, _ENDS) for event in events)


def names_another(events: Sequence[Event], model: str) -> bool | None:
    """Whether the upstream may call the model by another name than the client: Azure's first chunk names none."""
    return next((event.model != model for event in events if isinstance(event, Started)), None)


def refuse_silence(events: Sequence[Event], size: int) -> None:
    """Some upstreams take a prompt that is too long, and end at once: that is an overflow and no reply."""
    for event in events:
        if isinstance(event, Finished) and event.reason is StopReason.CONTEXT and not size:
            raise UpstreamError("the upstream's context window is exceeded", cause=Cause.OVERFLOW)


def settled(exchange: Exchange, events: Sequence[Event]) -> Sequence[Event]:
    """All events of a reply, cut at the client's stop words, with an estimate where the upstream told no usage.

    Raises UpstreamError where an end without a reply is an overflow.
    """
    size = sum(map(extras.size, events))
    refuse_silence(events, size)
    told = StopWords(exchange.stop_words)(events) if exchange.stop_words else events
    return extras.ended(exchange, told, size)


class Respelling(Listener):
    """Passes events on with the client's own names of calls and tools, where the upstream knows them by others.

    Each call of the reply has an id of its own.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        exchange: Exchange,
        spelling: Spelling,
        see: Callable[[Sequence[Event]], None] | None = None,
    ) -> None:
        """`see` is shown what the client gets."""
        super().__init__(pipeline, exchange)
        self._spelling = spelling
        self._ids = OwnIds(exchange.dialect)
        self._see = see

    def __call__(self, events: Sequence[Event]) -> Sequence[Event]:
        """The events as the stages pass them on, who see the client's names."""
        after = super().__call__(respelled(self._ids.own(events), self._spelling))
        if self._see is not None:
            self._see(after)
        return after


def wants_usage(exchange: Exchange) -> bool:
    """Whether a chat client asked for usage at the end of the stream."""
    return asks_for_usage(exchange.received)


def several(exchange: Exchange) -> int:
    """How many answers a chat client asked for, where that are several; 0 else."""
    wanted = exchange.received.head.get("n") if exchange.dialect == "chat" else None
    return wanted if isinstance(wanted, int) and wanted > 1 else 0


def refuse_several(exchange: Exchange) -> None:
    """Raise UpstreamError where several answers came in another form than asked for, in which one would be left."""
    if count := several(exchange):
        told = f"the upstream gave {count} answers in another form than asked for, streamed or whole: ask for one"
        raise UpstreamError(told, own=True)


def asks_for_usage(conversation: Conversation) -> bool:
    options = conversation.head.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def gather(exchange: Exchange, upstream: Dialect, body: bytes) -> list[Event]:
    """All events of a stream that came whole. Raises UpstreamError when it is not complete."""
    decoder, framer = upstream.decoder(lambda kind: True), Framer()
    decoder.patient = True
    frames = framer.feed(body)
    if framer.rest.strip():
        frames.append(framer.rest + b"\n\n")
    events = [event for frame in frames for event in decoder.decode(frame)]
    events += decoder.finish()
    for frame in frames:
        name_unshown(exchange, upstream.name, frame)
    for event in events:
        observe(exchange, event)
        if isinstance(event, Failed):
            raise UpstreamError(event.message, cause=event.cause)
    if not decoder.complete:
        raise UpstreamError(f"{LOST}: the upstream's stream broke off before its end")
    return events


def observe(exchange: Exchange, event: Event) -> None:
    """Book what an event of the upstream says about the outcome, before any stage can change it."""
    outcome = exchange.outcome
    if isinstance(event, Started):
        outcome.upstream_id = event.id or outcome.upstream_id
        outcome.usage = event.usage or outcome.usage
    elif isinstance(event, Finished):
        outcome.usage = _truer(event.usage, outcome.usage)
        outcome.reason = event.reason
    elif isinstance(event, Failed):
        outcome.error = UpstreamError(event.message, cause=event.cause)


def name_unshown(exchange: Exchange, upstream: DialectName, raw: bytes) -> None:
    """Report what of a body or a frame the client's dialect cannot show."""
    if upstream != exchange.dialect:
        for name in unshown(upstream, raw):
            exchange.drop(name)


def _truer(new: Usage | None, old: Usage | None) -> Usage | None:
    return old if new is None else new


def _word(client: Dialect, events: Sequence[Event]) -> str | None:
    """The right word for the end of a whole reply, where the upstream said another."""
    called, native = False, ""
    for event in events:
        if isinstance(event, ToolStart):
            called = True
        elif isinstance(event, Finished):
            native = event.native
    return stops.fitting(native, stops.CHAT if client.name == "chat" else stops.MESSAGES, called=called)


def whole(
    exchange: Exchange, listener: Listener, upstream: Dialect, client: Dialect, body: bytes, *, annotated: bool = False
) -> bytes:
    """The client's form of a reply that came whole. Raises UpstreamError when it is none."""
    events: Sequence[Event] = upstream.unfold(body)
    for event in events:
        observe(exchange, event)
    after = listener(settled(exchange, events))
    same = upstream.name == client.name
    name_unshown(exchange, upstream.name, body)
    if same and (word := _word(client, events)) is not None:
        body = stops.reworded(body, word)
    out = body if after is events and same else None
    if out is None and same:
        out = client.patch(body, events, after)
    if out is None:
        out = client.fold(after, exchange.received.model)
    elif names_another(events, exchange.received.model):
        out = client.rename(out, exchange.received.model)
    return extras.annotate(out, extras.added(exchange, after)) if annotated else out
