"""What a configuration consists of, once it is read and checked."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from trimtab.hookspecs import StageOptions
from trimtab.models import ModelTable
from trimtab.policy import Client, Failure, Policy
from trimtab.registry import AnyStage

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Base of the tables: names as in TOML, unknown ones refused."""


class ServeOptions(Section, frozen=True, kw_only=True):
    """`[serve]`: the server itself."""

    host: str = "127.0.0.1"
    port: Port = 5000
    max_request_mb: Count = 100
    """Larger requests are refused while they are read."""
    max_header_kb: Count = 64
    """Larger heads are refused."""
    max_inflight_mb: Count = 256
    """Bodies of all requests under way; each costs about four times its size in memory."""
    max_nesting: Count = 200
    """How deep a request's JSON may be nested."""
    max_values: Count = 100_000
    """Values in a request's JSON: commas and opening brackets outside of strings."""
    max_messages: Count = 20_000
    max_tools: Count = 1_000
    max_images: Count = 1_000
    max_image_mp: Count = 100
    """Megapixels of one image, as its header says."""
    head_timeout: Seconds = 30.0
    """Seconds in which a request's head must come; 0 is no limit."""
    body_timeout: Seconds = 60.0
    """Seconds in which its body must come, and as many again for every 8 MB of it; 0 is no limit."""
    hosts: tuple[str, ...] = ()
    """Names under which clients reach the proxy; needed where it is bound to this machine and has another name."""
    request_id: bool = True
    """Whether `x-request-id` is taken from the client, returned and logged."""
    cors: bool = False
    """Whether pages of other origins may call: those of this machine, and `origins`."""
    origins: tuple[str, ...] = ()
    """Further origins, as `https://app.example`."""
    debug: bool = False
    first_ping: Seconds = 45.0
    """Seconds of silence before the first sign of life in a stream."""
    ping_interval: Seconds = 15.0
    """Seconds between two of them."""
    grace: Seconds = 60.0
    """Seconds that open streams get at shutdown."""

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


class CoreOptions(Section, frozen=True, kw_only=True):
    """`[core]`: what is kept in memory."""

    memo_mb: Count = 64
    """Megabytes of parsed messages."""
    memo_entries: Count = 200_000
    """Token counts, under 200 bytes each."""
    stage_timeout: Seconds = 120.0
    """Seconds that a stage may work on a request; 0 is no limit."""
    stage_timeouts: Mapping[str, Seconds] = {}
    """The same for single stages, by their labels."""
    stage_failures: Annotated[int, msgspec.Meta(ge=0)] = 5
    """Failures in a row after which an optional stage is left out for a while; 0 is never."""
    stage_rest: Seconds = 60.0
    """Seconds for which it is left out."""
    extras: bool = True
    """Whether replies say how full the context is, in members beside the upstream's own."""
    strict: bool = False
    """Whether a request is refused that would lose a part of its meaning on its way to the upstream."""
    default_max_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0
    """The limit of output of a `messages` request that gives none; 0 refuses it, as Anthropic does."""


class RetryOptions(Section, frozen=True, kw_only=True):
    """`[retry]`: what is done about failures of upstreams."""

    attempts: Count = 3
    """Requests to one target for one request of a client, before its first byte; 1 tries once."""
    first_wait: Seconds = 1.0
    """Seconds before the second of them; each further wait is twice as long, and by chance up to a half shorter."""
    max_wait: Seconds = 30.0
    """Seconds of one wait at most. An upstream that asks for more is not asked again."""
    budget: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1
    """How many more requests than came in may go out, as a share of them."""
    reserve: Annotated[int, msgspec.Meta(ge=0)] = 10
    """Retries to begin with, and how many unused ones add up to; 0 allows none."""

    fallback_on: tuple[Failure, ...] = (
        Failure.CONNECT,
        Failure.SERVER,
        Failure.OVERLOADED,
        Failure.RATE_LIMIT,
        Failure.TIMEOUT,
        Failure.QUOTA,
        Failure.BILLING,
    )
    """The classes of failures on which a model's next target takes over."""
    breaker: Annotated[int, msgspec.Meta(ge=0)] = 10
    """Failures in a row after which an upstream is left alone for a while; 0 is never."""
    breaker_rest: Seconds = 15.0
    """Seconds that it is left alone; twice as long after each request that fails then, up to eight times."""

    hold_tool_calls: bool | Literal["auto"] = "auto"
    """Whether a tool call is passed on only when complete, so that a break inside it can be retried unseen; `auto` does
    so for clients that end on a broken stream."""

    def holds(self, client: Client) -> bool:
        """Whether tool calls are held for a client."""
        return client.gives_up if self.hold_tool_calls == "auto" else self.hold_tool_calls

    def policy(self) -> Policy:
        """The rules with these numbers."""
        return Policy(
            attempts=self.attempts,
            first_wait=self.first_wait,
            max_wait=self.max_wait,
            fallback_on=frozenset(self.fallback_on),
        )


class StoreOptions(Section, frozen=True, kw_only=True):
    """`[store]`: what outlives the process."""

    path: str = "./cache"
    compress: bool = True
    log: bool = False
    url: str | None = None
    """`redis://...` for several machines; None is the folder."""


class PipelineOptions(Section, frozen=True, kw_only=True):
    """`[pipeline.NAME]`: the labels of its stages, in the order in which they run."""

    stages: tuple[str, ...]


class StageSpec(msgspec.Struct, frozen=True):
    """A stage as a pipeline uses it: its label, its name, its class and its options."""

    label: str
    use: str
    cls: type[AnyStage]
    options: StageOptions


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the proxy was told, and by whom."""

    serve: ServeOptions
    core: CoreOptions
    store: StoreOptions
    retry: RetryOptions = RetryOptions()
    models: ModelTable
    pipelines: Mapping[str, tuple[str, ...]]
    """Labels by pipeline, without the stages that are switched off."""
    stages: Mapping[str, StageSpec]
    """The stages that stand in at least one pipeline, by label."""
    sources: Mapping[str, str]
    """Where the value of an option came from, by its dotted path."""
    notes: tuple[str, ...] = ()
    """Warnings to print at start."""
    hints: tuple[str, ...] = ()
    """What is worth knowing and no fault."""
    path: Path | None = None
    digest: str = ""
    """SHA-256 of the file, in hex."""

    def __repr__(self) -> str:
        return f"Config({self.path})"  # options hold keys, and tracebacks print what they find


def leaves(struct: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Options by path and value, tables within tables walked."""
    found: list[tuple[tuple[str, ...], Any]] = []
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        where = (*path, field.encode_name)
        found += leaves(value, where) if isinstance(value, msgspec.Struct) else [(where, value)]
    return found
