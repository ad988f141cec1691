"""The line that the log writes of each exchange. It is made of names, numbers and the stages' own words only.

Nothing of the client's text or of its headers comes in, so there is nothing to mask.
"""

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import msgspec

from trimtab.api import Cause, Exchange, ProxyError, Risk, StageFailed, Target, UpstreamError, Usage, spend

Detail = Literal["minimal", "balanced", "full"]
MINIMAL = frozenset(
    ("id", "client", "operation", "model", "target", "status", "total_ms", "error", "gone", "stages_ms", "stages")
)
FULL_ONLY = ("pipeline", "reason", "upstream_id", "why")
"""What a balanced line leaves out."""

MARKS = ((0.80, "🔴"), (0.60, "🟡"))
"""What stands before a context of which more than such a share is taken."""

_PLAIN = re.compile(r"[!#-<>-~🟡🔴]+")
_LONGEST = 300


class Line(msgspec.Struct):
    """What is known at the end of an exchange, taken out of it, so that its body can be let go of."""

    id: str
    pipeline: str
    client: str
    operation: str
    dialect: str
    asked: str
    target: Target | None
    status: int | None
    stream: bool
    usage: Usage | None
    predicted: int | None
    reason: str | None
    upstream_id: str | None
    first_byte_s: float | None
    total_s: float
    up: int
    down: int
    edits: list[tuple[str, str]]
    dropped: tuple[str, ...]
    notes: tuple[str, ...]
    error: str | None
    ours: bool
    """Whether the failure was our own."""
    gone: bool
    context: float | None
    """The share of the window that is taken, None where the window is not known."""
    timings: tuple[tuple[str, float], ...]
    attempts: int = 1
    retried: tuple[str, ...] = ()
    """The class of each failure that another attempt followed."""
    backoff_s: float = 0.0
    queue_s: float = 0.0

    @property
    def changed(self) -> bool:
        """Whether anything came in between: an edit, a loss, a note, another attempt, a wait."""
        told = self.edits or self.dropped or self.notes or self.retried
        return bool(told or self.attempts > 1 or self.backoff_s or self.queue_s)

    @property
    def stages_ms(self) -> float:
        """Milliseconds spent in the stages: our own work, without the upstream's."""
        return round(sum([seconds for _, seconds in self.timings]) * 1000, 2)


def take(exchange: Exchange, client: str, target: Target | None) -> Line:
    """Take from an exchange what its line needs; runs on the event loop, so nothing is formatted here."""
    outcome = exchange.outcome
    error, risk = outcome.error, exchange.get(Risk)
    return Line(
        exchange.id,
        exchange.pipeline,
        client,
        exchange.operation,
        exchange.dialect,
        exchange.received.model[:_LONGEST],
        target,
        outcome.status,
        outcome.streamed,
        outcome.usage,
        outcome.predicted,
        outcome.reason,
        outcome.upstream_id,
        outcome.first_byte_s,
        outcome.total_s,
        outcome.sent_bytes,
        outcome.received_bytes,
        [(edit.stage, edit.reason) for edit in exchange.edits],
        tuple(exchange.dropped),
        tuple(exchange.notes),
        None if error is None else error_word(error),
        error is not None and error.cause is Cause.INTERNAL,
        outcome.client_gone,
        None if risk is None or risk.limit is None else risk.likely,
        tuple(exchange.timings),
        outcome.attempts,
        tuple(outcome.retried),
        outcome.backoff_s,
        outcome.queue_s,
    )


def error_word(error: ProxyError) -> str:
    """A failure in one word; its message stays out, since an upstream may quote the prompt or the key in it."""
    if isinstance(error, StageFailed):
        return f"{error.cause}:{error.stage}"
    if isinstance(error, UpstreamError) and error.status is not None:
        return f"{error.cause}:{error.status}"
    if isinstance(error, UpstreamError) and error.own:
        return f"{error.cause} ({error.message})"
    return str(error.cause)


def severity(line: Line, spent: float, slow_ms: float, error_ms: float) -> str:
    """The level of a line whose stages took `spent` ms: failures and slow ones stand out; a threshold of 0 is none."""
    if line.ours or 0 < error_ms <= spent:
        return "ERROR"
    if line.error is not None or 0 < slow_ms <= spent:
        return "WARNING"
    return "INFO"


def fields_of(line: Line, detail: Detail, *, timings: bool) -> dict[str, Any]:
    """The names and values of a line in their order; what is empty is left out."""
    fields = _names(line)
    fields |= _numbers(line)
    if line.changed:
        fields |= _changes(line)
    if timings or detail == "full":
        fields["stages_ms"] = line.stages_ms
        fields["stages"] = ",".join([f"{name}:{seconds * 1000:.2f}" for name, seconds in line.timings])
    if detail == "minimal":
        return {name: value for name, value in fields.items() if name in MINIMAL}
    if detail == "balanced":
        for name in FULL_ONLY:
            fields.pop(name, None)
    return fields


def _names(line: Line) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": line.id,
        "client": line.client,
        "operation": line.operation,
        "pipeline": line.pipeline,
        "dialect": line.dialect,
    }
    if line.asked:
        fields["model"] = line.asked
    if line.target is not None:
        fields["target"] = f"{line.target.upstream.name}/{line.target.model.name}"
    if line.status is not None:
        fields["status"] = line.status
    fields["stream"] = line.stream
    if line.reason:
        fields["reason"] = line.reason
    if line.upstream_id:
        fields["upstream_id"] = line.upstream_id
    if line.error is not None:
        fields["error"] = line.error
    if line.gone:
        fields["gone"] = True
    return fields


def _numbers(line: Line) -> dict[str, Any]:
    usage, first, fields = line.usage, line.first_byte_s, dict[str, Any]()
    if usage is not None:
        fields = {"prompt": usage.prompt, "cached": usage.cache_read, "output": usage.output}
        if usage.estimated:
            fields["estimated"] = True
        if line.predicted is not None:
            fields["expected"] = line.predicted
        if line.target is not None and not usage.estimated:
            fields |= _spent(line.target, usage)
    if line.context is not None:
        fields["context"] = f"{_mark(line.context)}{line.context * 100:.1f}%"
    if first is not None:
        fields["first_ms"] = round(first * 1000, 1)
    fields["total_ms"] = round(line.total_s * 1000, 1)
    fields["up"], fields["down"] = line.up, line.down
    return fields


def _spent(target: Target, usage: Usage) -> dict[str, Any]:
    """Money and quota, apart from the tokens: a plan that counts prompts is not paid by the token."""
    spent = spend(target, usage)
    if spent.dollars is not None:
        return {"usd": f"{spent.dollars:.6f}"}
    return {"quota": f"{spent.prompts}-prompt"} if spent.prompts else {}


def _mark(share: float) -> str:
    return next((mark for bound, mark in MARKS if share > bound), "")


def _changes(line: Line) -> dict[str, Any]:
    edits: dict[str, int] = {}
    for stage, _ in line.edits:
        edits[stage] = edits.get(stage, 0) + 1
    fields = {
        "edits": ",".join([f"{stage}:{count}" for stage, count in edits.items()]),
        "why": "; ".join(dict.fromkeys([reason for _, reason in line.edits])),
        "dropped": ",".join(line.dropped),
        "notes": "; ".join(line.notes),
        "attempts": line.attempts if line.attempts > 1 else 0,
        "retried": ",".join(line.retried),
        "backoff_ms": round(line.backoff_s * 1000, 1),
        "queue_ms": round(line.queue_s * 1000, 1),
    }
    return {name: value for name, value in fields.items() if value}


def text_of(fields: dict[str, Any]) -> str:
    """The fields as `name=value`; a value that is not one plain word stands quoted and escaped on this one line."""
    return " ".join([f"{name}={_SPELLING.get(type(value), _word)(value)}" for name, value in fields.items()])


def _word(value: Any) -> str:
    return _spelled(str(value)) if isinstance(value, str) else str(value).lower()


@lru_cache(maxsize=1024)
def _spelled(text: str) -> str:
    """A text as it stands in a line; but for the ids, lines repeat each other's."""
    if _PLAIN.fullmatch(text) and len(text) <= _LONGEST:
        return text
    return json.dumps(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


_SPELLING: dict[type, Callable[[Any], str]] = {int: repr, float: repr, str: _spelled}
"""How values of the usual types are written; words of an enumeration are none of these."""
