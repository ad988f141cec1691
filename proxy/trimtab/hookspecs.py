"""The hooks of a stage: the page a plugin author reads.

A stage is a class with an entry point in the group `trimtab`; its methods that carry `@hookimpl` are called in the
order in which pipelines.toml lists the stages (`event`, `done` and `stop` in the reverse order). A hook may take fewer
arguments than are named here, never others.
"""

from collections.abc import Iterable
from typing import ClassVar, Generic, TypeVar

import msgspec
import pluggy

from trimtab.dialects.base import Rendered
from trimtab.events import Event
from trimtab.exchange import Exchange, Operation
from trimtab.facts import Fact
from trimtab.models import Target
from trimtab.services import Services

GROUP = "trimtab"

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Reply(msgspec.Struct, frozen=True):
    """An answer a stage gives instead of the upstream: events, told to the client in its own dialect and mode."""

    events: tuple[Event, ...] = ()
    rendered: Rendered | None = None
    """A finished answer (status, headers, body), used as it is in place of the events."""


class Hooks:
    """The six phases of a stage."""

    @hookspec
    async def start(self, services: Services) -> None:
        """Get ready: open files, check options. Raise ConfigError to stop the start (or the reload)."""

    @hookspec
    async def request(self, exchange: Exchange) -> Reply | None:
        """Look at a request, put facts, edit it. A Reply ends its way here; raise Refused to say no.

        What it changes is committed together when it returns, or undone together when it raises or breaks an invariant.
        """

    @hookspec
    def target(self, exchange: Exchange) -> Target | None:
        """Say where this conversation would go as it stands; the first answer in the written order wins.

        Called again after edits, so it must be a pure function of the exchange.
        """

    @hookspec
    def event(self, exchange: Exchange, event: Event) -> Iterable[Event]:
        """Pass on one event of the reply, changed, multiplied or dropped. Only the types in `wants` come here.

        Synchronous, so that no stage can stall a stream. A reply that is not streamed is the same events.
        """
        return (event,)

    @hookspec
    def done(self, exchange: Exchange) -> None:
        """The exchange is over, whatever happened; `exchange.outcome` is complete. Called exactly once."""

    @hookspec
    async def stop(self) -> None:
        """Let go of everything; called after the last exchange of this set of stages."""


class StageOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Options of a stage: its table in pipelines.toml. Subclasses repeat `frozen=True, kw_only=True`.

    Checks across fields go into `__post_init__` as ValueError.
    """

    def remarks(self) -> tuple[str, ...]:
        """Sentences that `trimtab check` prints: what a choice against the defaults costs."""
        return ()


O = TypeVar("O", bound=StageOptions)  # noqa: E741  # the design's own name for it


class Stage(Hooks, Generic[O]):
    """Base of all stages. An instance holds configuration only; what belongs to one request lives in its exchange."""

    name: ClassVar[str]
    Options: ClassVar[type[StageOptions]] = StageOptions
    needs: ClassVar[frozenset[type[Fact]]] = frozenset()
    """Facts that stages before it must provide."""
    provides: ClassVar[frozenset[type[Fact]]] = frozenset()
    """Facts it puts."""
    optional: ClassVar[bool] = False
    """Whether the request goes on without it when it fails."""
    operations: ClassVar[frozenset[Operation]] = frozenset({"generate", "count"})
    wants: ClassVar[frozenset[type[Event]]] = frozenset()
    """Types of events its `event` hook is called with."""
    once: ClassVar[bool] = False
    """Whether its `request` hook runs once per request only, because it admits or counts; not again when another target
    takes over. Such a stage comes before those that edit: its facts and headers are kept, its edits are not."""
    again: ClassVar[bool] = False
    """Whether `request` is called a second time, with the fact Overflowed, when the upstream says that the prompt is
    too long and nothing has reached the client: if it makes the conversation shorter, it is sent once more."""
    rough: ClassVar[bool] = False
    """Whether it does with an estimate and a sure bound where the TokenCount that it needs is still being made."""
    shapes: ClassVar[bool] = False
    """Whether it changes the bytes that leave: a change of its options is then an epoch for every conversation."""

    def __init__(self, options: O, label: str | None = None) -> None:
        self.options = options
        self.label = label or self.name
        """The word that stands for it in pipelines.toml."""
