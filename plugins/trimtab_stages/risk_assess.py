"""Says how full the window is with the prompt as it would be sent and room for the answer."""

from functools import partial
from typing import Any

from trimtab.api import (
    Counting,
    Exchange,
    Model,
    Reply,
    Risk,
    RiskLevel,
    Stage,
    StageOptions,
    TokenCount,
    hookimpl,
    replace,
)

SPEAKS_FROM = 0.60
"""Share of the window from which the client is told in words."""
ESTIMATED = "x-context-estimated"
"""The header that says that the tokens were still being counted when the reply began."""
SHARE = 4
"""A reserve that nobody asked for takes no more than this part of a window."""
WORDS = {
    RiskLevel.SAFE: "there is room for some more turns",
    RiskLevel.CAUTION: "finish this task, or compact soon",
    RiskLevel.WARNING: "compact now",
    RiskLevel.CRITICAL: "the next turn may not fit: compact now",
    RiskLevel.OVERFLOW: "prompt and answer do not fit: compact, or start a new conversation",
}


class RiskAssessOptions(StageOptions, frozen=True, kw_only=True):
    """The table `[stage.risk-assess]`; the thresholds are shares of the window."""

    caution: float = 0.70
    warning: float = 0.80
    critical: float = 0.90
    reserve: int = 8192
    """Tokens kept for the answer where the request names no limit: what most agents ask for that name one, and half as
    much again as the longest of 1,262 recorded answers."""

    def __post_init__(self) -> None:
        if not 0 < self.caution < self.warning < self.critical <= 1:
            raise ValueError("caution, warning and critical must rise and lie above 0 and up to 1")
        if self.reserve < 0:
            raise ValueError("reserve must be 0 or more")


class RiskAssessor(Stage[RiskAssessOptions]):
    """Puts the fact Risk, and tells the client in headers."""

    name = "risk-assess"
    Options = RiskAssessOptions
    needs = frozenset({TokenCount})
    provides = frozenset({Risk})
    optional = True
    rough = True

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        """Assess the conversation as it stands."""
        count, model = exchange.need(TokenCount), exchange.target.model
        if not model.window:
            exchange.put(Risk(level=RiskLevel.SAFE, used=count.total, reserve=0))
            return None
        bounds = (self.options.caution, self.options.warning, self.options.critical)
        reserve = self._reserve(exchange, model, model.window)
        blank = Risk(level=RiskLevel.SAFE, used=0, reserve=reserve, limit=model.window, bounds=bounds)
        counting = exchange.get(Counting) if count.most is not None else None
        if counting is not None and not _safe(blank, count):
            await counting.settle()
            counting = None
        risk = _tell(exchange, blank)
        if counting is not None:
            counting.then(partial(_again, risk, blank))
        return None

    def _reserve(self, exchange: Exchange, model: Model, window: int) -> int:
        most = model.max_output or window
        asked = _asked(exchange)
        return min(self.options.reserve, window // SHARE, most) if asked is None else min(asked, most)


def _tell(exchange: Exchange, blank: Risk) -> Risk:
    count = exchange.need(TokenCount)
    risk = assessed(blank, count)
    exchange.put(risk)
    exchange.headers.update(headers(count, risk))
    if count.most is None:
        exchange.headers.pop(ESTIMATED, None)
    else:
        exchange.headers[ESTIMATED] = "true"
    return risk


def _again(risk: Risk, blank: Risk, exchange: Exchange) -> None:
    """The same once the count is made, unless another stage has told something since."""
    if exchange.get(Risk) is risk:
        _tell(exchange, blank)


def _safe(blank: Risk, count: TokenCount) -> bool:
    """Whether even the most that a prompt can come to is nothing to speak of."""
    worst = assessed(blank, replace(count, total=count.most or 0))
    return max(worst.utilization, worst.likely) < min(SPEAKS_FROM, worst.bounds[0])


def assessed(risk: Risk, count: TokenCount) -> Risk:
    """The risk of another count in the same window, with the same reserve."""
    window = risk.limit or 1
    level, likely = risk.level_of((count.total + risk.reserve) / window), (count.calibrated + risk.reserve) / window
    return replace(risk, level=level, used=count.total, likely=likely)


def headers(count: TokenCount, risk: Risk) -> dict[str, str]:
    """What the client reads: the calibrated count, since that comes nearest to what the upstream will say."""
    told = {
        "x-context-limit": str(risk.limit),
        "x-context-used": str(count.calibrated),
        "x-context-reserve": str(risk.reserve),
        "x-context-utilization": f"{risk.likely * 100:.1f}",
        "x-context-risk": str(risk.outlook),
    }
    if risk.likely >= SPEAKS_FROM:
        told["x-context-warning"] = f"{risk.likely * 100:.0f} % of the context window is taken; {WORDS[risk.outlook]}"
    return told


def _asked(exchange: Exchange) -> int | None:
    """The tokens the client allows for the answer, None where it does not say."""
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        value: Any = exchange.conversation.head.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None
