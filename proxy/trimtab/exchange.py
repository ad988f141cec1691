"""One request and its reply, as the stages see it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from trimtab.conversation import ARRAYS, Conversation, DialectName, Message
from trimtab.errors import Missing, ProxyError, StageFailed
from trimtab.events import StopReason, Usage
from trimtab.facts import Fact
from trimtab.models import Target

if TYPE_CHECKING:
    from trimtab.dialects.base import Prompt

F = TypeVar("F", bound=Fact)

Operation = Literal["generate", "count", "inspect"]
"""`generate` asks a model for a reply, `count` for the size of the prompt, `inspect` for what the proxy knows."""


class Incoming(msgspec.Struct, frozen=True):
    """The HTTP request as it came; header names are lower case. It holds keys: never log it."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = {}
    peer: str = ""
    """The client's address, empty when unknown."""

    def __repr__(self) -> str:
        return f"Incoming({self.method} {self.path})"


class Edit(msgspec.Struct, frozen=True):
    """One entry of the ledger: which stage changed what, and why."""

    stage: str
    reason: str
    index: int | None = None
    """The message's index at that moment, None for a member of the head."""
    member: str | None = None
    before: Message | bytes | None = None
    after: Message | bytes | None = None


class Outcome(msgspec.Struct, kw_only=True):
    """How the exchange ended; complete when `done` runs."""

    status: int | None = None
    """The HTTP status the client got, None when it left before one."""
    streamed: bool = False
    usage: Usage | None = None
    predicted: int | None = None
    """Tokens of the prompt that the provider should have in its cache; None in a conversation's first request."""
    reason: StopReason | None = None
    upstream_id: str | None = None
    error: ProxyError | None = None
    client_gone: bool = False
    sent_bytes: int = 0
    """Bytes of the body sent upstream."""
    received_bytes: int = 0
    upstream: str | None = None
    """Where the last attempt went, None when none was made."""
    attempts: int = 0
    """Requests sent upstream for this one."""
    backoff_s: float = 0.0
    """Seconds waited between attempts."""
    queue_s: float = 0.0
    """Seconds waited for a place at an upstream."""
    retried: list[str] = []
    """The class of each failure that was followed by another attempt."""
    first_byte_s: float | None = None
    """Seconds from the request's arrival to the first byte for the client."""
    total_s: float = 0.0


class Answer(msgspec.Struct, frozen=True):
    """What `ask` brings back."""

    text: str
    usage: Usage | None
    stop: StopReason | None = None
    """Why the model ended; LENGTH is a text that was cut."""


class Exchange:
    """A request on its way: what it says, where it goes, what was changed, and how it ended."""

    def __init__(
        self,
        *,
        id: str,
        operation: Operation,
        incoming: Incoming,
        conversation: Conversation,
        pipeline: str = "default",
        resolve: "Callable[[Exchange], Target]",
        ask: "Callable[[Exchange, str, Prompt, float], Awaitable[Answer]] | None" = None,
        large: bool = False,
    ) -> None:
        self.large = large
        """Whether the request takes steps so long that others are let through between them; set by the core."""
        self.id = id
        self.operation: Operation = operation
        self.incoming = incoming
        self.pipeline = pipeline
        self.conversation = conversation
        self.received = conversation
        """The conversation as the client sent it."""
        self.dialect: DialectName = conversation.dialect
        """The dialect the client speaks."""
        self.edits: list[Edit] = []
        self.dropped: list[str] = []
        """Names of what could not be passed on; the client reads them in `x-trimtab-dropped`."""
        self.stop_words: tuple[str, ...] = ()
        """The client's stop words that the upstream was not told: the core cuts the reply at them."""
        self.told_schema: Any = None
        """The client's schema for the reply's JSON, where the upstream was told it in words only: the core looks."""
        self.sent: bytes | None = None
        """The body as it left, translated or not; None before that."""
        self.first_sent: bytes | None = None
        """The body that left first, which the client's `idempotency-key` stands for; None before that."""
        self.notes: list[str] = []
        """Sentences for the log: what was mended, skipped or undone."""
        self.timings: list[tuple[str, float]] = []
        """Seconds per stage, in the order they ran."""
        self.headers: dict[str, str] = {}
        """Headers for the client's answer."""
        self.outcome = Outcome(streamed=conversation.stream)
        self.compaction = False
        """Whether this is the client's own request to summarise; such a request is never edited."""
        self.vendor = ""
        """The host of its first target, which its key belongs to; set by the core when a key is first asked for."""
        self.skipped: frozenset[str] = frozenset()
        """Labels of the stages that are left out of it, since they failed again and again."""
        self.stage = ""
        """The stage at work; set by the pipeline."""
        self.pending: list[Callable[[], Awaitable[None]]] = []
        self._facts: dict[type[Fact], Fact] = {}
        self._resolve = resolve
        self._ask = ask
        self._target: tuple[Conversation, Target] | None = None
        self._asking = False
        self._asked_for: set[type[Fact]] = set()
        """The facts that the target was found by; `Fact` stands for all of them."""
        self._aimed: Target | None = None
        self._lasting: tuple[dict[type[Fact], Fact], dict[str, str], list[Callable[[], Awaitable[None]]]]
        self._lasting = ({}, {}, [])

    @property
    def target(self) -> Target:
        """Where the conversation would go as it stands; asked anew when it changed, or a fact about it."""
        if self._aimed is not None:
            return self._aimed
        known = self._target
        if known is not None and known[0] is self.conversation:
            return known[1]
        self._asking = True
        self._asked_for.clear()
        try:
            target = self._resolve(self)
        finally:
            self._asking = False
        self._target = (self.conversation, target)
        return target

    @property
    def text_target(self) -> Target:
        """Where text goes under the model name the client wrote: without its messages, edits and facts, hence always
        the same."""
        bare = Exchange(
            id=self.id,
            operation=self.operation,
            incoming=self.incoming,
            conversation=msgspec.structs.replace(self.received, messages=(), prefixes=()),
            pipeline=self.pipeline,
            resolve=self._resolve,
        )
        return bare.target

    def last(self, since: tuple[Any, ...] | None = None) -> None:
        """Keep facts, headers and work that came up since a snapshot, or all there are, for when the chain runs again
        for another target."""
        _, facts, headers, (*_, pending) = since or (None, {}, {}, (0, 0, 0, 0))
        kept_facts, kept_headers, kept_work = self._lasting
        kept_facts |= {kind: fact for kind, fact in self._facts.items() if facts.get(kind) is not fact}
        kept_headers |= {name: value for name, value in self.headers.items() if headers.get(name) != value}
        kept_work += self.pending[pending:]

    def aim(self, target: Target) -> Callable[[], None]:
        """Begin anew toward a fixed target: the request as it came, with what is kept. Returns what undoes that."""
        before = dict(vars(self))
        facts, headers, work = self._lasting
        self.conversation, self.sent, self._aimed = self.received, None, target
        self.edits, self.dropped = [], []
        self._facts, self.headers, self.pending = dict(facts), dict(headers), list(work)
        return lambda: vars(self).update(before)

    def put(self, fact: Fact) -> None:
        """Tell later stages and the core something; replaces a fact of the same class."""
        self._facts[type(fact)] = fact
        if type(fact) in self._asked_for or Fact in self._asked_for:
            self._target = None

    def get(self, kind: type[F]) -> F | None:
        """The fact of a class, None when nobody put one."""
        if self._asking:
            self._asked_for.add(kind)
        return self._facts.get(kind)  # type: ignore[return-value]  # `put` files a fact under its own class

    def need(self, kind: type[F]) -> F:
        """The fact of a class that the chain promises (`needs`). Raises Missing when nobody put it."""
        fact = self.get(kind)
        if fact is None:
            raise Missing(self.stage, f"nobody put a {kind.__name__}")
        return fact

    def edit(self, index: int, message: Message | None, reason: str) -> bool:
        """Replace the message at `index`, or remove it (None). False when this request may not be edited."""
        if self.compaction:
            return False
        before = self.conversation.messages[index]
        index %= len(self.conversation.messages)
        self.conversation = self.conversation.with_message(index, message)
        self.edits.append(Edit(self.stage, reason, index=index, before=before, after=message))
        return True

    def edit_all(self, changes: Mapping[int, Message | None], reason: str) -> bool:
        """Replace, or remove, many messages at once; indexes are those before any of it. False as in `edit`."""
        if self.compaction or not changes:
            return False
        messages = list(self.conversation.messages)
        # From the end on, so that each entry's index is the one at its moment.
        for index, message in sorted(changes.items(), reverse=True):
            self.edits.append(Edit(self.stage, reason, index=index, before=messages[index], after=message))
            messages[index : index + 1] = () if message is None else (message,)
        self.conversation = self.conversation.with_messages(messages)
        return True

    def set_member(self, name: str, value: Any, reason: str) -> None:
        """Set a member of the request's head, or remove it (None); splices that one member.

        A value that stands there already, in whatever spelling, stays as it is.
        """
        if name == ARRAYS[self.dialect]:
            raise ValueError("messages are changed one by one: use edit()")
        raw = None if value is None else msgspec.json.encode(value)
        head = self.conversation.head
        before = head.raw(name)
        if raw == before or (raw and before and raw == msgspec.json.encode(head.get(name))):
            return
        self.conversation = self.conversation.with_member(name, raw)
        self.edits.append(Edit(self.stage, reason, member=name, before=before, after=raw))

    def drop(self, name: str) -> None:
        """Report that something the client sent does not reach the upstream."""
        if str(name) not in self.dropped:
            self.dropped.append(str(name))

    def later(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` after the reply has gone, at lowest priority; cancelled at shutdown."""
        self.pending.append(work)

    async def ask(self, model: str, prompt: "Prompt", *, seconds: float = 30.0) -> Answer:
        """Ask a model within `seconds`, with no stages around it and the exchange's own key.

        Raises UpstreamError, UpstreamTimeout when no answer came in time.
        """
        if self._ask is None:
            raise StageFailed(self.stage, "no model can be asked here")
        return await self._ask(self, model, prompt, seconds)

    def facts(self) -> dict[type[Fact], Fact]:
        """All facts by class, as a copy."""
        if self._asking:
            self._asked_for.add(Fact)
        return dict(self._facts)

    def snapshot(self) -> tuple[Any, ...]:
        """The state a stage can change, so that the pipeline can undo it."""
        lists = (len(self.edits), len(self.dropped), len(self.notes), len(self.pending))
        return self.conversation, dict(self._facts), dict(self.headers), lists

    def restore(self, saved: tuple[Any, ...]) -> None:
        """Undo everything since `snapshot`."""
        self.conversation, self._facts, self.headers, lists = saved
        self._target = None
        edits, dropped, notes, pending = lists
        del self.edits[edits:], self.dropped[dropped:], self.notes[notes:], self.pending[pending:]
