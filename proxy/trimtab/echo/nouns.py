"""What the parts of the echo tell each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .faults import Fault
from .prompt import Piece, Request, total


@dataclass(frozen=True)
class EchoOptions:
    """How the pretended provider behaves."""

    delay: float = 0.0  # seconds before the first byte of a reply
    chunk_delay: float = 0.0  # seconds between two events of a stream
    text_chunk: int = 20  # characters of a text delta; arguments come in pieces of a quarter
    tool_turns: int = 2  # tools are called until this many results follow the last user text
    block: int = 128  # tokens of a cache block; cached tokens are a multiple of it
    entries: int = 2_000  # pieces of prompts that the cache knows
    keep: int = 1_000  # requests kept in `Echo.requests`
    api_key: str | None = None  # the only key that is accepted; None accepts any and none
    window: int | None = None  # tokens above which a prompt is refused
    models: Sequence[str] = field(default=("echo-1", "echo-1-mini"))  # what /models lists; any name is served


@dataclass(frozen=True)
class Recorded:
    """A request as it came."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Prompt:
    """A request as the model sees it; `key` names the whole prompt, `cached` tokens of it were known."""

    request: Request
    pieces: Sequence[Piece]
    key: str
    cached: int

    @property
    def tokens(self) -> int:
        """Count the prompt."""
        return total(self.pieces)


@dataclass(frozen=True)
class Usage:
    """What a reply cost: `prompt` includes `cached`, `output` includes `reasoning`."""

    prompt: int
    cached: int
    output: int
    reasoning: int


@dataclass(frozen=True)
class Call:
    """A call of a tool; `arguments` is a JSON object."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Reply:
    """A reply in no dialect; `key` is the same for the same prompt."""

    key: str
    model: str
    thinking: str | None
    text: str | None
    call: Call | None
    usage: Usage


class Dialect(Protocol):
    """What a dialect's module offers."""

    def thinks(self, request: Request) -> bool:
        """Say whether the request asks for thinking."""

    def answer(self, reply: Reply) -> dict[str, Any]:
        """Render a reply that is not streamed."""

    def events(self, reply: Reply, chunk: int, *, usage: bool) -> Iterator[bytes]:
        """Render a streamed reply, one event at a time."""

    def error(self, fault: Fault, request_id: str) -> dict[str, Any]:
        """Render an error."""

    def overflow(self, tokens: int, window: int) -> str:
        """Say that a prompt is too long, in the words on which a client acts."""

    def models(self, names: Sequence[str], window: int) -> dict[str, Any]:
        """Render the list of models."""


def cut(text: str, size: int) -> Iterator[str]:
    """Cut a text into deltas."""
    size = max(1, size)
    return (text[start : start + size] for start in range(0, len(text), size))
