"""Clients by name: each with a key of its own, and what that key may do."""

from collections.abc import Mapping
from hashlib import sha256

from trimtab.api import Exchange, Refused, StageOptions

ANY = "*"


class Client(StageOptions, frozen=True, kw_only=True):
    """The table `[stage.auth.clients.NAME]`; its text shows no key and no hash."""

    key: str | None = None
    """Its key; better is the hash alone."""
    key_sha256: str | None = None
    """The SHA-256 of its key, in hex."""
    pipelines: tuple[str, ...] = ()
    """The pipelines it may use; none named is all."""
    models: tuple[str, ...] = ()
    """The names of models it may ask for, `glm-*` for all that begin so; none named is all."""
    per_minute: int | None = None
    """In place of `per-minute` of the stage."""
    max_streams: int | None = None
    """In place of `max-streams` of the stage."""

    def __post_init__(self) -> None:
        if (self.key is None) == (self.key_sha256 is None):
            raise ValueError("needs a key: set either key-sha256 or key")
        if self.key is not None and not self.key.strip():
            raise ValueError("key is empty")
        if self.key_sha256 is not None and not _is_hash(self.key_sha256):
            raise ValueError("key-sha256 must be 64 hex digits: printf %s KEY | sha256sum")
        if min(self.per_minute or 0, self.max_streams or 0) < 0:
            raise ValueError("per-minute and max-streams must be 0 (no limit) or more")

    def __repr__(self) -> str:
        pipelines, models = ", ".join(self.pipelines) or "all", ", ".join(self.models) or "all"
        return f"pipelines {pipelines}; models {models}"

    @property
    def digest(self) -> bytes:
        """The SHA-256 of its key."""
        if self.key_sha256 is not None:
            return bytes.fromhex(self.key_sha256)
        return sha256((self.key or "").strip().encode("utf-8", "surrogatepass")).digest()


def _is_hash(text: str) -> bool:
    return len(text) == 64 and all(letter in "0123456789abcdefABCDEF" for letter in text)


def by_digest(clients: Mapping[str, Client]) -> dict[bytes, tuple[str, Client]]:
    """Name and rule by the hash of a key, without the keys. Raises ValueError where two share one."""
    found: dict[bytes, tuple[str, Client]] = {}
    for name, client in clients.items():
        if client.digest in found:
            raise ValueError(f"clients.{name} has the same key as clients.{found[client.digest][0]}")
        bare = {option: getattr(client, option) for option in ("pipelines", "models", "per_minute", "max_streams")}
        found[client.digest] = (name, Client(key_sha256=client.digest.hex(), **bare))
    return found


def check(client: Client, exchange: Exchange) -> None:
    """Raise Refused (403) for a pipeline or a model that a client may not use."""
    if client.pipelines and exchange.pipeline not in client.pipelines:
        raise Refused(f"this client key may not use the pipeline '{exchange.pipeline}' (auth.clients)")
    if (
        client.models
        and exchange.operation != "inspect"
        and not any(fits(pattern, exchange.received.model) for pattern in client.models)
    ):
        raise Refused("this client key may not use the model that the request names (auth.clients)")


def fits(pattern: str, name: str) -> bool:
    """Whether a name is the pattern, or begins like one that ends in `*`."""
    return name.startswith(pattern[:-1]) if pattern.endswith(ANY) else name == pattern
