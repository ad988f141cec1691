"""Scans a body that begins as an earlier one did, from where they part: a turn costs its new messages.

An agent sends its whole conversation again with every turn. What both bodies share is compared (0.1 ms for 1 MB) and
its spans taken over; only the rest is checked and cut. The result is that of `scan`, member for member, span for span.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from trimtab.errors import BadRequest
from trimtab.splice import Items, Scanned, scan

START = 256
"""Bytes at the start by which bodies that may belong together are found."""
ALIKE = 4
"""Bodies kept of one start: agents run beside each other under one system prompt."""
BACK = 4
"""Messages that may have changed at the end of the earlier body; agents move their cache marks there."""
MOST_MEMBERS = 1000
"""Members of a body; the APIs know about 60, and each costs the loop some microseconds."""
WORTH = 16 * 1024
"""Bytes below which a body is scanned at once."""


class Parting(NamedTuple):
    """Where a body parts from an earlier one that it goes on from."""

    before: Scanned
    shared: int
    """Items that both have in common."""
    end: int
    """Where the last of them ends, in bytes."""


def parting(body: bytes, before: Scanned, within: str) -> Parting | None:
    """The last item of the array `within` up to which the two are the same, with all that stands before it."""
    items = before.items.get(within)
    if items is None or within in before.repeated:
        return None
    whole = memoryview(before.raw)
    for count in range(len(items.raws), max(0, len(items.raws) - BACK), -1):
        start, end = items.spans[count - 1]
        # The item first: where it differs, nothing else needs to be compared.
        if body.startswith(items.raws[count - 1], start) and body.startswith(whole[:end]):
            # Behind a number, the next byte may be another digit of it.
            ends = body[end : end + 1] in (b",", b"]", b" ", b"\n", b"\r", b"\t")
            return Parting(before, count, end) if ends else None
    return None


def resume(body: bytes, parting: Parting, arrays: tuple[str, ...], within: str) -> Scanned | None:
    """The scan of `body`, from where it parts from an earlier one; None where that does not tell enough.

    Raises BadRequest, as `scan` does, for what stands behind that.
    """
    before, shared, end = parting
    lead = b'{"' + within.encode() + b'":[0'
    tail = scan(lead + body[end:], arrays, MOST_MEMBERS)
    if tail.mended or within not in tail.items:
        return None
    return _joined(body, before, tail, within, shared, end - len(lead))


def _joined(body: bytes, before: Scanned, tail: Scanned, within: str, count: int, shift: int) -> Scanned | None:
    array_start = before.members[within][0]
    order = [member for member in before.order if member[2] <= array_start]
    order.append((within, before.keys[within], tail.members[within][1] + shift))
    order += [(name, key + shift, end + shift) for name, key, end in tail.order[1:]]
    known = {name for name, _, _ in order}
    if len(known) < len(order):
        # A member that occurs twice needs the whole view, and may be an error.
        return None
    inner = {name for name, _, end in before.order if end <= array_start}
    members = {name: before.members[name] for name, _, _ in order if name in inner}
    keys = {name: before.keys[name] for name in members}
    items = {name: value for name, value in before.items.items() if name in inner}
    members[within], keys[within] = (array_start, tail.members[within][1] + shift), before.keys[within]
    old, new = before.items[within], tail.items[within]
    spans = tuple((start + shift, end + shift) for start, end in new.spans[1:])
    items[within] = Items(old.raws[:count] + new.raws[1:], old.spans[:count] + spans)
    for name, (start, end) in tail.members.items():
        if name != within:
            members[name], keys[name] = (start + shift, end + shift), tail.keys[name] + shift
            if name in tail.items:
                given = tail.items[name]
                items[name] = Items(given.raws, tuple((a + shift, b + shift) for a, b in given.spans))
    return Scanned(body, members, keys, items, frozenset(), 0, tuple(order))


class Found(NamedTuple):
    """The scan of a body, and the earlier one that it goes on from."""

    scanned: Scanned
    before: Scanned | None
    notes: dict[Any, Any]
    """What is worked out of all but the items of the array; the next body that has the same of it finds it again."""
    roles: Mapping[int, str] = {}
    """Who says a large message, by its index, where that was read beforehand."""


class _Kept(NamedTuple):
    scanned: Scanned
    notes: dict[Any, Any]
    size: int


class Recent:
    """The last scans, by how their bodies begin; bounded in bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.resumed = 0
        self._kept: OrderedDict[tuple[str, bytes], deque[_Kept]] = OrderedDict()

    def parting(self, dialect: str, body: bytes, within: str) -> Parting | None:
        """Where a body parts from the latest one that it goes on from. Any thread may ask, while another one keeps."""
        if len(body) < WORTH:
            return None
        for kept in reversed(tuple(self._kept.get((dialect, body[:START]), ()))):
            if found := parting(body, kept.scanned, within):
                return found
        return None

    def scan(
        self, dialect: str, body: bytes, arrays: tuple[str, ...], within: str, parting: Parting | None = None
    ) -> Found:
        """What `scan` gives for a body, the short way from a `parting`; raises as it does. Any thread may ask."""
        if parting is not None:
            try:
                scanned = resume(body, parting, arrays, within)
            except BadRequest:
                scanned = None
            if scanned is not None:
                self.resumed += 1
                return Found(scanned, parting.before, self._notes(dialect, scanned, parting.before, within))
        return Found(scan(body, arrays, MOST_MEMBERS), None, {})

    def _notes(self, dialect: str, scanned: Scanned, before: Scanned, within: str) -> dict[Any, Any]:
        """Those of the earlier body where both end alike too; before the array they are the same."""
        behind, old = scanned.members[within][1], before.members[within][1]
        if scanned.raw[behind:] == before.raw[old:]:
            for kept in tuple(self._kept.get((dialect, scanned.raw[:START]), ())):
                if kept.scanned is before:
                    return kept.notes
        return {}

    def keep(self, dialect: str, found: Found, within: str) -> None:
        """Keep the scan of a request that was understood; it takes the place of the one that it goes on from."""
        scanned = found.scanned
        if scanned.mended or len(scanned.raw) < WORTH:
            return
        key = (dialect, scanned.raw[:START])
        kept = self._kept.setdefault(key, deque())
        self._kept.move_to_end(key)
        for at, earlier in enumerate(kept):
            if earlier.scanned is found.before:
                del kept[at]
                self.bytes -= earlier.size
                break
        size = weight(scanned, within)
        kept.append(_Kept(scanned, found.notes, size))
        self.bytes += size
        if len(kept) > ALIKE:
            self.bytes -= kept.popleft().size
        while self.bytes > self.max_bytes and self._kept:
            oldest = next(iter(self._kept.values()))
            self.bytes -= oldest.popleft().size
            if not oldest:
                self._kept.popitem(last=False)


PER_ITEM = 200
"""Bytes of an item's span and objects."""


def weight(scanned: Scanned, within: str) -> int:
    """Bytes a scan holds: the body, and the items of its arrays but those of `within`, which the messages hold too.

    What stands around them is held once more by the notes.
    """
    start, end = scanned.members.get(within, (0, 0))
    size = 2 * len(scanned.raw) - (end - start)
    for name, items in scanned.items.items():
        size += PER_ITEM * len(items.raws) + (0 if name == within else sum(map(len, items.raws)))
    return size
