"""What `trimtab replay` prints: as text of at most 110 columns, or as JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

from trimtab.caches import dollars
from trimtab.models import Terms

from .replay import Session, total
from .track import Sums

Reads = Sequence[float]
Ways = tuple[str, Sequence[Sums], Sequence[Sums]]
"""A stage's name, and its sums over some sessions: on an implicit cache, and on one that wants marks."""

NOTES = 5
"""Different notes that are shown of a session."""


def text(sessions: Sequence[Session], reads: Reads) -> str:
    """Every session, and all together where there are several."""
    parts = [_session(session, reads) for session in sessions]
    if len(sessions) > 1:
        requests = sum(session.requests for session in sessions)
        rows = list(total(sessions))
        parts.append("\n".join((f"all {len(sessions)} sessions: {requests:,} requests", *_table(rows, reads))))
    return "\n\n".join(parts) + "\n"


def comparison(names: Sequence[str], runs: Sequence[Sequence[Session]], reads: Reads) -> str:
    """The end of each chain, side by side, for every session and for all."""
    lines: list[str] = []
    for sessions in zip(*runs, strict=True):
        lines += [_title(sessions[0]), *_compared(names, [list(total([session])) for session in sessions], reads), ""]
    if len(runs[0]) > 1:
        lines += [f"all {len(runs[0])} sessions", *_compared(names, [list(total(run)) for run in runs], reads), ""]
    return "\n".join(lines)


def data(sessions: Sequence[Session], reads: Reads) -> dict[str, Any]:
    """All of it for programs; prices are in fresh input tokens, dollars where the model has prices."""
    return {
        "sessions": [
            {
                "name": session.name,
                "dialect": session.dialect,
                "requests": session.requests,
                "targets": ["/".join(target) for target in session.targets],
                "switches": session.switches,
                "recorded_edited": session.recorded_edited,
                "answered_by_the_proxy": list(session.ended),
                "notes": session.notes,
                "stages": _stages(list(total([session])), reads),
                "dollars": _dollars(session),
            }
            for session in sessions
        ],
        "total": _stages(list(total(sessions)), reads),
    }


def _stages(rows: Sequence[Ways], reads: Reads) -> list[dict[str, Any]]:
    if not rows:
        return []
    (_, client, client_marks), found = rows[0], []
    for name, plain, marks in rows:
        found.append(
            {
                "stage": name,
                "edited": _sum(plain, "edited"),
                "tokens": _sum(plain, "tokens"),
                "saved": 1 - _sum(plain, "tokens") / max(1, _sum(client, "tokens")),
                "breaks": _sum(plain, "breaks"),
                "epochs": _sum(plain, "epochs"),
                "implicit": {"cached": _cached(plain), "cost": _costs(plain, client, reads)},
                "marks": {"cached": _cached(marks), "cost": _costs(marks, client_marks, reads)},
            }
        )
    return found


def _costs(rows: Sequence[Sums], client: Sequence[Sums], reads: Reads) -> dict[str, dict[str, float]]:
    return {
        f"{read:g}": {"fresh_tokens": round(_price(rows, read), 1), "of_client": _over(rows, client, read)}
        for read in reads
    }


def _dollars(session: Session) -> dict[str, float] | None:
    terms = session.terms
    if terms is None or terms.input is None or terms.quota:
        return None
    sums = session.marks if terms.kind == "explicit" else session.implicit
    ends = {"client": sums[0], "sent": sums[-1]}
    return {name: round(dollars(end.splits, terms.input, terms.read, terms.write), 6) for name, end in ends.items()}


def _session(session: Session, reads: Reads) -> str:
    rows = list(total([session]))
    lines = [_title(session), *_table(rows, reads)]
    sums = _dollars(session)
    if session.terms is not None:
        lines.append(f"  {money(session.terms)}{_spent(sums)}")
    return "\n".join((*lines, *_remarks(session)))


def money(terms: Terms) -> str:
    """The cache of a target, and what it charges."""
    read = f"r={terms.read:.3g}"
    if terms.quota:
        return f"this target: {terms.kind} cache, {read}; its plan counts prompts, so fewer tokens save no money"
    if terms.input is None:
        return f"this target: {terms.kind} cache, {read}, prices not known"
    return f"this target: {terms.kind} cache, {read}, ${terms.input:g} a million tokens"


def _spent(sums: dict[str, float] | None) -> str:
    return "" if sums is None else f": ${sums['client']:.4f}, sent ${sums['sent']:.4f}"


def _title(session: Session) -> str:
    places = ", ".join("/".join(target) for target in session.targets) or "nowhere"
    plural = "" if session.requests == 1 else "s"
    return f"{session.name}: {session.dialect}, {session.requests} request{plural}, to {places}"


def _remarks(session: Session) -> Iterator[str]:
    if session.switches:
        yield f"  {session.switches} times to another model: there the cache is cold, which is in no price here"
    if session.recorded_edited:
        yield "  recorded as it left the proxy: edits of that day may be in it (set log.upstream.received = true)"
    for reason in dict.fromkeys(session.ended):
        yield f"  {session.ended.count(reason)} requests answered by the proxy: {reason}"
    for note, count in list(session.notes.items())[:NOTES]:
        yield f"  {count} time{'s' * (count != 1)}: {note}"
    if len(session.notes) > NOTES:
        yield f"  and {len(session.notes) - NOTES} other notes (--json shows all)"


def _table(rows: Sequence[Ways], reads: Reads) -> Iterator[str]:
    yield _head(reads)
    (_, client, client_marks), idle = rows[0], []
    before = rows[0]
    yield _row("client", client, client_marks, client, client_marks, reads)
    for name, plain, marks in rows[1:]:
        changed = any(_sum(way, "edited") or _sum(way, "breaks") for way in (plain, marks))
        if changed or _sum(plain, "tokens") != _sum(before[1], "tokens"):
            yield _row(name, plain, marks, client, client_marks, reads)
        else:
            idle.append(name)
        before = (name, plain, marks)
    if idle:
        yield f"  no token changed by: {', '.join(idle)}"


def _compared(names: Sequence[str], runs: Sequence[Sequence[Ways]], reads: Reads) -> Iterator[str]:
    _, client, client_marks = runs[0][0]
    yield _head(reads)
    yield _row("client", client, client_marks, client, client_marks, reads)
    for name, rows in zip(names, runs, strict=True):
        _, plain, marks = rows[-1]
        yield _row(name[-20:], plain, marks, client, client_marks, reads, _chain(rows))
    (_, one, one_marks), (_, two, two_marks) = runs[0][-1], runs[1][-1]
    costs = [*(_over(two, one, read) for read in reads), _over(two_marks, one_marks, reads[0])]
    yield f"  {'second over first':20}{'':39}{''.join(f'{cost:9.3f}' for cost in costs)}"


def _head(reads: Reads) -> str:
    costs = "".join(f"{f'r={read:g}':>9}" for read in reads)
    numbers = f"{'edited':>7}{'tokens in':>13}{'saved %':>9}{'cached %':>10}"
    return f"  {'':20}{numbers}{costs}{'marks':>9}{'breaks':>8}{'epochs':>7}"


def _row(
    name: str,
    plain: Sequence[Sums],
    marks: Sequence[Sums],
    client: Sequence[Sums],
    client_marks: Sequence[Sums],
    reads: Reads,
    counted: tuple[int, int, int] | None = None,
) -> str:
    tokens, whole = _sum(plain, "tokens"), _sum(client, "tokens")
    saved = 100 * (1 - tokens / whole) if whole else 0.0
    costs = [*(_over(plain, client, read) for read in reads), _over(marks, client_marks, reads[0])]
    edited, breaks, epochs = counted or _counts(plain, marks)
    return (
        f"  {name:20}{edited:7}{tokens:13,}{saved:9.1f}{100 * _cached(plain):10.1f}"
        f"{''.join(f'{cost:9.3f}' for cost in costs)}{breaks:8}{epochs:7}"
    )


def _counts(plain: Sequence[Sums], marks: Sequence[Sums]) -> tuple[int, int, int]:
    """Requests edited, breaks and epochs: the worse of the two ways."""
    edited, breaks, epochs = (max(_sum(plain, name), _sum(marks, name)) for name in ("edited", "breaks", "epochs"))
    return edited, breaks, epochs


def _chain(rows: Sequence[Ways]) -> tuple[int, int, int]:
    """The same for all stages of a chain together; of the edited ones those of the busiest stage."""
    counts = [_counts(plain, marks) for _, plain, marks in rows]
    return max(edited for edited, _, _ in counts), sum(b for _, b, _ in counts), sum(e for _, _, e in counts)


def _sum(rows: Sequence[Sums], name: str) -> int:
    return sum(getattr(row, name) for row in rows)


def _cached(rows: Sequence[Sums]) -> float:
    tokens = _sum(rows, "tokens")
    return sum(split.cached for row in rows for split in row.splits) / tokens if tokens else 0.0


def _price(rows: Sequence[Sums], read: float) -> float:
    return sum(row.price(read) for row in rows)


def _over(rows: Sequence[Sums], client: Sequence[Sums], read: float) -> float:
    whole = _price(client, read)
    return _price(rows, read) / whole if whole else 1.0
