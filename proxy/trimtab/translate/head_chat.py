"""The head of a messages request as that of a chat request (protocol.md 2.1)."""

from typing import Any

import msgspec

from trimtab.translate import tools
from trimtab.translate.draft import Draft, Rules, effort_of, nearest, nothing, pseudonym
from trimtab.translate.names import tool_name

_TIERS = {"auto": "auto", "standard_only": "default"}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_FORCED = "Answer with a call of one of the tools."


def _limit(draft: Draft, value: Any) -> None:
    limit = draft.limit("max_tokens", value)
    if limit is None:
        draft.drop("max_tokens")
    else:
        draft.set(draft.target.upstream.output_limit, limit, "max_tokens")


def _stream(draft: Draft, value: Any) -> None:
    draft.set("stream", value is True, "stream")
    if value is True:
        # The client's dialect always tells the usage, so it must be known.
        draft.set("stream_options", {"include_usage": True}, "stream_options")


def _stop(draft: Draft, value: Any) -> None:
    words = [word for word in value if isinstance(word, str) and word] if isinstance(value, list) else []
    most = draft.target.upstream.stop_words if draft.takes("stop") else 0
    if words[:most]:
        draft.set("stop", words[:most], "stop_sequences")
    draft.watch(words[len(words[:most]) :], "stop_sequences")


def _user(draft: Draft, value: Any) -> None:
    user = value.get("user_id") if isinstance(value, dict) else None
    for name in value if isinstance(value, dict) else ():
        if name != "user_id":
            draft.drop(f"metadata.{name}")
    if not isinstance(user, str) or not user:
        return
    if draft.takes("user"):
        draft.out["user"] = user
    elif draft.takes("user_id"):
        draft.out["user_id"] = pseudonym(user, 6, 128)
    else:
        draft.drop("metadata")


def _tier(draft: Draft, value: Any) -> None:
    if value in _TIERS:
        draft.set("service_tier", _TIERS[value], "service_tier")
    else:
        draft.drop("service_tier")


def _thinking(draft: Draft, value: Any) -> None:
    """The kind of thought; the effort may be told by `output_config` as well, which then counts."""
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(value, dict) and value.get("display") == "omitted":
        draft.drop("thinking.display")
    effort = _effort(draft)
    if kind == "disabled":
        silence(draft)
    elif kind is not None:
        if draft.target.upstream.thinking:
            draft.set("thinking", {"type": "enabled"}, "thinking")
        budget = value.get("budget_tokens")
        if effort is None and isinstance(budget, int):
            think(draft, effort_of(budget), "thinking")


def silence(draft: Draft) -> None:
    """Ask for no thought, where the target can be asked for that."""
    if draft.target.upstream.thinking and draft.target.model.thinking != "always":
        draft.set("thinking", {"type": "disabled"}, "thinking")
    else:
        # Few models know an effort of "none"; it would be refused by the others.
        draft.drop("thinking")


def _effort(draft: Draft) -> str | None:
    config = draft.conversation.head.get("output_config")
    effort = config.get("effort") if isinstance(config, dict) else None
    return effort if isinstance(effort, str) else None


def think(draft: Draft, effort: str, said: str) -> None:
    """Ask for an effort of thought, or for thought at all where the target knows no effort."""
    known = draft.target.model.efforts
    if known:
        draft.set("reasoning_effort", nearest(effort, known), said)
    elif not draft.target.upstream.thinking:
        draft.set("reasoning_effort", "xhigh" if effort == "max" else effort, said)
    elif "thinking" not in draft.out and "thinking" not in draft.conversation.head:
        draft.set("thinking", {"type": "enabled"}, said)


def _output(draft: Draft, value: Any) -> None:
    effort, thinking = _effort(draft), draft.conversation.head.get("thinking")
    if effort is not None and thinking != {"type": "disabled"}:
        think(draft, effort, "output_config.effort")
    for name in value if isinstance(value, dict) else ():
        if name not in ("effort", "format"):
            draft.drop(f"output_config.{name}")
    wanted = value.get("format") if isinstance(value, dict) else None
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        _schema(draft, wanted, "output_config.format")


def _older_format(draft: Draft, value: Any) -> None:
    """The member by which clients asked for JSON before there was `output_config`, which counts before it."""
    config = draft.conversation.head.get("output_config")
    if isinstance(config, dict) and config.get("format") is not None:
        return
    if isinstance(value, dict) and value.get("type") == "json_schema":
        _schema(draft, value, "output_format")
    else:
        draft.drop("output_format")


def _schema(draft: Draft, wanted: dict[str, Any], said: str) -> None:
    if draft.target.upstream.json_schema:
        named = {"name": "output", "schema": wanted.get("schema"), "strict": True}
        draft.set("response_format", {"type": "json_schema", "json_schema": named}, said)
        return
    draft.set("response_format", {"type": "json_object"}, said)
    draft.tell_schema(wanted.get("schema"))
    draft.drop(said)


RULES: Rules = {
    "model": nothing,
    "messages": nothing,
    "system": nothing,
    "tools": nothing,
    "tool_choice": nothing,
    "max_tokens": _limit,
    "temperature": lambda draft, value: draft.clip("temperature", value, draft.target.upstream.temperature),
    "top_p": lambda draft, value: draft.clip("top_p", value, draft.target.upstream.top_p),
    "stop_sequences": _stop,
    "stream": _stream,
    "metadata": _user,
    "service_tier": _tier,
    "thinking": _thinking,
    "output_config": _output,
    "output_format": _older_format,
}
"""What becomes of each member; the others have no place in chat."""


def head(draft: Draft, rules: Rules = RULES) -> None:
    """Fill a draft from the conversation's head, which says more than this dialect's own members where `rules` do."""
    draft.copy(rules)
    made = tools.to_chat(draft)
    choice = draft.conversation.head.get("tool_choice")
    if isinstance(choice, dict) and made:
        made = _choose(draft, choice, made)
    if made:
        draft.set("tools", msgspec.Raw(b"[" + b",".join(made) + b"]"), "tools")


def _choose(draft: Draft, choice: dict[str, Any], made: list[bytes]) -> list[bytes]:
    """The tools that stay on offer for a choice; "auto" is what everybody does without being told.

    Raises BadRequest where the choice is a tool that nobody offers.
    """
    kind, name = choice.get("type"), tool_name(str(choice.get("name") or ""), "chat")
    if choice.get("disable_parallel_tool_use") is True:
        draft.set(
            "parallel_tool_calls", not choice["disable_parallel_tool_use"], "tool_choice.disable_parallel_tool_use"
        )
    if kind == "auto":
        return made
    if kind == "tool":
        tools.offered(draft, str(choice.get("name") or ""), "tool_choice")
    if draft.target.upstream.tool_choice == "any":
        named = {"type": "function", "function": {"name": name}}
        draft.set("tool_choice", named if kind == "tool" else _CHOICES.get(str(kind), "auto"), "tool_choice")
        return made
    draft.drop("tool_choice")
    if kind == "none":
        return []
    if kind == "tool":
        forced = [tool for tool in made if msgspec.json.decode(tool)["function"]["name"] == name]
        if not forced:
            # Its vendor would run it: it was dropped.
            return made
        draft.lines.append(f"Answer with a call of the tool {name}.")
        return forced
    draft.lines.append(_FORCED)
    return made
