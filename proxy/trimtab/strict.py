"""Refuses a request that would mean something else to its upstream, where `core.strict` asks for that."""

from collections.abc import Iterable

from trimtab.errors import BadRequest

CHANGING = frozenset(
    {
        "audio",
        "document",
        "file",
        "functions",
        "image",
        "input_audio",
        "logit_bias",
        "logprobs",
        "modalities",
        "n",
        "output_config.format",
        "prediction",
        "response_format",
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


def check(dropped: Iterable[str]) -> None:
    """Raise BadRequest that names what was dropped and changes the meaning."""
    lost = [name for name in dropped if name in CHANGING or name.startswith(SERVER_TOOLS)]
    if lost:
        raise BadRequest(
            f"the upstream cannot be told {', '.join(lost)}: leave it out, or set core.strict = false to go without",
            param=lost[0],
        )
