"""The head of a Responses request as that of a chat or messages request (protocol.md 2.1).

It is first said in the other dialect's words, `view`, and then goes the way of that dialect's own requests: the words
of messages toward chat, those of chat toward messages.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from trimtab.conversation import Conversation, Head, Tool
from trimtab.dialects.responses import offers
from trimtab.dialects.responses_tools import TYPED, Offer, flat_name
from trimtab.errors import BadRequest
from trimtab.kept import kept
from trimtab.splice import scan
from trimtab.translate import head_chat, head_messages
from trimtab.translate.draft import JSON_LINE, Draft, Rules

_SILENT = frozenset(
    {
        "input",
        "instructions",
        "tools",
        # Repeated in the reply, and not for the model.
        "metadata",
        "stream_options",
        "parallel_tool_calls",
        "tool_choice",
        "user",
        "safety_identifier",
        "include",
    }
)
"""Members that are read elsewhere, or say nothing to a model."""
_NOTHING = ("disabled", "default", "medium")
"""Values of the other members that ask for what happens anyway."""
SAID = {
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "thinking": "reasoning.effort",
    "output_config.effort": "reasoning.effort",
    "response_format": "text.format",
    "tool_choice.disable_parallel_tool_use": "parallel_tool_calls",
    "metadata": "user",
}
"""What a client of Responses calls the members that others know by these names."""
_ITEMS = {"thinking": "reasoning", "reasoning_content": "reasoning", "system": "instructions"}
"""The same of what stands in its items."""

_Say = Callable[[Draft, Any], Mapping[str, Any]]


def to_chat(draft: Draft) -> None:
    """Fill the draft of a chat request."""
    _view(draft, "messages", {"max_output_tokens": "max_tokens"}, _messages_words)
    head_chat.head(draft, RULES)


def to_messages(draft: Draft) -> None:
    """Fill the draft of a messages request."""
    _view(draft, "chat", {"max_output_tokens": "max_completion_tokens"}, _chat_words)
    head_messages.head(draft)


def _view(draft: Draft, words: Any, names: Mapping[str, str], say: Callable[[Draft], dict[str, Any]]) -> None:
    """Put the request in other words into the draft, and report what they cannot say."""
    head = draft.conversation.head
    said: dict[str, Any] = {}
    for name in dict.fromkeys((*head.scanned.members, *head.changes)):
        value = head.get(name)
        if name in _SAY:
            said |= _SAY[name](draft, value)
        elif name in ("model", "stream", "temperature", "top_p", "max_output_tokens"):
            said[names.get(name, name)] = value
        elif name not in _SILENT and value not in (None, False, [], {}, "", *_NOTHING):
            draft.drop(name)
    _include(draft, head.get("include"))
    kept = _kept(draft)
    said |= say(draft)
    body = msgspec.json.encode({name: value for name, value in said.items() if value is not None})
    tools = _tools(words, kept)
    draft.conversation = Conversation(words, Head(scan(body, ())), draft.conversation.messages, (), tools)


def _include(draft: Draft, include: Any) -> None:
    for name in include if isinstance(include, list) else ():
        if name != "reasoning.encrypted_content":
            draft.drop(f"include.{name}")


def _reasoning(draft: Draft, value: Any) -> Mapping[str, Any]:
    given = value if isinstance(value, dict) else {}
    for name in given:
        # The summary is told in any case.
        if name not in ("effort", "summary", "generate_summary") and given[name] not in (None, *_NOTHING):
            draft.drop(f"reasoning.{name}")
    return {"reasoning_effort": given.get("effort")}


def _text(draft: Draft, value: Any) -> Mapping[str, Any]:
    given = value if isinstance(value, dict) else {}
    for name in given:
        if name != "format" and given[name] not in (None, *_NOTHING):
            draft.drop(f"text.{name}")
    wanted = given.get("format")
    if not isinstance(wanted, dict) or wanted.get("type") in (None, "text"):
        return {}
    if wanted["type"] == "json_object":
        return {"response_format": {"type": "json_object"}}
    if wanted["type"] != "json_schema":
        draft.drop("text.format")
        return {}
    named = {name: wanted[name] for name in ("name", "description", "schema", "strict") if wanted.get(name) is not None}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


_SAY: Mapping[str, _Say] = {
    "reasoning": _reasoning,
    "text": _text,
    "service_tier": lambda draft, value: {"service_tier": value},
    # Of route, or of a client that knows what the upstream takes.
    "thinking": lambda draft, value: {"thinking": value},
}


def _kept(draft: Draft) -> Mapping[str, Offer]:
    """The tools on offer, those that a choice allows; what cannot be offered is reported."""
    found = offers(draft.conversation)
    for name in found.lost:
        # One that is declared again is still on offer.
        (draft.drop if name in found.tools else draft.drop_tool)(name)
    choice = draft.conversation.head.get("tool_choice")
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return found.tools
    tools = choice.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise BadRequest("tool_choice.tools is no list: send the tools that are allowed", param="tool_choice.tools")
    allowed = {_flat(tool) for tool in tools or () if isinstance(tool, dict)}
    return {flat: offer for flat, offer in found.tools.items() if flat in allowed}


def _flat(choice: Mapping[str, Any]) -> str:
    kind = str(choice.get("type") or "")
    if kind in ("function", "custom"):
        return flat_name(str(choice.get("name") or ""), str(choice.get("namespace") or ""))
    return flat_name(kind) if kind in TYPED else ""


def _choice(draft: Draft) -> str | tuple[str]:
    """The choice of tools: a word, or the name of one in a tuple; the word is empty where none was made."""
    choice = draft.conversation.head.get("tool_choice")
    if isinstance(choice, dict):
        if choice.get("type") == "allowed_tools":
            choice = choice.get("mode")
        elif flat := _flat(choice):
            return (flat,)
    if isinstance(choice, str) and choice in ("auto", "required", "none"):
        return choice
    if choice is not None:
        draft.drop("tool_choice")
    return ""


def _user(draft: Draft) -> str | None:
    head = draft.conversation.head
    for name in ("safety_identifier", "user"):
        value = head.get(name)
        if isinstance(value, str) and value:
            return value
    return None


def _chat_words(draft: Draft) -> dict[str, Any]:
    choice = _choice(draft)
    named = {"type": "function", "function": {"name": choice[0]}} if isinstance(choice, tuple) else choice or None
    parallel = draft.conversation.head.get("parallel_tool_calls")
    return {"tool_choice": named, "parallel_tool_calls": parallel, "user": _user(draft)}


def _messages_words(draft: Draft) -> dict[str, Any]:
    choice = _choice(draft)
    made: dict[str, Any] = {}
    if isinstance(choice, tuple):
        made = {"type": "tool", "name": choice[0]}
    elif choice:
        made = {"type": "any" if choice == "required" else choice}
    if draft.conversation.head.get("parallel_tool_calls") is False and made.get("type") != "none":
        made = {"type": "auto", **made, "disable_parallel_tool_use": True}
    user = _user(draft)
    return {"tool_choice": made or None, "metadata": {"user_id": user} if user else None}


def _tools(words: Any, kept: Mapping[str, Offer]) -> tuple[Tool, ...]:
    """The tools in the words of a dialect."""
    # By their members: a schema is a dictionary, which has no hash.
    return _worded(words, msgspec.json.encode(list(kept.values())))


@kept(1_000_000)
def _worded(words: str, told: bytes) -> tuple[Tool, ...]:
    return tuple(_tool(words, *offer) for offer in msgspec.json.decode(told, type=list[Offer]))


def _tool(
    words: str, flat: str, kind: str, name: str, namespace: str, description: str, parameters: Any, strict: bool | None
) -> Tool:
    shown: dict[str, Any] = {"name": flat}
    if description:
        shown["description"] = description
    shown["input_schema" if words == "messages" else "parameters"] = parameters
    if strict is not None:
        shown["strict"] = strict
    return Tool(flat, msgspec.json.encode(shown if words == "messages" else {"type": "function", "function": shown}))


def _effort(draft: Draft, value: Any) -> None:
    """The effort by the rules for a messages request; what asks for no thought asks for none of it there."""
    if not isinstance(value, str):
        return
    if value in ("none", "minimal"):
        head_chat.silence(draft)
    else:
        head_chat.think(draft, value, "reasoning_effort")


def _format(draft: Draft, value: Any) -> None:
    if value.get("type") == "json_schema" and not draft.target.upstream.json_schema:
        draft.tell_schema(value["json_schema"].get("schema"))
        draft.drop("response_format")
        value = {"type": "json_object"}
    elif value.get("type") == "json_object":
        # Most upstreams refuse the wish where no message speaks of JSON.
        draft.lines.append(JSON_LINE)
    draft.set("response_format", value, "response_format")


def _tier(draft: Draft, value: Any) -> None:
    if value in ("auto", "default"):
        return
    draft.set("service_tier", value, "service_tier")


RULES: Rules = {
    **head_chat.RULES,
    "reasoning_effort": _effort,
    "response_format": _format,
    "service_tier": _tier,
}
"""What becomes of each member of the view toward chat: more than a messages request can say."""


def told(dropped: Mapping[str, None]) -> Iterator[str]:
    """The names of what was dropped, as a client of Responses calls them."""
    return iter(dict.fromkeys(SAID.get(name, name) for name in dropped))


def told_of_items(dropped: Mapping[str, None]) -> Iterator[str]:
    """The same for what was dropped of the items."""
    return iter(dict.fromkeys(_ITEMS.get(name, name) for name in dropped))
