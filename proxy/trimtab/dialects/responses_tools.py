"""Tools of a Responses request as functions, which is all that other dialects know, and their names.

Functions and freeform tools in a namespace are named `namespace__name`; tools that are known by their type only get a
published input. `Offer` says what a function was, so that a call of it comes back as the client's own kind of item.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from trimtab.errors import BadRequest
from trimtab.kept import kept

_CLEAN = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST = 64
_TEXT = {"type": "string"}
_COUNT = {"type": "integer"}
_LIST = {"type": "array", "items": _TEXT}


class Offer(NamedTuple):
    """A tool as others know it (`flat`), and what it is for the client."""

    flat: str
    kind: str
    name: str
    namespace: str = ""
    description: str = ""
    parameters: Any = None
    strict: bool | None = None


class Offers(NamedTuple):
    """The tools of a request by their flat names, and the types of those that only their vendor runs."""

    tools: Mapping[str, Offer]
    lost: tuple[str, ...]


def flat_name(name: str, namespace: str = "") -> str:
    """The one name of a tool: letters and length that every dialect accepts; no two tools share one.

    The last "__" ends the namespace; where that would be ambiguous, and for unfit names, a hash tells them apart.
    """
    if not namespace:
        whole, plain = name, True
    else:
        whole, plain = f"{namespace}__{name}", "__" not in name and not name.startswith("_")
    if plain and whole and len(whole) <= _LONGEST and not _CLEAN.search(whole):
        return whole
    digest = hashlib.sha256(f"{namespace}\0{name}".encode()).hexdigest()[:12]
    return f"{_CLEAN.sub('', whole)[:40]}_{digest}"


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


FREEFORM = _object(("input",), input={**_TEXT, "description": "The whole input of the tool, as plain text."})
"""The input of a freeform tool: one text."""

TYPED: dict[str, tuple[str, dict[str, Any]]] = {
    "local_shell": (
        "Runs a command on the user's machine and returns its output.",
        _object(
            ("command",),
            command={**_LIST, "description": "The program and its arguments."},
            working_directory=_TEXT,
            timeout_ms=_COUNT,
            env={"type": "object", "additionalProperties": _TEXT},
            user=_TEXT,
        ),
    ),
    "shell": (
        "Runs shell commands on the user's machine, one after the other, and returns their output.",
        _object(("commands",), commands=_LIST, timeout_ms=_COUNT, max_output_length=_COUNT),
    ),
    "apply_patch": (
        "Creates, updates or deletes one file; `diff` is in the V4A format, and is left out to delete.",
        _object(
            ("type", "path"),
            type={**_TEXT, "enum": ["create_file", "update_file", "delete_file"]},
            path=_TEXT,
            diff=_TEXT,
        ),
    ),
    "tool_search": (
        "Looks for tools that are not on offer yet.",
        _object(("query",), query={**_TEXT, "description": "What the tool should do."}),
    ),
}
"""What tools that are named by their type do and take."""


@kept(1_000_000)
def offered(raws: tuple[bytes, ...]) -> Offers:
    """The tools of a request out of their JSON, those on top first: of several with one name the first wins.

    Raises BadRequest where a namespace has no list of tools.
    """
    tools: dict[str, Offer] = {}
    lost: dict[str, None] = {}
    for raw in raws:
        try:
            given = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            given = None
        for offer in _offers(given, "", lost):
            if offer.flat in tools:
                lost[offer.flat] = None
            else:
                tools[offer.flat] = offer
    return Offers(tools, tuple(lost))


def _offers(given: Any, namespace: str, lost: dict[str, None]) -> Iterable[Offer]:
    if not isinstance(given, dict):
        lost["tools"] = None
        return
    kind = str(given.get("type") or "function")
    if kind == "namespace" and not namespace:
        about = given.get("description")
        for inner in _inner(given):
            for offer in _offers(inner, str(given.get("name") or ""), lost):
                yield _introduced(offer, about)
                # Said once, on the first of its tools.
                about = None
    elif kind in ("function", "custom"):
        yield _named(given, kind, namespace)
    elif kind in TYPED and not (kind == "tool_search" and given.get("execution") != "client"):
        description, parameters = TYPED[kind]
        told = given.get("description")
        own = given.get("parameters")
        yield Offer(
            flat_name(kind),
            kind,
            kind,
            "",
            told if isinstance(told, str) and told else description,
            own if isinstance(own, dict) else parameters,
        )
    else:
        # Only its vendor can run it.
        lost[kind] = None


def _inner(space: Mapping[str, Any]) -> list[Any]:
    """The tools of a namespace. Raises BadRequest where they are no list."""
    found = space.get("tools")
    if found is not None and not isinstance(found, list):
        name = str(space.get("name") or "")[:_LONGEST]
        raise BadRequest(f"tools: the member 'tools' of the namespace '{name}' is no list of tools", param="tools")
    return found or []


def _introduced(offer: Offer, about: Any) -> Offer:
    if not isinstance(about, str) or not about:
        return offer
    return offer._replace(description=f"{offer.description}\n\n({offer.namespace}: {about})".strip())


def _named(given: dict[str, Any], kind: str, namespace: str) -> Offer:
    name, description = str(given.get("name") or ""), given.get("description")
    description = description if isinstance(description, str) else ""
    flat, strict = flat_name(name, namespace), given.get("strict")
    if kind == "custom":
        return Offer(flat, kind, name, namespace, _with_grammar(description, given.get("format")), FREEFORM)
    strict = strict if isinstance(strict, bool) else None
    return Offer(flat, kind, name, namespace, description, given.get("parameters"), strict)


def _with_grammar(description: str, form: Any) -> str:
    """What a freeform tool does, and the grammar of its input, which functions cannot enforce."""
    if not isinstance(form, dict) or form.get("type") != "grammar":
        return description
    rule = f"`input` must follow this {form.get('syntax') or 'lark'} grammar:\n{form.get('definition') or ''}"
    return f"{description}\n\n{rule}" if description else rule
