"""Epoch records: how edits that reach far back into a conversation stay the same from turn to turn.

An edit of old messages costs the provider's cache, so it is decided rarely and then kept (design.md, promise 2). A
conversation, as its client sent it, has boundaries: one after each `step` bytes. The first request past a boundary
decides what holds from there on (an edit, or none) and writes that down, before anything leaves. Every later request
finds the record by the hash of the messages before the boundary, and does the same, whatever its clock, its prices or
its worker. Records are written once and never changed. Who loses the race obeys the winner. A store that lost its
records costs one new decision per conversation, and no error.
"""

import asyncio
import hashlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, islice, repeat
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from trimtab.conversation import Message
from trimtab.exchange import Exchange
from trimtab.facts import Credentials
from trimtab.layout import Layout, layout

if TYPE_CHECKING:
    from trimtab.interfaces import Counters, Store

KIND = "epoch"
"""The kind under which the store keeps records."""
REMEMBERED = 8192
"""Records kept in memory, of about 300 bytes each; the rest is read from the store when it is needed."""

TOGETHER = 16
"""Records that the store is asked for at once."""


class Epoch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record: what holds for a conversation from a boundary on."""

    form: str = ""
    """Which form the edit has, in the words of its stage; empty where the stage declined to edit."""
    messages: int = 0
    """The frontier: how many messages, as the client sent them, the edit reaches over. A stage that declines keeps
    the frontier of the epoch before, if there was one."""
    size: int = 0
    """The frontier in bytes, as `Boundary.size` counts them."""
    texts: tuple[str, ...] = ()
    """Keys, in the store, of the texts that the edit uses."""
    forced: bool = False
    """Whether the request would not have fitted without it."""


class Boundary(msgspec.Struct, frozen=True):
    """A place in a conversation at which a stage decides."""

    messages: int
    """It stands before this message of `exchange.received`; a safe place to cut."""
    size: int
    """Bytes of the messages before it: in the shortest spelling, without cache marks, an image as the tokens of its
    formula times four."""
    at: int
    """The multiple of `step` it comes from; `size` is at most this."""
    prefix: bytes
    """SHA-256 of the messages before it."""
    key: bytes
    """The key of its record."""
    owner: "Owner"
    """Whose boundary it is."""
    step: int = 0
    """Bytes from one boundary to the next; 0 where the stage chose the place itself."""


class Owner(NamedTuple):
    """Whose records are meant."""

    stage: str
    """The stage's name, and what of its edits is meant where it makes several."""
    options: bytes
    """The `fingerprint` of those options that shape bytes."""
    forced: bool = False
    """Whether the edit is made because the request would not fit without it: such records stand apart."""


class Epochs:
    """The records of all conversations; one for a process, found at `services.epochs`."""

    def __init__(self, store: "Store", counters: "Counters") -> None:
        self._store = store
        self._counters = counters
        self._known: OrderedDict[tuple[str, bytes], Epoch] = OrderedDict()
        self._measured: WeakKeyDictionary[Exchange, _Sizes] = WeakKeyDictionary()

    def _sizes(self, exchange: Exchange) -> "_Sizes":
        """The sizes of a request's messages, worked out once for all places that are asked about."""
        found = self._measured.get(exchange)
        if found is None or not found.of(exchange):
            found = self._measured[exchange] = _Sizes(exchange)
        return found

    def at(self, exchange: Exchange, owner: Owner, *, step: int, start: int = 0) -> Boundary | None:
        """The newest boundary of a conversation: at floor((C - start) / step) * step, snapped down to a safe place.

        C is the size of what stands before the last turn of `exchange.received`, since clients still change that
        turn. `step` and `start` are bytes. The target is `exchange.target` as it stands. None where the conversation
        has no boundary yet, or is the client's own request to summarise. Raises ValueError for a step of less than one
        byte.
        """
        if step < 1 or start < 0:
            raise ValueError(f"an epoch needs a step of 1 byte or more and a start of 0 or more, not {step}, {start}")
        if exchange.compaction:
            return None
        sizes = self._sizes(exchange)
        return sizes.boundary(owner, (sizes.total - start) // step * step, step)

    def earlier(self, exchange: Exchange, boundary: Boundary) -> Boundary | None:
        """The boundary before one that `at` gave, None before the first: its epoch goes on where a stage declines."""
        if not boundary.step:
            return None
        sizes = self._sizes(exchange)
        for whole in range(boundary.at - boundary.step, 0, -boundary.step):
            found = sizes.boundary(boundary.owner, whole, boundary.step)
            if found is None or found.messages < boundary.messages:
                return found
        return None

    def first(self, exchange: Exchange, boundary: Boundary, *, start: int = 0) -> int:
        """How many messages the request had that met a boundary first, if its client sent each turn.

        What is decided from those alone is decided alike by every later request, where a record is lost or belongs to
        another store. `start` is that of `at`. All messages, where this is the first one or the stage chose the place.
        """
        messages = exchange.received.messages
        if not boundary.step:
            return len(messages)
        sizes, spoken = self._sizes(exchange), 0
        reached = -(-boundary.size // boundary.step) * boundary.step + start
        for index in range(boundary.messages, len(messages)):
            if messages[index].role == "assistant":
                # A request ends before the assistant speaks; its last turn begins behind what that said before.
                if spoken < index and sizes.before(spoken) >= reached:
                    return index
                spoken = index + 1
        return len(messages)

    async def previous(self, exchange: Exchange, boundary: Boundary, *, deep: int | None = None) -> Epoch | None:
        """The record of the newest of the earlier boundaries, or the last `deep` of them, that has one: what held until
        now."""
        found = await self.newest(exchange, islice(self._back(exchange, boundary), deep))
        return None if found is None else found[1]

    def _back(self, exchange: Exchange, boundary: Boundary) -> Iterator[Boundary]:
        before = self.earlier(exchange, boundary)
        while before is not None:
            yield before
            before = self.earlier(exchange, before)

    def before(self, exchange: Exchange, owner: Owner, messages: int) -> Boundary | None:
        """A boundary before the message `messages` of `exchange.received`, which the stage chose itself.

        For epochs that are not counted in bytes. The stage sees to it that a later request chooses the same place, and
        that it is safe. None for the client's own request to summarise, and for no messages.
        """
        if exchange.compaction or messages < 1:
            return None
        sizes = self._sizes(exchange)
        return sizes.made(owner, messages, sizes.before(messages), 0)

    async def get(self, exchange: Exchange, boundary: Boundary) -> Epoch | None:
        """The record of a boundary, None where nobody decided yet; the store is asked only where memory knows none."""
        key = tenant(exchange), boundary.key
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
            return found
        return self._remember(key, _read(await self._store.get(KIND, *key)))

    async def newest(self, exchange: Exchange, places: Iterable[Boundary]) -> tuple[Boundary, Epoch] | None:
        """The first of some boundaries that has a record, with it; None where none has.

        The store is asked about the first, and then about many at once: a conversation may have a hundred, and the
        store may be far away.
        """
        left = iter(places)
        for many in chain((1,), repeat(TOGETHER)):
            some = [*islice(left, many)]
            if not some:
                break
            found = await asyncio.gather(*(self.get(exchange, place) for place in some))
            for place, epoch in zip(some, found, strict=True):
                if epoch is not None:
                    return place, epoch
        return None

    async def settle(self, exchange: Exchange, boundary: Boundary, epoch: Epoch) -> Epoch:
        """Write a record unless there is one, and return the one that holds: do what that one says.

        To be awaited before the edit is made. A `count` operation writes nothing and gets `epoch` back.
        """
        if exchange.operation == "count":
            return epoch
        key = tenant(exchange), boundary.key
        value = msgspec.json.encode(epoch)
        winner = await self._store.add(KIND, *key, value)
        held = _read(winner)
        if held is None:
            # Something that is no record stands there; nobody can obey it.
            await self._store.put(KIND, *key, value)
            held, winner = epoch, value
        self._count(epoch, won=winner == value)
        self._remember(key, held)
        return held

    def _remember(self, key: tuple[str, bytes], epoch: Epoch | None) -> Epoch | None:
        if epoch is not None:
            self._known[key] = epoch
            self._known.move_to_end(key)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return epoch

    def _count(self, epoch: Epoch, *, won: bool) -> None:
        if not won:
            self._counters.add("epochs.obeyed")
        elif epoch.forced:
            self._counters.add("epochs.forced")
        else:
            self._counters.add("epochs.written" if epoch.form else "epochs.declined")


def fingerprint(*values: Any) -> bytes:
    """A hash of the options that shape a stage's bytes, for the key of its records. The values must fit into JSON."""
    return hashlib.sha256(msgspec.json.encode(values, order="sorted")).digest()


class _Sizes:
    """Where the messages of a conversation end, in bytes; what each measures is found with it.

    The client's last turn is measured only where a place behind it is asked about: until the next request nothing
    depends on it.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._dialect = exchange.dialect
        self._target = exchange.target
        self._received = exchange.received
        self._messages = exchange.received.messages
        last = _last_turn(self._messages)
        self._take(layout(self._received, last))
        self.total = self.before(last)

    def _take(self, known: Layout) -> None:
        self._measures, self._starts, self._safe = known.measures, known.starts, known.safe
        if known.pictured:
            sizes = [found.size(self._target) for found in known.measures]
            self._starts = tuple(accumulate(sizes, initial=0))

    def of(self, exchange: Exchange) -> bool:
        """Whether they are those of a request as it stands: another target counts images otherwise."""
        return self._target is exchange.target and self._messages is exchange.received.messages

    def before(self, index: int) -> int:
        end = min(index, len(self._messages))
        if end > len(self._measures):
            self._take(layout(self._received))
        return self._starts[end]

    def boundary(self, owner: Owner, whole: int, step: int) -> Boundary | None:
        messages = self._snapped(whole) if whole > 0 else 0
        return self.made(owner, messages, whole, step) if messages else None

    def made(self, owner: Owner, messages: int, at: int, step: int) -> Boundary:
        digests = b"".join([found.digest for found in self._measures[:messages]])
        prefix = hashlib.sha256(digests).digest()
        parts = (
            owner.stage.encode(), b"forced" if owner.forced else b"", owner.options, self._dialect.encode(),
            self._target.upstream.name.encode(), self._target.model.name.encode(), prefix,
        )  # fmt: skip
        key = hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()
        return Boundary(messages, self.before(messages), at, prefix, key, owner, step)

    def _snapped(self, limit: int) -> int:
        """The last safe place with at most `limit` bytes before it; 0 without one."""
        found = bisect_right(self._safe, limit, key=self._starts.__getitem__)
        return self._safe[found - 1] if found else 0


def _last_turn(messages: Sequence[Message]) -> int:
    """Where what the client added behind the last message of the assistant begins."""
    for index in range(len(messages), 0, -1):
        if messages[index - 1].role == "assistant":
            return index
    return 0


def tenant(exchange: Exchange) -> str:
    """Whose record it is: a conversation of one client never meets the records of another."""
    credentials = exchange.get(Credentials)
    if credentials is None:
        headers = exchange.incoming.headers
        key = headers.get("authorization") or headers.get("x-api-key")
    elif credentials.lent or credentials.key is None:
        return f"client:{credentials.client}"
    else:
        key = credentials.key
    return f"key:{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}" if key else "anonymous"


def _read(value: bytes | None) -> Epoch | None:
    try:
        return None if value is None else msgspec.json.decode(value, type=Epoch)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
