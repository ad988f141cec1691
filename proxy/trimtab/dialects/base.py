"""What a dialect can do, sans-I/O: bytes in, nouns and events out, and the way back."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import ClassVar, NamedTuple, Self

import msgspec

from trimtab.conversation import ARRAYS, Block, Conversation, DialectName, Head, Message, Tool
from trimtab.dialects.sse import parse
from trimtab.errors import BadRequest, ProxyError, UpstreamError
from trimtab.events import Event, Failed
from trimtab.memo import BIG, MessageTable
from trimtab.resume import Found, Parting, Recent
from trimtab.splice import Scanned, decode

Wanted = Callable[[type[Event]], bool]


class Rendered(NamedTuple):
    """An answer in a dialect's own form."""

    status: int
    headers: dict[str, str]
    body: bytes


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """A request of our own: one system text and one user turn, for `ask`."""

    system: str = ""
    content: tuple[Block, ...]
    max_tokens: int = 4096
    temperature: float | None = None


class Decoder(ABC):
    """Turns the frames of one upstream stream into events, in order.

    `wanted` says which types anybody asked for. Types nobody wants may be left out (the frame passes as bytes), yet
    `Started`, `Finished` and `Failed` are always decoded, since the core needs them.
    """

    complete: bool = False
    """Whether the upstream has ended its reply by its own words: only then may the client see an end."""
    closed: bool = False
    """Whether the frame just decoded was the upstream's last word; what follows it is not for the client."""

    word: str | None = None
    """The right word for the end, in the upstream's own dialect, where the upstream said another."""
    patient: bool = False
    """Whether `Finished` waits for the upstream's last word, so that usage told behind the finish is in it. Else it
    comes with the frame that finishes, and once more where a later frame tells another usage."""
    answers: int = 1
    """How many answers the client asked for (`n` of chat). Of several the one numbered 0 is read, and all must end."""

    @abstractmethod
    def decode(self, frame: bytes) -> Sequence[Event]:
        """The events of one whole SSE frame; none when nobody wants what it holds."""

    @abstractmethod
    def narrow(self, wanted: Wanted) -> None:
        """From here on leave out what nobody wants."""

    def finish(self) -> Sequence[Event]:
        """The events held back until the end of the stream."""
        return ()


class Encoder(ABC):
    """Turns events into the frames of one client stream, in order."""

    @abstractmethod
    def encode(self, events: Iterable[Event]) -> bytes:
        """The frames for some events; empty when they show nothing in this dialect."""

    def late(self, events: Iterable[Event]) -> bytes:
        """Frames that tell a usage only, for a stream whose end has left as it came; call it before `encode`."""
        return b""


class Dialect(ABC):
    """One of the three dialects: a stateless object; state of a stream lives in its decoder and encoder."""

    name: ClassVar[DialectName]
    arrays: ClassVar[tuple[str, ...]]
    """Members that are cut along their items; "?" marks one that may be a string."""
    reads: ClassVar[frozenset[str]]
    """Members whose meaning we use: to send one of them twice is an error."""
    opening: ClassVar[int] = 2
    """How many messages tell one conversation from another: by them the table of messages knows a session."""
    ping: ClassVar[bytes]
    """A frame that says nothing and keeps the connection alive."""

    def parting(self, body: bytes, recent: Recent) -> Parting | None:
        """Where a body parts from an earlier one that it goes on from."""
        return recent.parting(self.name, body, self.within)

    def cut(self, body: bytes, recent: Recent, parting: Parting | None) -> Found:
        """The first step of `parse`, which any thread may do beforehand. Raises BadRequest as it does."""
        found = recent.scan(self.name, body, self.arrays, self.within, parting)
        known = parting.shared if parting is not None and found.before is not None else 0
        return found._replace(roles=self._roles(found.scanned, known)) if len(body) > BIG else found

    def _roles(self, scanned: Scanned, known: int) -> dict[int, str]:
        """Who says each large message behind the first `known`: to read that takes a ms for each MB."""
        raws = scanned.items[self.within].raws if self.within in scanned.items else ()
        return {index: self._said_by(index, raw) for index, raw in enumerate(raws[known:], known) if len(raw) > BIG}

    def parse(self, body: bytes, table: MessageTable, found: Found | None = None) -> Conversation:
        """Read a request body. Raises BadRequest, naming the place, when it cannot be understood."""
        found = found or self.cut(body, table.recent, self.parting(body, table.recent))
        scanned = found.scanned
        self._refuse_repeats(scanned)
        self._refuse_bad_text(scanned)
        head = Head(scanned, notes=found.notes)
        model = head.get("model")
        if not isinstance(model, str) or not model:
            raise BadRequest("the member 'model' is missing or no string: name a model", param="model")
        run = table.run(self, tuple(self.said(scanned)), partial(self._message, roles=found.roles), self.opening)
        items = scanned.items.get(self.within)
        if items is not None:
            # What is kept of the body holds the bytes of the messages that are kept, not a second copy of them.
            scanned.items[self.within] = items._replace(raws=run.raws)
        tools, system = self._around(head)
        # What is refused pushes no session out.
        table.recent.keep(self.name, found, self.within)
        return Conversation(self.name, head, run.messages, system, tools, prefixes=run.prefixes)

    def _around(self, head: Head) -> tuple[tuple[Tool, ...], tuple[Block, ...]]:
        """The tools on offer and the system blocks."""
        known: tuple[tuple[Tool, ...], tuple[Block, ...]] | None = head.notes.get("around")
        if known is None:
            items = head.scanned.items.get("tools")
            tools = () if items is None else tuple([self.tool(raw) for raw in items.raws])
            known = head.notes["around"] = tools, self.system(head)
        return known

    @property
    def within(self) -> str:
        """The member that holds the messages."""
        return ARRAYS[self.name]

    def said(self, scanned: Scanned) -> Sequence[bytes]:
        """The messages of a body, each in its bytes. Raises BadRequest where there are none."""
        if self.within not in scanned.items:
            raise BadRequest(f"the member '{self.within}' is missing: send a list of messages", param=self.within)
        return scanned.items[self.within].raws

    def bound(self, conversation: Conversation) -> Self:
        """The dialect for the replies to one request; the same object where a reply does not repeat its request."""
        return self

    def compacts(self, conversation: Conversation) -> bool:
        """Whether a request asks the proxy itself for a summary of its conversation."""
        return False

    def _refuse_repeats(self, scanned: Scanned) -> None:
        for name in sorted(scanned.repeated & self.reads):
            raise BadRequest(f"the member '{name}' occurs twice: send it once", param=name)

    def _refuse_bad_text(self, scanned: Scanned) -> None:
        """New messages are checked one by one; here goes what stands around them."""
        span = scanned.members.get(self.within, (0, 0))
        for part in (scanned.raw[: span[0]], scanned.raw[span[1] :]):
            if not part.isascii():
                _check_utf8(part, "the body")

    def _message(self, index: int, raw: bytes, roles: Mapping[int, str] = {}) -> Message:  # never written
        role = roles.get(index) if roles else None
        return Message(self, self._said_by(index, raw) if role is None else role, raw)

    def _said_by(self, index: int, raw: bytes) -> str:
        place = f"{self.within}[{index}]"
        _check_utf8(raw, place)
        return self.role(raw, place)

    def role(self, raw: bytes, place: str) -> str:
        """Who says a message; BadRequest, naming `place`, where nobody does."""
        return str(decode(raw, _Roled, place).role)

    @abstractmethod
    def blocks(self, raw: bytes) -> tuple[Block, ...]:
        """The blocks of one message; unknown ones are Opaque. BadRequest when it has no readable form."""

    @abstractmethod
    def with_blocks(self, raw: bytes, blocks: Sequence[Block]) -> bytes:
        """The message `raw` with other blocks: blocks with `raw` bytes keep them, unknown members stay as they are."""

    @abstractmethod
    def system(self, head: Head) -> tuple[Block, ...]:
        """System blocks that stand outside the messages."""

    @abstractmethod
    def tool(self, raw: bytes) -> Tool:
        """A tool on offer."""

    @abstractmethod
    def compose(self, model: str, prompt: Prompt) -> bytes:
        """A non-streaming request body of our own."""

    @abstractmethod
    def decoder(self, wanted: Wanted) -> Decoder:
        """A decoder for one upstream stream."""

    @abstractmethod
    def encoder(self, model: str, *, usage: bool) -> Encoder:
        """An encoder for one client stream; `model` is the client's name for it, `usage` whether it asked for usage."""

    @abstractmethod
    def unfold(self, body: bytes) -> list[Event]:
        """The events of a non-streaming reply. Raises UpstreamError when it is none."""

    @abstractmethod
    def fold(self, events: Iterable[Event], model: str) -> bytes:
        """The non-streaming reply for a whole sequence of events."""

    @abstractmethod
    def patch(self, raw: bytes, before: Sequence[Event], after: Sequence[Event]) -> bytes | None:
        """A frame or body with changed events written into it, all else as it was; None when that cannot be."""

    def rename(self, raw: bytes, model: str) -> bytes:
        """An upstream's frame or reply body with the client's name for the model, where it names one."""
        return raw

    @abstractmethod
    def error(self, error: ProxyError, request_id: str) -> Rendered:
        """The answer for a failure before the first byte."""

    @abstractmethod
    def error_frame(self, error: ProxyError, request_id: str) -> bytes:
        """The frame for a failure inside a stream; no end of the stream follows it."""

    def tells(self, frame: bytes, failed: Failed) -> bool:
        """Whether a frame tells of a failure in this dialect's own form, so that a client understands it as it is."""
        error = UpstreamError(failed.message, cause=failed.cause, status=500, body=parse(frame).data or b"")
        return self.own_error(error) is not None

    @abstractmethod
    def own_error(self, error: ProxyError) -> bytes | None:
        """The upstream's own error body where it has this dialect's form, None otherwise."""

    @abstractmethod
    def count(self, tokens: int) -> bytes:
        """The answer to a request to count tokens."""


class _Roled(msgspec.Struct):
    role: str


def _check_utf8(part: bytes, place: str) -> None:
    if part.isascii():
        return
    try:
        part.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"{place} is not valid UTF-8 at its byte {error.start}: send UTF-8") from None
