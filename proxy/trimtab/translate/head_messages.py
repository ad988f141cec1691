"""The head of a chat request as that of a messages request (protocol.md 2.1)."""

from typing import Any

import msgspec

from trimtab.errors import BadRequest
from trimtab.translate import tools
from trimtab.translate.draft import JSON_LINE, Draft, Rules, budget_of, nothing, pseudonym
from trimtab.translate.names import tool_name

UNKNOWN_LIMIT = 4096
"""The limit of output for a model of which nothing is known: this dialect wants one."""

_LEAST_BUDGET = 1024
_TIERS = {"auto": "auto", "default": "standard_only"}
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}


def _several(_draft: Draft, value: Any) -> None:
    if value != 1:
        raise BadRequest("the upstream gives one answer at a time: send n = 1, or n requests", param="n")


def _modalities(_draft: Draft, value: Any) -> None:
    if value != ["text"]:
        raise BadRequest("the upstream answers with text only: leave 'modalities' out", param="modalities")


def _stop(draft: Draft, value: Any) -> None:
    given = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    asked = [word for word in given if isinstance(word, str) and word]
    # One of white space alone is refused.
    words = [word for word in asked if word.strip()] if draft.takes("stop_sequences") else []
    words = words[: draft.target.upstream.stop_words]
    if words:
        draft.set("stop_sequences", words, "stop")
    told = frozenset(words)
    draft.watch([word for word in asked if word not in told], "stop")


def _user(draft: Draft, value: Any) -> None:
    if isinstance(value, str) and value and "metadata" not in draft.out:
        draft.set("metadata", {"user_id": pseudonym(value, 1, 256)}, "user")


def _tier(draft: Draft, value: Any) -> None:
    if value in _TIERS:
        draft.set("service_tier", _TIERS[value], "service_tier")
    else:
        draft.drop("service_tier")


def _effort(draft: Draft, value: Any) -> None:
    """The effort as a budget of thought; a vendor's member `thinking` counts before it.

    An upstream that checks signatures gets no thoughts of earlier turns, and refuses to think on without them.
    """
    if not isinstance(value, str) or draft.conversation.head.get("thinking") is not None:
        return
    if draft.target.upstream.signatures == "checked":
        effort = {"none": "low", "minimal": "low"}.get(value, value)
        draft.set("output_config", {**draft.out.get("output_config", {}), "effort": effort}, "reasoning_effort")
    elif value in ("none", "minimal"):
        _silence(draft, "reasoning_effort")
    else:
        _think(draft, budget_of(value), "reasoning_effort")


def _thinking(draft: Draft, value: Any) -> None:
    """The member of z.ai and others."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "disabled":
        _silence(draft, "thinking")
    elif kind == "enabled" and draft.target.upstream.signatures != "checked":
        _think(draft, budget_of(str(draft.conversation.head.get("reasoning_effort"))), "thinking")
    else:
        draft.drop("thinking")


def _silence(draft: Draft, said: str) -> None:
    if draft.target.model.thinking == "always":
        draft.drop(said)
    else:
        draft.set("thinking", {"type": "disabled"}, said)


def _think(draft: Draft, budget: int, said: str) -> None:
    """A budget stays below the limit of output, of which it is a part."""
    budget = min(budget, _limit(draft) - 1)
    if budget < _LEAST_BUDGET:
        draft.drop(said)
    else:
        draft.set("thinking", {"type": "enabled", "budget_tokens": budget}, said)


def _limit(draft: Draft) -> int:
    head = draft.conversation.head
    for name in ("max_completion_tokens", "max_tokens"):
        limit = draft.limit(name, head.get(name))
        if limit is not None:
            return limit
    return draft.target.model.max_output or UNKNOWN_LIMIT


def _format(draft: Draft, value: Any) -> None:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "json_schema":
        named = value.get("json_schema")
        schema = named.get("schema") if isinstance(named, dict) else None
        if draft.target.upstream.json_schema and draft.takes("output_config"):
            wanted = {"format": {"type": "json_schema", "schema": schema}}
            draft.out["output_config"] = {**draft.out.get("output_config", {}), **wanted}
            return
        draft.tell_schema(schema)
    elif kind == "json_object":
        draft.lines.append(JSON_LINE)
    if kind != "text":
        draft.drop("response_format")


RULES: Rules = {
    "model": nothing,
    "messages": nothing,
    "tools": nothing,
    "functions": nothing,
    "tool_choice": nothing,
    "function_call": nothing,
    "parallel_tool_calls": nothing,
    "stream_options": nothing,
    "max_tokens": nothing,
    "max_completion_tokens": nothing,
    "n": _several,
    "modalities": _modalities,
    "temperature": lambda draft, value: draft.clip("temperature", value, draft.target.upstream.temperature or (0, 1)),
    "top_p": lambda draft, value: draft.clip("top_p", value, draft.target.upstream.top_p),
    "stop": _stop,
    "stream": lambda draft, value: draft.set("stream", value is True, "stream"),
    "user": _user,
    "safety_identifier": _user,
    "service_tier": _tier,
    "reasoning_effort": _effort,
    "thinking": _thinking,
    "response_format": _format,
    # An empty one asks for a search, too.
    "web_search_options": lambda draft, _: draft.drop("web_search_options"),
}
"""What becomes of each member; the others have no place in messages."""


def head(draft: Draft) -> None:
    """Fill a draft from the conversation's head."""
    draft.out["max_tokens"] = _limit(draft)
    draft.copy(RULES)
    made = tools.to_messages(draft)
    said = draft.conversation.head
    name = "tool_choice" if said.get("tool_choice") is not None else "function_call"
    wanted, allowed = _allowed(said.get(name))
    if allowed is not None:
        made = [tool for tool in made if msgspec.json.decode(tool)["name"] in allowed]
    if made:
        draft.set("tools", msgspec.Raw(b"[" + b",".join(made) + b"]"), "tools")
        _choose(draft, name, wanted)


def _allowed(value: Any) -> tuple[Any, frozenset[str] | None]:
    """A choice, and the names of the tools that it allows where it allows some only."""
    allowed = value.get("allowed_tools") if isinstance(value, dict) and value.get("type") == "allowed_tools" else None
    if not isinstance(allowed, dict):
        return value, None
    tools = allowed.get("tools")
    if not isinstance(tools, list):
        raise BadRequest("tool_choice.allowed_tools.tools is no list: send the allowed tools", param="tool_choice")
    named = [tool.get("function") for tool in tools if isinstance(tool, dict)]
    names = [str(function.get("name") or "") for function in named if isinstance(function, dict)]
    return allowed.get("mode") or "auto", frozenset(tool_name(name, "messages") for name in names)


def _choose(draft: Draft, name: str, wanted: Any) -> None:
    said = draft.conversation.head
    choice = _choice(wanted)
    if choice is not None and choice["type"] == "tool":
        function = wanted.get("function", wanted)
        tools.offered(draft, function["name"], name)
    # Whoever offers `functions` knows one call in a reply.
    legacy = bool(said.get("functions")) and not said.get("tools")
    single = said.get("parallel_tool_calls") is False or legacy
    if single and choice != {"type": "none"}:
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice is not None:
        draft.set("tool_choice", choice, name)
    elif said.get(name) is not None:
        draft.drop(name)


def _choice(value: Any) -> dict[str, Any] | None:
    if isinstance(value, str):
        return {"type": _CHOICES[value]} if value in _CHOICES else None
    function = value.get("function", value) if isinstance(value, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return {"type": "tool", "name": tool_name(name, "messages")} if isinstance(name, str) and name else None
