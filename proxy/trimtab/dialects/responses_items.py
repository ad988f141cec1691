"""The output items of a Responses reply: what each kind shows while it grows, and what it is when it is done.

An item answers with steps: the type of an event without `response.`, and its own members. Names, ids and numbers that
all events have are the encoder's.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from trimtab.dialects.freeform import Unwrapper
from trimtab.dialects.nesting import whole
from trimtab.dialects.responses_blob import Sealed, seal
from trimtab.dialects.responses_tools import Offer

Step = tuple[str, dict[str, Any]]


class Item(ABC):
    """One item on its way."""

    prefix = ""
    """How its id begins."""
    shown = True
    """Whether it is shown before it is whole."""

    def __init__(self) -> None:
        self.id = ""
        self.text: list[str] = []

    def begin(self) -> list[Step]:
        """What follows the event that adds it."""
        return []

    @abstractmethod
    def grow(self, text: str) -> list[Step]:
        """What a piece of its text shows."""

    def end(self) -> list[Step]:
        """What comes before the event that says it is done."""
        return []

    def half(self) -> bool:
        """Whether it is a call whose input is not whole."""
        return False

    @abstractmethod
    def value(self, status: str) -> dict[str, Any]:
        """The item itself as it is now."""

    def _whole(self) -> str:
        return "".join(self.text)


class MessageItem(Item):
    """What the assistant says."""

    prefix = "msg_"

    def begin(self) -> list[Step]:
        """One part of text."""
        return [("content_part.added", {"content_index": 0, "part": _part("")})]

    def grow(self, text: str) -> list[Step]:
        """More text."""
        self.text.append(text)
        return [("output_text.delta", {"content_index": 0, "delta": text, "logprobs": []})]

    def end(self) -> list[Step]:
        """The whole text, and the part."""
        whole = self._whole()
        return [
            ("output_text.done", {"content_index": 0, "text": whole, "logprobs": []}),
            ("content_part.done", {"content_index": 0, "part": _part(whole)}),
        ]

    def value(self, status: str) -> dict[str, Any]:
        """A message with one part; without any where nothing was said yet."""
        content = [_part(self._whole())] if self.text else []
        return {"type": "message", "id": self.id, "status": status, "role": "assistant", "content": content}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


class ReasoningItem(Item):
    """What the model thinks, as one summary; `sealed` adds a copy with its signature for the next turn."""

    prefix = "rs_"

    def __init__(self, *, sealed: bool) -> None:
        super().__init__()
        self._sealed = sealed
        self.signature = ""

    def begin(self) -> list[Step]:
        """One part of the summary."""
        return [("reasoning_summary_part.added", {"summary_index": 0, "part": _summary("")})]

    def grow(self, text: str) -> list[Step]:
        """More of the thought."""
        self.text.append(text)
        return [("reasoning_summary_text.delta", {"summary_index": 0, "delta": text})]

    def end(self) -> list[Step]:
        """The whole thought, and the part."""
        whole = self._whole()
        return [
            ("reasoning_summary_text.done", {"summary_index": 0, "text": whole}),
            ("reasoning_summary_part.done", {"summary_index": 0, "part": _summary(whole)}),
        ]

    def value(self, status: str) -> dict[str, Any]:
        """The item; sealed once it is done."""
        text = self._whole()
        item: dict[str, Any] = {"type": "reasoning", "id": self.id, "summary": [_summary(text)] if text else []}
        if self._sealed and status != "in_progress":
            item["encrypted_content"] = seal("reasoning", Sealed(text, self.signature))
        return item


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


class CallItem(Item):
    """A call of a function."""

    prefix = "fc_"

    def __init__(self, call_id: str, offer: Offer) -> None:
        super().__init__()
        self.call_id = call_id
        self.offer = offer

    def half(self) -> bool:
        """Whether its arguments are cut off."""
        return not whole(self._whole())

    def grow(self, text: str) -> list[Step]:
        """More of its arguments."""
        self.text.append(text)
        return [("function_call_arguments.delta", {"delta": text})]

    def end(self) -> list[Step]:
        """All its arguments; an empty object where there are none, since clients parse them."""
        filled = [] if self._whole().strip() else self.grow("{}")
        done = {"name": self.offer.name, "arguments": self._whole()}
        return [*filled, ("function_call_arguments.done", done)]

    def value(self, status: str) -> dict[str, Any]:
        """The call under the client's own name."""
        return {
            "type": "function_call",
            "id": self.id,
            "call_id": self.call_id,
            "name": self.offer.name,
            **_namespace(self.offer),
            "arguments": self._whole(),
            "status": status,
        }


def _namespace(offer: Offer) -> dict[str, Any]:
    return {"namespace": offer.namespace} if offer.namespace else {}


class CustomItem(CallItem):
    """A call of a freeform tool: its text without the JSON around it."""

    prefix = "ctc_"

    def __init__(self, call_id: str, offer: Offer) -> None:
        super().__init__(call_id, offer)
        self._unwrapper = Unwrapper()
        self._input = ""

    def grow(self, text: str) -> list[Step]:
        """More of its input, where a piece shows any."""
        self.text.append(text)
        return self._shown(self._unwrapper.feed(text))

    def _shown(self, text: str) -> list[Step]:
        self._input += text
        return [("custom_tool_call_input.delta", {"delta": text})] if text else []

    def end(self) -> list[Step]:
        """The rest of its input, and all of it."""
        rest, all_of_it = self._unwrapper.end()
        return [*self._shown(rest), ("custom_tool_call_input.done", {"input": all_of_it})]

    def value(self, status: str) -> dict[str, Any]:
        """The call with its input as plain text."""
        named = {"name": self.offer.name, **_namespace(self.offer)}
        call = {"type": "custom_tool_call", "id": self.id, "call_id": self.call_id, **named, "input": self._input}
        return {**call, "status": status}


class TypedItem(CallItem):
    """A call that has members of its own: shown when it is whole."""

    shown = False

    def __init__(self, call_id: str, offer: Offer) -> None:
        super().__init__(call_id, offer)
        self.prefix = _TYPED[offer.kind][0]

    def grow(self, text: str) -> list[Step]:
        """Nothing yet."""
        self.text.append(text)
        return []

    def end(self) -> list[Step]:
        """Nothing: its events are those of every item."""
        return []

    def value(self, status: str) -> dict[str, Any]:
        """The call by its type; what does not fit is told as a call of a function, so that the client can refuse it."""
        made = _TYPED[self.offer.kind][1](_input(self._whole()))
        if made is None:
            return super().value(status)
        head = {"type": f"{self.offer.kind}_call", "id": self.id, "call_id": self.call_id, "status": status}
        return {**head, **made}


def _input(text: str) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _local_shell(given: Mapping[str, Any]) -> dict[str, Any] | None:
    command = given.get("command")
    if isinstance(command, str):
        command = ["bash", "-lc", command]
    if not isinstance(command, list) or not command:
        return None
    env = given.get("env")
    action = {
        "type": "exec",
        "command": [str(word) for word in command],
        "env": env if isinstance(env, dict) else {},
        "timeout_ms": given.get("timeout_ms"),
        "user": given.get("user"),
        "working_directory": given.get("working_directory", given.get("workdir")),
    }
    return {"action": action}


def _shell(given: Mapping[str, Any]) -> dict[str, Any] | None:
    commands = given.get("commands")
    commands = [commands] if isinstance(commands, str) else commands
    if not isinstance(commands, list) or not commands:
        return None
    limits = {name: given.get(name) for name in ("timeout_ms", "max_output_length")}
    return {"action": {"commands": [str(line) for line in commands], **limits}, "environment": {"type": "local"}}


def _patch(given: Mapping[str, Any]) -> dict[str, Any] | None:
    kind, path, diff = given.get("type"), given.get("path"), given.get("diff")
    if kind not in ("create_file", "update_file", "delete_file") or not isinstance(path, str):
        return None
    if kind == "delete_file":
        return {"operation": {"type": kind, "path": path}}
    return {"operation": {"type": kind, "path": path, "diff": diff}} if isinstance(diff, str) else None


def _search(given: Mapping[str, Any]) -> dict[str, Any] | None:
    return {"execution": "client", "arguments": dict(given)}


_TYPED: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], dict[str, Any] | None]]] = {
    "local_shell": ("lsh_", _local_shell),
    "shell": ("sh_", _shell),
    "apply_patch": ("apc_", _patch),
    "tool_search": ("tsc_", _search),
}


def call_item(call_id: str, name: str, offers: Mapping[str, Offer]) -> CallItem:
    """The item for a call of the function `name`; one that nobody offered is told as it is."""
    offer = offers.get(name) or Offer(name, "function", name)
    if offer.kind == "custom":
        return CustomItem(call_id, offer)
    return TypedItem(call_id, offer) if offer.kind in _TYPED else CallItem(call_id, offer)
