"""What the demo prints: plain text, at most 100 columns."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from trimtab.caches import Split, dollars
from trimtab.events import Usage
from trimtab.models import Prices

from .talk import Turn

_GROUPS = ((8, "tokens in"), (34, "cached %"), (53, "cost in $"), (74, "window"), (90, "ms"))
_HEAD = (
    "turn",
    "direct",
    "proxied",
    "saved",
    "direct",
    "proxied",
    "direct",
    "proxied",
    "risk",
    "full %",
    "all",
    "added",
)
_WIDTHS = (4, 10, 10, 8, 8, 9, 10, 9, 10, 7, 8, 7)


class Row(NamedTuple):
    """One turn, without the proxy and with it; the milliseconds are medians."""

    direct: Turn
    proxied: Turn

    @property
    def saved(self) -> int:
        """Tokens of the prompt that the provider did not get to see."""
        return self.direct.usage.prompt - self.proxied.usage.prompt

    @property
    def added(self) -> float:
        """Milliseconds that the way through the proxy took longer."""
        return self.proxied.ms - self.direct.ms


class Sums(NamedTuple):
    """A session one way: tokens of all its prompts, those of them in the cache, and their price."""

    tokens: int
    cached: int
    cost: float


def row(direct: Sequence[Turn], proxied: Sequence[Turn]) -> Row:
    """A turn from all its measurements: costs are those of the first, times the medians."""
    return Row(*(turns[0]._replace(ms=median(turn.ms for turn in turns)) for turns in (direct, proxied)))


def table(rows: Sequence[Row], prices: Prices) -> str:
    """The turns of one session, a line each."""
    lines = [_groups(), _line(_HEAD), *(_line(_cells(turn, entry, prices)) for turn, entry in enumerate(rows, 1))]
    return "\n".join(lines)


def summary(rows: Sequence[Row], prices: Prices) -> str:
    """Two lines on a whole session."""
    direct = sums([row.direct.usage for row in rows], prices)
    proxied = sums([row.proxied.usage for row in rows], prices)
    saved = direct.tokens - proxied.tokens
    change = 100 * (proxied.cost / direct.cost - 1) if direct.cost else 0.0
    added = median(row.added for row in rows)
    shares = [_percent(way.cached, way.tokens) for way in (direct, proxied)]
    return (
        f"{len(rows)} turns: {saved:,} of {direct.tokens:,} tokens in saved ({_percent(saved, direct.tokens, 1)} %); "
        f"cached {shares[0]} % direct, {shares[1]} % proxied\n"
        f"cost ${direct.cost:.5f} direct, ${proxied.cost:.5f} proxied ({change:+.1f} %); "
        f"risk {rows[-1].proxied.risk or '-'} at the end; {added:.1f} ms added (median)"
    )


def sums(usages: Sequence[Usage], prices: Prices) -> Sums:
    """A session from what its turns cost."""
    return Sums(
        sum(usage.prompt for usage in usages),
        sum(usage.cache_read for usage in usages),
        sum(cost(usage, prices) for usage in usages),
    )


def cost(usage: Usage, prices: Prices) -> float:
    """Dollars for a prompt, what came from the cache at its own price."""
    split = Split(usage.cache_read, 0, usage.prompt - usage.cache_read)
    return dollars((split,), prices.input, prices.cached / prices.input) if prices.input else 0.0


def _cells(turn: int, row: Row, prices: Prices) -> tuple[str, ...]:
    ways = row.direct.usage, row.proxied.usage
    tokens = (*(f"{usage.prompt:,}" for usage in ways), f"{row.saved:,}")
    cached = [_percent(usage.cache_read, usage.prompt) for usage in ways]
    costs = [f"{cost(usage, prices):.5f}" for usage in ways]
    window = row.proxied.risk or "-", row.proxied.full or "-"
    return (str(turn), *tokens, *cached, *costs, *window, f"{row.proxied.ms:.1f}", f"{row.added:.1f}")


def _groups() -> str:
    line = ""
    for end, text in _GROUPS:
        line = line.ljust(end) + text
    return line


def _line(cells: Sequence[str]) -> str:
    return "".join(cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True))


def _percent(part: int, whole: int, digits: int = 0) -> str:
    return f"{100 * part / whole:.{digits}f}" if whole else "-"
