"""The shapes of OpenAI's replies, as far as we read them; whatever is missing or null is None."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trimtab.dialects.edits import Path
from trimtab.events import Usage

Number = int | float | None


class PromptDetails(msgspec.Struct):
    """Of the prompt."""

    cached_tokens: Number = None
    cache_write_tokens: Number = None


class OutputDetails(msgspec.Struct):
    """Of the completion."""

    reasoning_tokens: Number = None


class Counters(msgspec.Struct):
    """The usage of a reply."""

    prompt_tokens: Number = None
    completion_tokens: Number = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: OutputDetails | None = None


class Function(msgspec.Struct):
    """What a call calls."""

    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct):
    """A tool call, or a piece of one."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct):
    """A message, or what a chunk adds to it."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    reasoning_details: Any = None

    @property
    def thought(self) -> str:
        """The model's thought, by whichever name."""
        return self.reasoning_content or self.reasoning or detailed(self.reasoning_details)

    @property
    def calls(self) -> Sequence[Call]:
        """The calls, that of the time of `functions` too."""
        legacy = self.function_call
        said = legacy is not None and (legacy.name or legacy.arguments)
        return self.tool_calls or ((Call(0, None, legacy),) if said else ())


def detailed(details: Any) -> str:
    """The thought of a server that tells it in `reasoning_details` only."""
    found = [item.get("text") or item.get("summary") for item in details if isinstance(item, dict)] if details else ()
    return "".join(said for said in found if isinstance(said, str))


class Choice(msgspec.Struct):
    """One of the alternatives; we read the first."""

    index: int | None = None
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None
    usage: Counters | None = None


class Chunk(msgspec.Struct):
    """A chunk of a stream, or a whole reply."""

    id: str | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: Counters | None = None
    error: Any = None


def tokens(counter: Number) -> int:
    """A counter as a number of tokens; some servers write -1 for what they do not know."""
    return max(0, int(counter or 0))


def usage_of(counters: Counters | None) -> Usage | None:
    """The usage behind the counters: what the cache gave or took is not counted as input."""
    if counters is None:
        return None
    prompt, output = counters.prompt_tokens_details, counters.completion_tokens_details
    total = tokens(counters.prompt_tokens)
    read = min(tokens(prompt.cached_tokens if prompt else 0), total)
    written = min(tokens(prompt.cache_write_tokens if prompt else 0), total - read)
    reasoning = output.reasoning_tokens if output else None
    return Usage(
        input=total - read - written,
        cache_read=read,
        cache_write=written,
        output=tokens(counters.completion_tokens),
        reasoning=None if reasoning is None else tokens(reasoning),
    )


def numbers(usage: Usage | None) -> Mapping[Path, int]:
    """The counters of a usage, by their place in the member `usage`."""
    if usage is None:
        return {}
    found: dict[Path, int] = {
        ("prompt_tokens",): usage.prompt,
        ("completion_tokens",): usage.output,
        ("total_tokens",): usage.prompt + usage.output,
        ("prompt_tokens_details", "cached_tokens"): usage.cache_read,
    }
    if usage.cache_write:
        found["prompt_tokens_details", "cache_write_tokens"] = usage.cache_write
    if usage.reasoning is not None:
        found["completion_tokens_details", "reasoning_tokens"] = usage.reasoning
    return found


def usage_json(usage: Usage | None) -> dict[str, Any] | None:
    """The member `usage` of our own making, None where nothing is known."""
    if usage is None:
        return None
    made: dict[str, Any] = {}
    for path, number in numbers(usage).items():
        holder = made
        for step in path[:-1]:
            holder = holder.setdefault(str(step), {})
        holder[str(path[-1])] = number
    return made
