"""What `trimtab explain` prints for people."""

from collections.abc import Iterator, Sequence

from trimtab.caches import WRITE, Split, dollars

from .explain import Cached, Change, Explanation, Route, Told
from .replay_table import money


def text(told: Explanation, reads: Sequence[float], limit: int) -> str:
    """The whole page; at most `limit` lines of each change, 0 is all."""
    lines = list(_head(told))
    for number, stage in enumerate(told.stages, 1):
        lines += _stage(number, stage, limit)
    lines += ["", *_end(told), *_cache(told, reads)]
    return "\n".join(lines) + "\n"


def _head(told: Explanation) -> Iterator[str]:
    turns = f"turn {told.turns}" if told.turns > 1 else "the first turn"
    messages = f"{told.messages} message{'s' * (told.messages != 1)}"
    yield f"{told.dialect} request for {told.model}: {messages}, {turns}, {told.tokens:,} tokens"
    if told.compaction:
        yield "the client's own request to summarise: it is never edited"
    yield ""


def _stage(number: int, told: Told, limit: int) -> Iterator[str]:
    line = f"{number:2}. {told.stage:16}{told.ms:8.2f} ms"
    if told.first_changed is not None:
        line += f"  {told.before:,} -> {told.after:,} tokens ({_change_of(told)})"
        line += f", first changed token {told.first_changed:,}"
    elif not told.changes:
        line += "  changed nothing"
    yield line
    for change in told.changes:
        yield from _edit(change, limit)
    for note in told.notes:
        yield f"      note: {note}"
    if told.records:
        yield f"      writes {told.records} record{'s' * (told.records != 1)}, found again by the next requests"


def _change_of(told: Told) -> str:
    share = f", {100 * (told.after - told.before) / told.before:+.1f} %" if told.before else ""
    return f"{told.after - told.before:+,}{share}"


def _edit(change: Change, limit: int) -> Iterator[str]:
    tokens = f", {change.tokens:+,} tokens" if change.tokens else ""
    yield f"      {change.where}: {change.reason}{tokens}"
    kept = change.lines[:limit] if limit > 0 else change.lines
    yield from (f"        {line}" for line in kept)
    if len(kept) < len(change.lines):
        yield f"        ... {len(change.lines) - len(kept)} more lines (--lines 0 shows all)"


def _end(told: Explanation) -> Iterator[str]:
    if told.ended is not None:
        yield f"answered without an upstream: {told.ended}"
    if told.route is not None:
        yield from _route(told, told.route)
    if told.counted is not None:
        risk = "" if told.risk is None else f"; risk {told.risk}"
        yield f"counted: {told.counted:,} tokens, {told.calibrated:,} as this upstream is likely to count{risk}"
    for name, value in told.headers.items():
        yield f"the client reads {name}: {value}"


def _route(told: Explanation, route: Route) -> Iterator[str]:
    how = f"translated to {route.dialect}" if route.translated else f"in {route.dialect}, as it came"
    if not route.translated:
        how = "byte for byte as it came" if told.untouched else f"in {route.dialect}, changed as told above"
    yield f"goes to {route.upstream} as {route.model}: {route.url}"
    yield f"  {route.bytes:,} bytes, {how} ({told.bytes:,} came)"
    if route.dropped:
        yield f"  dropped: {', '.join(route.dropped)}"


def _cache(told: Explanation, reads: Sequence[float]) -> Iterator[str]:
    if told.turns < 2:
        yield "\nno earlier turn in this request: nothing of it is in a provider's cache"
    for cached in told.caches:
        yield from _kind(cached, told, reads)


def _kind(cached: Cached, told: Explanation, reads: Sequence[float]) -> Iterator[str]:
    named = {"implicit": "provider with an implicit cache", "marks": "provider that wants cache marks"}[cached.kind]
    yield f"\n{named}, after the turn before this one:"
    costs = "".join(f"{f'cost r={read:g}':>14}" for read in reads)
    yield f"  {'':8}{'tokens':>11}{'cached':>11}{'written':>11}{'fresh':>11}{costs}"
    for name, split in (("client", cached.client), ("sent", cached.sent)):
        yield f"  {name:8}{_numbers(split)}{''.join(f'{split.price(read, WRITE):14,.0f}' for read in reads)}"
    kinds = {"implicit": "implicit", "marks": "explicit"}
    if told.route is not None and told.route.terms.kind == kinds[cached.kind]:
        terms = told.route.terms
        spent = ""
        if terms.input is not None and not terms.quota:
            splits = (cached.client, cached.sent)
            one, other = (dollars((split,), terms.input, terms.read, terms.write) for split in splits)
            spent = f": ${one:.5f}, sent ${other:.5f}"
        yield f"  {money(terms)}{spent}"


def _numbers(split: Split) -> str:
    return f"{split.tokens:11,}{split.cached:11,}{split.written:11,}{split.fresh:11,}"
