"""Reports usage in the units the client expects: a client that believes in another window compacts at the right time.

The ratio is one constant for each client dialect and model name, the same on every surface: it rests on the window of
the model that answers text under that name, in a turn with images too. The hooks of a reply run backwards, so `log`,
which stands behind this stage, hears the true numbers; they stay in `exchange.outcome.usage`.
"""

from collections.abc import Iterable

from trimtab.api import (
    DialectName,
    Event,
    Exchange,
    Finished,
    Reply,
    Scale,
    Stage,
    StageOptions,
    Started,
    Usage,
    hookimpl,
    replace,
)

REAL = "x-trimtab-real-input-tokens"
"""Header with the tokens of the prompt as the upstream counted them, where they are known before the reply begins."""
PARTS = ("input", "cache_read", "cache_write")


class Expected(StageOptions, frozen=True, kw_only=True):
    """The windows that clients believe in, by the dialect they speak."""

    messages: int | None = None
    chat: int | None = None
    """For Responses clients too."""

    def __post_init__(self) -> None:
        if any(window is not None and window <= 0 for window in (self.messages, self.chat)):
            raise ValueError("expected windows must be above 0")


class ScaleOptions(StageOptions, frozen=True, kw_only=True):
    """The table `[stage.scale]`; it reports true numbers unless a window is set."""

    expected: Expected = Expected()
    count: bool = True
    """Whether the answers of `count_tokens` are scaled too."""


class Scaler(Stage[ScaleOptions]):
    """Puts the fact Scale where a window is expected, and tells usage by it."""

    name = "scale"
    Options = ScaleOptions
    provides = frozenset({Scale})
    optional = True

    def __init__(self, options: ScaleOptions, label: str | None = None) -> None:
        super().__init__(options, label)
        if options.expected != Expected():
            # Without a window nothing is decoded for this stage, which the class cannot know.
            vars(self)["wants"] = frozenset({Started, Finished})

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        """Fix the ratio before anything is told."""
        told = self._expected(exchange.dialect)
        real = exchange.text_target.model.window if told else None
        if told and real and told != real:
            exchange.put(Scale(told=told, real=real, count=self.options.count))
        return None

    def _expected(self, dialect: DialectName) -> int | None:
        expected = self.options.expected
        return expected.messages if dialect == "messages" else expected.chat

    @hookimpl
    def event(self, exchange: Exchange, event: Event) -> Iterable[Event]:
        """Usage in the client's units; only called where a window is expected."""
        scale = exchange.get(Scale)
        if scale is None or not isinstance(event, Started | Finished) or event.usage is None:
            return (event,)
        if event.usage.prompt:
            exchange.headers[REAL] = str(event.usage.prompt)
        return (replace(event, usage=scaled(event.usage, scale)),)


def scaled(usage: Usage, scale: Scale) -> Usage:
    """Usage in other units: the parts of the prompt make up its total, and nothing that is there becomes nothing."""
    parts = {name: scale(getattr(usage, name)) for name in PARTS}
    total = max(scale(usage.prompt), sum(part > 0 for part in parts.values()))
    # Rounding errors go where they are smallest.
    parts[max(parts, key=parts.__getitem__)] += total - sum(parts.values())
    output = scale(usage.output)
    reasoning = None if usage.reasoning is None else min(scale(usage.reasoning), output)
    return replace(usage, **parts, output=output, reasoning=reasoning)
