"""Sends text to the Anthropic endpoint and images to the OpenAI one, and writes the target's name into the request."""

from typing import Any, Literal

import msgspec

from trimtab.api import (
    Conversation,
    DialectName,
    Exchange,
    Image,
    Model,
    ModelTable,
    Reply,
    Services,
    Stage,
    StageOptions,
    Target,
    Upstream,
    hookimpl,
)

SUFFIXES: dict[str, DialectName] = {"-openai": "chat", "-anthropic": "messages"}
"""What a client may write behind a model's name to choose the endpoint itself."""
ENDPOINTS: dict[str, DialectName] = {"openai": "chat", "anthropic": "messages"}


class RouteOptions(StageOptions, frozen=True, kw_only=True):
    """The table `[stage.route]`."""

    text_endpoint: Literal["auto", "anthropic", "openai"] = "auto"
    """Where text goes; `auto` is the first upstream of the model's row."""
    thinking: bool = True
    """Whether to add `thinking: enabled` on z.ai's OpenAI endpoint when the client said nothing of it."""


class Route(Stage[RouteOptions]):
    """Chooses upstream and model, and splices the members that the table says."""

    name = "route"
    Options = RouteOptions
    shapes = True
    models: ModelTable

    @hookimpl
    async def start(self, services: Services) -> None:
        """Keep the model table."""
        self.models = services.models

    @hookimpl
    def target(self, exchange: Exchange) -> Target | None:
        """The upstream and model for the conversation as it stands."""
        asked = self.asked(exchange)
        base, forced = split(asked, self.models)
        images = exchange.conversation.has(Image)
        model = self.models.serving(base, images=images)
        dialect = forced or self._preferred(model, exchange.dialect, images=images)
        upstream = self.models.upstream(model, dialect)
        if images and not upstream.images and upstream.image_upstream:
            upstream = self.models.upstreams[upstream.image_upstream]
            model = model if model.images else self.models.serving("auto", images=True)
        return Target(upstream, model)

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        """Write the target's model, and the members its table adds or refuses."""
        target = exchange.target
        exchange.set_member("model", target.model.name, f"served by upstream '{target.upstream.name}'")
        self._think(exchange, target)
        if target.dialect == exchange.dialect:
            self._report_usage(exchange, target.upstream)
            self._drop(exchange, target)
        return None

    def asked(self, exchange: Exchange) -> str:
        """The model the client asked for, or the one an earlier stage put in its place."""
        for edit in reversed(exchange.edits):
            if edit.member == "model" and edit.stage != self.label and isinstance(edit.after, bytes):
                # Not what stands there now: that may be our own answer already, without the suffix.
                return str(msgspec.json.decode(edit.after))
        return exchange.received.model

    def _preferred(self, model: Model, client: DialectName, *, images: bool) -> DialectName:
        if not model.upstreams:
            return client
        chosen = ENDPOINTS.get(self.options.text_endpoint)
        if chosen is not None and chosen in model.upstreams and not images:
            return chosen
        return next(iter(model.upstreams))

    def _think(self, exchange: Exchange, target: Target) -> None:
        able = target.upstream.thinking and target.model.thinking in ("default", "choice")
        if self.options.thinking and able and target.dialect == "chat" and _silent(exchange.conversation):
            # A translated body gets it from this member, in whatever dialect the client speaks.
            exchange.set_member("thinking", {"type": "enabled"}, "route.thinking")

    def _report_usage(self, exchange: Exchange, upstream: Upstream) -> None:
        """Ask a chat upstream for the usage it keeps to itself; the core hides it from a client that did not ask."""
        if not (upstream.include_usage and upstream.dialect == "chat" and exchange.conversation.stream):
            return
        options: Any = exchange.conversation.head.get("stream_options") or {}
        if isinstance(options, dict) and options.get("include_usage") is not True:
            exchange.set_member("stream_options", {**options, "include_usage": True}, "usage in streams")

    def _drop(self, exchange: Exchange, target: Target) -> None:
        for name in (*target.upstream.drop, *target.model.drop):
            if name in exchange.conversation.head:
                exchange.set_member(name, None, f"refused by upstream '{target.upstream.name}'")
                exchange.drop(name)


def _silent(conversation: Conversation) -> bool:
    """Whether a client of any dialect said nothing of thinking."""
    head = conversation.head
    config = head.get("output_config")
    effort = config.get("effort") if isinstance(config, dict) else None
    named = "thinking" in head or "reasoning_effort" in head
    return not named and head.get("reasoning") is None and effort is None


def split(name: str, models: ModelTable) -> tuple[str, DialectName | None]:
    """A model's name without its suffix, and the dialect the suffix asks for."""
    if name not in models.models:
        for suffix, dialect in SUFFIXES.items():
            if name.endswith(suffix) and len(name) > len(suffix):
                return name.removesuffix(suffix), dialect
    return name, None
