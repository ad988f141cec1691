"""Replies whose members have other types than their dialect says: what they mean is read all the same.

Some servers write counters as strings, an empty object as `[]`, a call's arguments as an object, or a text as a list
of parts. One such member must cost neither the reply nor the text beside it. This is the second reading: it runs only
where the strict one failed, so that a reply of the right form costs nothing.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from trimtab.dialects.chat_wire import Chunk
from trimtab.dialects.messages_wire import Body, Frame

T = TypeVar("T", bound=msgspec.Struct)


def chunk(data: bytes) -> Chunk:
    """A chunk or a whole reply of Chat Completions. Raises msgspec.ValidationError where that cannot be."""
    return _read(data, Chunk, _chunk)


def frame(data: bytes) -> Frame:
    """The data of a frame of Anthropic's dialect. Raises msgspec.ValidationError where that cannot be."""
    return _read(data, Frame, _frame)


def body(data: bytes) -> Body:
    """A whole reply of Anthropic's dialect. Raises msgspec.ValidationError where that cannot be."""
    return _read(data, Body, _body)


def _read(data: bytes, kind: type[T], mend: Callable[[dict[str, Any]], None]) -> T:
    value = msgspec.json.decode(data)
    if not isinstance(value, dict):
        raise msgspec.ValidationError("no object")
    mend(value)
    # Members that are kept as bytes can only be read out of bytes.
    return msgspec.json.decode(msgspec.json.encode(value), type=kind)


def _chunk(value: dict[str, Any]) -> None:
    _named(value)
    choices = value.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict):
            continue
        choice["index"] = _whole(choice.get("index"))
        _counted(choice)
        for name in ("delta", "message"):
            if isinstance(choice.get(name), dict):
                _said(choice[name])


def _frame(value: dict[str, Any]) -> None:
    value["index"] = _whole(value.get("index")) or 0
    _counted(value)
    if isinstance(value.get("message"), dict):
        _body(value["message"])


def _body(value: dict[str, Any]) -> None:
    _named(value)


def _named(value: dict[str, Any]) -> None:
    """The members of a whole reply that may be of any kind; a missing name is as good as a wrong one."""
    for name in ("id", "model"):
        if value.get(name) is not None:
            value[name] = str(value[name])
    _counted(value)


def _counted(value: dict[str, Any]) -> None:
    if "usage" in value:
        value["usage"] = _numbers(value["usage"])


def _numbers(usage: Any) -> Any:
    """The counters that are numbers, at any depth."""
    if not isinstance(usage, dict):
        return None
    return {name: _numbers(found) if isinstance(found, dict) else _number(found) for name, found in usage.items()}


def _number(value: Any) -> Any:
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(value: Any) -> int | None:
    found = _number(value)
    return None if found is None else int(found)


def _said(message: dict[str, Any]) -> None:
    content = message.get("content")
    if isinstance(content, list):
        message["content"] = "".join(map(_text, content))
        thoughts = "".join(map(_thought, content))
        message["reasoning_content"] = message.get("reasoning_content") or thoughts or None
    for name in ("content", "reasoning_content", "reasoning", "refusal"):
        if not isinstance(message.get(name), str):
            message[name] = None
    message["tool_calls"] = _calls(message.get("tool_calls"))
    legacy = message.get("function_call")
    message["function_call"] = _call({"function": legacy})["function"] if isinstance(legacy, dict) else None


def _calls(given: Any) -> list[dict[str, Any]] | None:
    return [_call(call) for call in given if isinstance(call, dict)] if isinstance(given, list) else None


def _text(part: Any) -> str:
    found = part if isinstance(part, str) else part.get("text") if isinstance(part, dict) else None
    return found if isinstance(found, str) else ""


def _thought(part: Any) -> str:
    """The thought in a part, which Mistral's servers give as a list of texts."""
    found = part.get("thinking") if isinstance(part, dict) else None
    return "".join(map(_text, found)) if isinstance(found, list) else found if isinstance(found, str) else ""


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    function = dict(function) if isinstance(function, dict) else {}
    arguments = function.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        function["arguments"] = msgspec.json.encode(arguments).decode()
    id_ = call.get("id")
    return {"index": _whole(call.get("index")), "id": None if id_ is None else str(id_), "function": function}
