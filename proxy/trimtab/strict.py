"""Refuses a request that would mean something else to its upstream, where `core.strict` asks for that."""

from collections.abc import Collection, Iterable

from trimtab.errors import BadRequest

CHANGING = frozenset(
    {
        "audio",
        "conversation",
        "document",
        "file",
        "functions",
        "image",
        "include.message.output_text.logprobs",
        "input_audio",
        "logit_bias",
        "logprobs",
        "modalities",
        "n",
        "output_config.format",
        "output_format",
        "prediction",
        "prompt",
        "response_format",
        "system",
        "text.format",
        "tool_choice",
        "tool_choice.disable_parallel_tool_use",
        "parallel_tool_calls",
        "tools",
        "top_logprobs",
        "web_search_options",
    }
)
"""Names of what changes the meaning of a request when it is dropped; the rest only tunes it."""

SERVER_TOOLS = ("web_search", "web_fetch", "code_execution", "mcp", "tool_search", "advisor", "file_search")
"""How tools begin that only their vendor runs: a model without one answers something else."""


QUIET = frozenset({"ghost_snapshot"})
"""Items that say nothing to a model."""


def check(dropped: Iterable[str], parts: Collection[str] = ()) -> None:
    """Raise BadRequest that names what was dropped and changes the meaning.

    `parts` are those names that stand for a whole part of a message, an item, or a tool: what nobody knows is among
    them, and with it what it says.
    """
    lost = [name for name in dropped if name not in QUIET and (name in parts or _changes(name))]
    if lost:
        raise BadRequest(
            f"the upstream cannot be told {', '.join(lost)}: leave it out, or set core.strict = false to go without",
            param=lost[0],
        )


def _changes(name: str) -> bool:
    return name in CHANGING or name.startswith(SERVER_TOOLS)
