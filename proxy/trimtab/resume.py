"""Scans a body that begins as an earlier one did, from where they part: a turn costs its new messages.

An agent sends its whole conversation again with every turn. What both bodies share is compared (0.1 ms for 1 MB) and
its spans taken over; only the rest is checked and cut. The result is that of `scan`, member for member, span for span.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import NamedTuple

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


def resume(body: bytes, before: Scanned, arrays: tuple[str, ...], within: str) -> Scanned | None:
    """The scan of `body`, from the last item of the array `within` that it shares with `before`; None where none is.

    Raises BadRequest, as `scan` does, for what stands behind that item.
    """
    items = before.items.get(within)
    if items is None or within in before.repeated:
        return None
    count = _shared(body, before, items)
    if not count:
        return None
    end = items.spans[count - 1][1]
    lead = b'{"' + within.encode() + b'":[0'
    tail = scan(lead + body[end:], arrays, MOST_MEMBERS)
    if tail.mended or within not in tail.items:
        return None
    return _joined(body, before, tail, within, count, end - len(lead))


def _shared(body: bytes, before: Scanned, items: Items) -> int:
    """How many items, and all that stands before them, are the same in both."""
    for count in range(len(items.raws), max(0, len(items.raws) - BACK), -1):
        start, end = items.spans[count - 1]
        if body.startswith(items.raws[count - 1], start) and body.startswith(memoryview(before.raw)[:end]):
            # Behind a number, the next byte may be another digit of it.
            return count if body[end : end + 1] in (b",", b"]", b" ", b"\n", b"\r", b"\t") else 0
    return 0


def _joined(body: bytes, before: Scanned, tail: Scanned, within: str, count: int, shift: int) -> Scanned:
    array_start = before.members[within][0]
    order = [member for member in before.order if member[2] <= array_start]
    order.append((within, before.keys[within], tail.members[within][1] + shift))
    order += [(name, key + shift, end + shift) for name, key, end in tail.order[1:]]
    known = {name for name, _, _ in order}
    if len(known) < len(order):
        # A member that occurs twice needs the whole view, and may be an error.
        raise _Unsure
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


class _Unsure(Exception):
    """The short way does not tell enough."""


class Found(NamedTuple):
    """The scan of a body, and the earlier one that it goes on from."""

    scanned: Scanned
    before: Scanned | None = None
    roles: Mapping[int, str] = {}
    """Who says a large message, by its index, where that was read beforehand."""


class Recent:
    """The last scans, by how their bodies begin; bounded in bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.resumed = 0
        self._kept: OrderedDict[tuple[str, bytes], deque[tuple[Scanned, int]]] = OrderedDict()

    def parts(self, dialect: str, body: bytes, within: str) -> int:
        """Where a body parts from an earlier one that it goes on from, in bytes; 0 where there is none."""
        if len(body) < WORTH:
            return 0
        for before, _ in reversed(tuple(self._kept.get((dialect, body[:START]), ()))):
            items = before.items.get(within)
            if items is not None and (count := _shared(body, before, items)):
                return items.spans[count - 1][1]
        return 0

    def scan(self, dialect: str, body: bytes, arrays: tuple[str, ...], within: str) -> Found:
        """What `scan` gives for a body, the short way where an earlier one begins alike; raises as it does.

        Any thread may ask, while another one keeps.
        """
        if len(body) >= WORTH:
            for before, _ in reversed(tuple(self._kept.get((dialect, body[:START]), ()))):
                try:
                    scanned = resume(body, before, arrays, within)
                except (BadRequest, _Unsure):
                    break
                if scanned is not None:
                    self.resumed += 1
                    return Found(scanned, before)
        return Found(scan(body, arrays, MOST_MEMBERS))

    def keep(self, dialect: str, found: Found, within: str) -> None:
        """Keep the scan of a request that was understood; it takes the place of the one that it goes on from."""
        scanned = found.scanned
        if scanned.mended or len(scanned.raw) < WORTH:
            return
        key = (dialect, scanned.raw[:START])
        kept = self._kept.setdefault(key, deque())
        self._kept.move_to_end(key)
        for at, (before, size) in enumerate(kept):
            if before is found.before:
                del kept[at]
                self.bytes -= size
                break
        size = weight(scanned, within)
        kept.append((scanned, size))
        self.bytes += size
        if len(kept) > ALIKE:
            self.bytes -= kept.popleft()[1]
        while self.bytes > self.max_bytes and self._kept:
            oldest = next(iter(self._kept.values()))
            self.bytes -= oldest.popleft()[1]
            if not oldest:
                self._kept.popitem(last=False)


PER_ITEM = 200
"""Bytes of an item's span and objects."""


def weight(scanned: Scanned, within: str) -> int:
    """Bytes a scan holds: the body, and the items of its arrays but those of `within`, which the messages hold too."""
    size = len(scanned.raw)
    for name, items in scanned.items.items():
        size += PER_ITEM * len(items.raws) + (0 if name == within else sum(map(len, items.raws)))
    return size
