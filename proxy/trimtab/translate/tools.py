"""Tools on offer, from one dialect into the other; schemas are mended on the way."""

from collections.abc import Mapping
from typing import Any

import msgspec

from trimtab.conversation import Conversation, DialectName
from trimtab.errors import BadRequest
from trimtab.invariants import MAX_MARKS
from trimtab.splice import decode
from trimtab.translate.draft import Draft
from trimtab.translate.marks import with_mark
from trimtab.translate.names import tool_name
from trimtab.translate.piece import word
from trimtab.translate.typed_tools import typed

_UNIONS = ("anyOf", "oneOf", "allOf")
_CHAT = frozenset({"type", "function", "cache_control"})
_FUNCTION = frozenset({"name", "description", "parameters", "strict", "cache_control"})
_MESSAGES = frozenset({"type", "name", "description", "input_schema", "strict"})


def schema(given: Any) -> dict[str, Any]:
    """A schema that every upstream accepts at the root: an object with properties.

    Alternatives at the root are merged, so that what a model writes is what the client expects: all their properties,
    and as required only what each of them requires.
    """
    found = dict(given) if isinstance(given, dict) else {}
    properties, required = dict(_mapping(found.get("properties"))), list(found.get("required") or ())
    for union in _UNIONS:
        parts = [part for part in found.pop(union, None) or () if isinstance(part, dict)]
        wanted = [set(part.get("required") or ()) for part in parts]
        for part in parts:
            properties = {**_mapping(part.get("properties")), **properties}
        shared = set.union(*wanted) if union == "allOf" and wanted else set.intersection(*wanted) if wanted else set()
        required += sorted(shared - set(required))
    found |= {"type": "object", "properties": properties}
    return found | ({"required": required} if required else {})


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def to_chat(draft: Draft) -> list[bytes]:
    """The tools of a messages request as functions; those that only their vendor can run are dropped."""
    made = []
    for index, tool in enumerate(draft.conversation.tools):
        given = decode(tool.raw, dict[str, Any], f"tools[{index}]")
        kind = given.get("type")
        known = typed(str(kind)) if kind not in (None, "custom") else ("", given.get("input_schema"))
        if known is None:
            draft.drop_tool(str(kind))
            continue
        _report(draft, given, _MESSAGES if kind in (None, "custom") else frozenset(given))
        function: dict[str, Any] = {"name": tool_name(tool.name, "chat")}
        if description := given.get("description") or known[0]:
            function["description"] = description
        function["parameters"] = schema(known[1])
        if isinstance(given.get("strict"), bool):
            function["strict"] = given["strict"]
        made.append(msgspec.json.encode({"type": "function", "function": function}))
    return made


def to_messages(draft: Draft) -> list[bytes]:
    """The tools of a chat request, those of the legacy member `functions` too."""
    made = []
    for index, raw in enumerate((*(tool.raw for tool in draft.conversation.tools), *_legacy(draft))):
        given = decode(raw, dict[str, Any], f"tools[{index}]")
        if given.get("type", "function") != "function":
            draft.drop_tool(str(given["type"]))
            continue
        nested = isinstance(given.get("function"), dict)
        function: dict[str, Any] = given["function"] if nested else given
        _report(draft, given, _CHAT if nested else _FUNCTION | _CHAT)
        _report(draft, function, _FUNCTION | {"type"})
        tool: dict[str, Any] = {"name": tool_name(str(function.get("name") or ""), "messages")}
        if description := function.get("description"):
            tool["description"] = description
        tool["input_schema"] = schema(function.get("parameters"))
        if function.get("strict") is True:
            _strict(draft, tool)
        mark = given.get("cache_control") or function.get("cache_control")
        made.append(_marked(draft, msgspec.json.encode(tool), mark))
    return made


def offered(draft: Draft, name: str, said: str) -> None:
    """Raise BadRequest unless a tool of this name is on offer, as both vendors do; the member `said` names it."""
    known = {tool.name for tool in draft.conversation.tools}
    known |= {str(msgspec.json.decode(raw).get("name")) for raw in _legacy(draft)}
    if name not in known:
        raise BadRequest(f"{said} names the tool '{word(name)}', which is not among the tools on offer", param=said)


def _legacy(draft: Draft) -> list[bytes]:
    functions = draft.conversation.head.get("functions")
    if functions is not None and not isinstance(functions, list):
        raise BadRequest("functions is no list: send a list of functions, or 'tools'", param="functions")
    return [msgspec.json.encode(function) for function in functions or () if isinstance(function, dict)]


def _strict(draft: Draft, tool: dict[str, Any]) -> None:
    """Inputs by their schema are asked for where replies by a schema can be."""
    if draft.target.upstream.json_schema:
        tool["strict"] = True
    else:
        draft.drop("strict")


def _marked(draft: Draft, raw: bytes, mark: Any) -> bytes:
    if not isinstance(mark, dict):
        return raw
    if draft.marks >= MAX_MARKS - 1:
        draft.drop("cache_control")
        return raw
    draft.marks += 1
    return with_mark(raw, msgspec.json.encode(mark))


def _report(draft: Draft, given: Mapping[str, Any], known: frozenset[str]) -> None:
    for name, value in given.items():
        if name not in known and value not in (None, False, [], {}):
            draft.drop(name)


def renamed(conversation: Conversation, dialect: DialectName) -> dict[str, str]:
    """The client's names of those tools that go upstream under another."""
    names = {tool_name(tool.name, dialect): tool.name for tool in conversation.tools}
    return {name: said for name, said in names.items() if name != said}
