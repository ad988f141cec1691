"""The options of condense, and what they come to for a window."""

from typing import Literal, NamedTuple

from trimtab.api import StageOptions

PER_TOKEN = 4
"""Bytes of a conversation that stand for a token, where frontiers are measured."""

Strategy = Literal["smart_truncation", "key_point_extraction", "conversation_summary", "progressive_summarization"]


class CondenseOptions(StageOptions, frozen=True, kw_only=True):
    """The table `[stage.condense]`; the thresholds are shares of the window."""

    strategy: Strategy = "smart_truncation"
    """The highest rung of the ladder."""
    model_rungs: bool = False
    """Whether the rungs that need a model are switched on."""
    only_models: tuple[str, ...] = ()
    """The models whose conversations they are for; none named is all."""
    model: str = ""
    """Who summarises; empty is the text model of `auto`."""
    emergency: float = 0.95
    """From here on a request is made to fit, whatever that costs."""
    patience: float = 0.92
    """Where condensing starts for a client that compacts by itself."""
    on_overflow: Literal["auto", "error", "truncate"] = "auto"
    """What happens where old results alone do not make it fit: the client is told, or turns are dropped."""
    keep: int = 20_000
    """Tokens at the end of a conversation that stay as they are; a fifth of the window at most."""
    repeats: bool = False
    """Whether a new result equal to an earlier one becomes a reference to it."""
    min_messages: int = 3
    """The smallest history worth condensing."""
    max_messages: int = 10
    """Messages that one question to the model is about."""
    timeout: float = 30.0
    """Seconds the model has for an answer."""
    ttl: float = 3600.0
    """Seconds a summary is kept after its last use."""

    def __post_init__(self) -> None:
        if not 0 < self.emergency <= 1 or not 0 < self.patience <= 1:
            raise ValueError("emergency and patience are shares of the window, above 0 and up to 1")
        if min(self.keep, self.min_messages, self.max_messages) < 1:
            raise ValueError("keep, min-messages and max-messages must be 1 or more")
        if min(self.timeout, self.ttl) <= 0:
            raise ValueError("timeout and ttl are seconds, above 0")


class Sizes(NamedTuple):
    """Sizes for one window, in tokens; `step` and `start` in bytes."""

    window: int
    step: int
    """From one boundary to the next."""
    start: int
    """What stays at the end."""
    aim: int
    """What a rung should come down to."""
    least: int
    """What an epoch removes at least."""
    budget: int
    """What a text made to fit takes of the user's words where all of them are too many, and what its lists take."""
    floor: int
    """Below this a prompt is never refused: the answer is what is too long then."""

    @classmethod
    def of(cls, options: CondenseOptions, window: int) -> "Sizes":
        """The sizes for a window."""
        step = max(1, min(20_000, window // 10))
        keep = min(options.keep, window // 5)
        return cls(
            window, step * PER_TOKEN, keep * PER_TOKEN, window * 6 // 10,  window // 20,
            min(20_000, window // 6), window // 2,
        )  # fmt: skip
