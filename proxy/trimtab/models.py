"""The model table: which upstream serves which model, with what limits, prices and quirks. Data, never code.

Shipped as `models.toml`, extended or overridden by the tables of the same names in pipelines.toml.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from trimtab.conversation import DialectName
from trimtab.endpoints import host
from trimtab.errors import BadRequest, Cause

ZAI_HOSTS = ("z.ai", "bigmodel.cn")
ZAI_PARALLEL = 3
"""Of ten parallel requests of one key, three were answered and seven refused (protocol.md 1.6)."""

ImageRule = Literal[
    "glm",
    "glm-5",
    "anthropic",
    "anthropic-high",
    "openai-tiles",
    "openai-tiles-4o-mini",
    "openai-tiles-o",
    "openai-tiles-5",
    "openai-patches-mini",
    "openai-patches-nano",
    "openai-patches-o4-mini",
]
"""How a model counts an image; the formulas are those of image_tokens.py."""


Seconds = Annotated[float, msgspec.Meta(gt=0)]
Dollars = Annotated[float, msgspec.Meta(ge=0)]


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Base of the rows: names as in TOML, unknown ones refused."""


class Cache(Entry, frozen=True, kw_only=True):
    """The provider's prefix cache; what a model's row leaves open its upstream's says, and then the usual."""

    kind: Literal["implicit", "explicit"] | None = None
    """Whether it works by itself, or at the cache marks of a request."""
    read: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """The price of a cached token over a fresh one, where `prices` do not tell."""
    write: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """The price of a token written to it over one that is not."""
    lifetime: Seconds | None = None
    """Seconds that it lives after its last use."""
    long_lifetime: Seconds | None = None
    """Seconds that it lives where the request asks for an hour, and after which nothing is left of any."""
    smallest: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Tokens of the smallest prefix that is cached."""


class Upstream(Entry, frozen=True, kw_only=True):
    """A place that answers requests in one dialect."""

    name: str = ""
    enabled: bool = True
    """False takes the row away: models that it would have served go to the other upstreams."""
    dialect: DialectName
    base_url: str
    auth: Literal["bearer", "x-api-key", "none"] = "bearer"
    key: str | None = None
    """The server's own key for this upstream; `auth.server-key` where it is None."""
    forwarding: bool | None = None
    """Whether a client's own key is sent to it; None is yes for rows of your own, no for shipped ones."""
    images: bool = True
    """Whether models behind it can see images."""
    image_upstream: str | None = None
    """Where a request with images goes when this upstream cannot see them."""
    thinking: bool = False
    """Whether it takes the member `thinking` of z.ai's chat endpoint, which route may add."""
    include_usage: bool = False
    """Whether it reports usage in streams only when `stream_options.include_usage` asks for it."""
    drop: tuple[str, ...] = ()
    """Members it is known to refuse."""
    accepts: tuple[str, ...] = ()
    """All members that a translated body may have; none named is no limit. In the same dialect everything passes."""
    tool_choice: Literal["any", "auto"] = "any"
    """Whether a translated body may force or forbid tools."""
    stop_words: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Stop words in a translated body at most."""
    temperature: tuple[float, float] | None = None
    """The least and the greatest temperature; a translated one is clipped."""
    top_p: tuple[float, float] | None = None
    """The least and the greatest `top_p`."""
    json_schema: bool = True
    """Whether a translated body may ask for JSON by its schema; where not, the schema is told in words."""
    files: bool = True
    """Whether it reads documents in a translated body."""
    signatures: Literal["checked", "ignored"] = "ignored"
    """Whether it refuses thoughts that it did not sign itself; those leave no body then."""
    reasoning: Literal["own", "spread", "none"] = "own"
    """Where a translated chat body tells earlier thoughts: `spread` repeats one on the later tool calls of its turn."""
    output_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """How a translated chat body names its limit of output."""
    headers: Mapping[str, str] = {}
    """Headers added to every request."""
    connect_timeout: Seconds = 10.0
    """Seconds to open a connection."""
    first_byte_timeout: Seconds = 600.0
    """Seconds to the first byte of the answer."""
    silence_timeout: Seconds = 300.0
    """Seconds between two pieces of an answer."""
    shipped: bool = False
    """Whether it comes with trimtab: models without a row go to upstreams of your own first, whatever their dialect."""
    keys: tuple[str, ...] = ()
    """Further keys of the server's own; requests are spread over all of them."""
    max_parallel: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Parallel requests per key; 0 is no limit, None is 3 for z.ai's hosts and no limit elsewhere."""
    queue_timeout: Annotated[float, msgspec.Meta(ge=0)] = 30.0
    """Seconds that a request waits for a place."""
    cache: Cache = Cache()
    billing: Literal["tokens", "prompts"] = "tokens"
    """What its plan counts."""

    @property
    def parallel(self) -> int | None:
        """Parallel requests per key, None for any number."""
        if self.max_parallel is not None:
            return self.max_parallel or None
        name = host(self.base_url)
        return ZAI_PARALLEL if name in ZAI_HOSTS or name.endswith(tuple(f".{one}" for one in ZAI_HOSTS)) else None

    @property
    def takes_client_keys(self) -> bool:
        """Whether the operator has a client's own key sent to it."""
        return not self.shipped if self.forwarding is None else self.forwarding

    def __repr__(self) -> str:
        """Without key and headers, which may hold one."""
        return f"Upstream({self.name!r}, {self.dialect}, {self.base_url})"


class Fallback(Entry, frozen=True, kw_only=True):
    """A target that takes over when the ones before it fail."""

    upstream: str
    model: str | None = None
    """The model's name there; None where it is the same."""


class Prices(Entry, frozen=True, kw_only=True):
    """US dollars per million tokens."""

    input: Dollars
    cached: Dollars
    output: Dollars
    write: Dollars | None = None
    """Of a token written to the cache; None is what `cache.write` makes of `input`."""


class Model(Entry, frozen=True, kw_only=True):
    """A model, or a name that stands for others (`text`, `vision`)."""

    name: str = ""
    enabled: bool = True
    """False takes the row away: the name is then one of a model without a row."""
    window: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Tokens of prompt and answer together; None where it is not known."""
    max_output: Annotated[int, msgspec.Meta(ge=1)] | None = None
    upstreams: Mapping[DialectName, str] = {}
    """The upstream that serves it, per dialect; the first is the default."""
    fallbacks: tuple[Fallback, ...] = ()
    """What takes over, in this order, when the first one fails."""
    text: str | None = None
    """The model that answers requests without images under this name."""
    vision: str | None = None
    """The model that answers requests with images under this name."""
    images: bool = False
    """Whether it can see images."""
    image_tokens: ImageRule | None = None
    """How it counts an image; None where nobody told."""
    thinking: Literal["always", "default", "choice", "none"] = "none"
    efforts: tuple[str, ...] | None = None
    """The values of `reasoning_effort` it takes; None where they are not known."""
    drop: tuple[str, ...] = ()
    """Members it is known to refuse."""
    prices: Prices | None = None
    cache: Cache = Cache()
    display_name: str = ""


class Target(msgspec.Struct, frozen=True):
    """Where a conversation goes: an upstream and the model's name there, with the model's row."""

    upstream: Upstream
    model: Model

    @property
    def dialect(self) -> DialectName:
        """The dialect the upstream speaks."""
        return self.upstream.dialect


class Terms(NamedTuple):
    """What tokens cost at a target, and how its cache works; nothing is left open."""

    kind: Literal["implicit", "explicit"]
    read: float
    """The price of a cached token over a fresh one that is not written to the cache (r)."""
    write: float
    """The price of a fresh token of the prompt over the same (w)."""
    lifetime: float
    long_lifetime: float
    smallest: int
    input: float | None
    """US dollars for a million fresh tokens; None where nobody told."""
    output: float | None
    quota: bool
    """Whether the plan counts prompts, not tokens."""


_USUAL = Cache(read=0.1, lifetime=300.0, long_lifetime=3600.0, smallest=1024)
"""Where no row says more: a read price that makes an edit pay least, and Anthropic's lifetimes."""
_BY_DIALECT: Mapping[DialectName, Cache] = {
    "messages": Cache(kind="explicit", write=1.25),
    "chat": Cache(kind="implicit", write=1.0),
    "responses": Cache(kind="implicit", write=1.0),
}


def terms(target: Target) -> Terms:
    """The prices and the cache of a target: of its model's row, then its upstream's, then the usual."""
    model, upstream = target.model, target.upstream
    return _terms(model.cache, upstream.cache, target.dialect, model.prices, upstream.billing)


@lru_cache(maxsize=256)
def _terms(model: Cache, upstream: Cache, dialect: DialectName, prices: Prices | None, billing: str) -> Terms:
    layers = (model, upstream, _BY_DIALECT[dialect], _USUAL)

    def first(name: str) -> Any:
        return next(value for layer in layers if (value := getattr(layer, name)) is not None)

    read, write = first("read"), first("write")
    if first("kind") == "implicit" and model.write is None and upstream.write is None:
        write = 1.0
    if prices is not None and prices.input > 0:
        read = prices.cached / prices.input
        write = write if prices.write is None else prices.write / prices.input
    return Terms(
        first("kind"), read, write, first("lifetime"), first("long_lifetime"), first("smallest"),
        None if prices is None else prices.input, None if prices is None else prices.output,
        billing == "prompts",
    )  # fmt: skip


class ModelTable:
    """Rows by name, and the default upstream of each dialect."""

    def __init__(self, upstreams: Mapping[str, Upstream], models: Mapping[str, Model]) -> None:
        self.upstreams = {name: msgspec.structs.replace(row, name=name) for name, row in upstreams.items()}
        self.models = {name: msgspec.structs.replace(row, name=name) for name, row in models.items()}

    def model(self, name: str) -> Model:
        """The row of a model; an empty one for a model we do not know."""
        return self.models.get(name) or Model(name=name)

    def default_upstream(self, dialect: DialectName) -> Upstream:
        """Where a model without a row goes: the first upstream that speaks a dialect, one's own before shipped ones.

        With upstreams of one's own and none in this dialect, the first of them: a request is translated rather than
        sent to somebody the operator did not name. BadRequest when there is none at all.
        """
        # No upstream is asked in Responses; a model without a row behind it is most likely OpenAI's kind.
        dialect = "chat" if dialect == "responses" else dialect
        own = [upstream for upstream in self.upstreams.values() if not upstream.shipped]
        candidates = own or list(self.upstreams.values())
        for upstream in candidates:
            if upstream.dialect == dialect:
                return upstream
        if own:
            return own[0]
        raise BadRequest(f"no upstream speaks {dialect}: add one to pipelines.toml", cause=Cause.NOT_FOUND)

    def upstream(self, model: Model, dialect: DialectName) -> Upstream:
        """The upstream of a model in a dialect; the dialect's default for a model without one."""
        name = model.upstreams.get(dialect)
        return self.upstreams[name] if name is not None else self.default_upstream(dialect)

    def resolve(self, name: str, *, images: bool, dialect: DialectName) -> Target:
        """Where a request for `name` goes when no stage chooses: its first upstream, or the client's dialect."""
        model = self.serving(name, images=images)
        dialects = tuple(model.upstreams)
        return Target(self.upstream(model, dialects[0] if dialects else dialect), model)

    def serving(self, name: str, *, images: bool) -> Model:
        """The row that answers under a name: its vision model when there are images it cannot see itself."""
        model = self.model(name)
        if model.text is not None and not images:
            return self.model(model.text)
        if model.vision is not None and images and not model.images:
            return self.model(model.vision)
        return model
