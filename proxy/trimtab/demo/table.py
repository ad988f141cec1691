"""What the demo prints: plain text, at most 90 columns."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from trimtab.events import Usage

_HEAD = ("turn", "tokens in", "cached", "%", "tokens out", "ms", "of it added")
_WIDTHS = (4, 11, 11, 6, 12, 10, 13)


class Row(NamedTuple):
    """One turn: what it cost, and its milliseconds through the proxy and without it."""

    usage: Usage
    total: float
    direct: float

    @property
    def added(self) -> float:
        """Milliseconds that the way through the proxy took longer."""
        return self.total - self.direct


def row(usage: Usage, proxied: Sequence[float], direct: Sequence[float]) -> Row:
    """A turn from all its measurements."""
    return Row(usage, median(proxied), median(direct))


def table(rows: Sequence[Row]) -> str:
    """The turns of one session, a line each."""
    return "\n".join([_line(_HEAD), *(_line(_cells(turn, entry)) for turn, entry in enumerate(rows, 1))])


def summary(rows: Sequence[Row]) -> str:
    """One line on a whole session."""
    prompt, cached = (sum(getattr(row.usage, name) for row in rows) for name in ("prompt", "cache_read"))
    return (
        f"{len(rows)} turns: {prompt:,} tokens in, {_percent(cached, prompt)} % of them cached, "
        f"{sum(row.usage.output for row in rows):,} out; "
        f"{median(row.added for row in rows):.1f} ms added to a turn (median)"
    )


def _cells(turn: int, row: Row) -> tuple[str, ...]:
    usage = row.usage
    share = _percent(usage.cache_read, usage.prompt)
    counts = (str(turn), f"{usage.prompt:,}", f"{usage.cache_read:,}", share, f"{usage.output:,}")
    return (*counts, f"{row.total:.1f}", f"{row.added:.1f}")


def _line(cells: Sequence[str]) -> str:
    return "".join(cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True))


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}" if whole else "-"
