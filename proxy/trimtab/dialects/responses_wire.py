"""The shapes of Responses replies: the response object with every member that the published schemas require."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from trimtab.conversation import Conversation
from trimtab.dialects.responses_tools import Offer
from trimtab.events import StopReason, Usage

ID = "resp_"
"""How the id of a response begins."""

_INCOMPLETE = {
    StopReason.LENGTH: "max_output_tokens",
    StopReason.CONTEXT: "max_output_tokens",
    StopReason.REFUSAL: "content_filter",
}
SEALED = "reasoning.encrypted_content"
"""What a client includes that wants to send thoughts back."""


class Asked(NamedTuple):
    """What a reply repeats of its request, and how it tells calls and thoughts."""

    echo: Mapping[str, Any] = {}
    """Members of the response object."""
    offers: Mapping[str, Offer] = {}
    """The tools on offer by their flat names."""
    sealed: bool = False
    """Whether thoughts come with a copy to send back."""


def asked(conversation: Conversation, offers: Mapping[str, Offer]) -> Asked:
    """What the replies to a request need to know of it."""
    include = conversation.head.get("include")
    return Asked(_echo(conversation), offers, isinstance(include, list) and SEALED in include)


def _echo(conversation: Conversation) -> dict[str, Any]:
    head = conversation.head

    def said(name: str, kind: type | tuple[type, ...], otherwise: Any) -> Any:
        value = head.get(name)
        fits = isinstance(value, kind) and not isinstance(value, bool)
        return value if fits else otherwise

    reasoning, text, number = said("reasoning", dict, {}), said("text", dict, {}), (int, float)
    tools = said("tools", list, [])
    return {
        "instructions": head.get("instructions"),
        "tools": [_tool(tool) for tool in tools],
        "tool_choice": said("tool_choice", (str, dict), "auto"),
        "parallel_tool_calls": head.get("parallel_tool_calls") is not False,
        "text": {"verbosity": "medium", **text, "format": _format(text.get("format"))},
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "temperature": said("temperature", number, 1.0),
        "top_p": said("top_p", number, 1.0),
        "presence_penalty": said("presence_penalty", number, 0.0),
        "frequency_penalty": said("frequency_penalty", number, 0.0),
        "top_logprobs": said("top_logprobs", int, 0),
        "max_output_tokens": said("max_output_tokens", int, None),
        "max_tool_calls": said("max_tool_calls", int, None),
        "metadata": said("metadata", dict, {}),
        "safety_identifier": said("safety_identifier", str, None),
        "prompt_cache_key": said("prompt_cache_key", str, None),
        "user": said("user", str, None),
        # What the proxy never does, whatever was asked for.
        "previous_response_id": None,
        "truncation": "disabled",
        "store": False,
        "background": False,
        "service_tier": "default",
    }


def _tool(tool: Any) -> Any:
    """A tool as it was sent; a function with all its members."""
    if not isinstance(tool, dict) or tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": None, **tool}


def _format(given: Any) -> Any:
    if not isinstance(given, dict) or "type" not in given:
        return {"type": "text"}
    if given["type"] != "json_schema":
        # Another kind was not asked for upstream.
        return {"type": "json_object" if given["type"] == "json_object" else "text"}
    return {"description": None, "strict": False, **given}


def incomplete(reason: StopReason) -> str | None:
    """Why a response is incomplete, None where it is not."""
    return _INCOMPLETE.get(reason)


def usage_json(usage: Usage | None) -> dict[str, Any] | None:
    """The member `usage`, its details always there; None where nothing is known."""
    if usage is None:
        return None
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": usage.prompt + usage.output,
    }


def resource(
    head: Mapping[str, Any],
    status: str,
    output: list[Any],
    *,
    completed_at: int | None = None,
    usage: Usage | None = None,
    error: Mapping[str, str] | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    """The response object; `head` holds id, time, model and what is repeated of the request."""
    return {
        **head,
        "status": status,
        "completed_at": completed_at,
        "output": output,
        "usage": usage_json(usage),
        "error": error,
        "incomplete_details": None if reason is None else {"reason": reason},
    }
