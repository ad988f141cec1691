"""Tools that Anthropic's dialect names by their type only and the client runs itself: their published inputs."""

import re
from typing import Any

_TEXT = {"type": "string"}
_NUMBER = {"type": "integer"}
_PAIR = {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}


def _one_of(*words: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(words)}


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


TYPED: dict[str, tuple[str, dict[str, Any]]] = {
    "bash": (
        "Runs a command in a shell that lives as long as the session; `restart` starts it anew.",
        _object((), command=_TEXT, restart={"type": "boolean"}),
    ),
    "text_editor": (
        "Shows, creates and edits text files.",
        _object(
            ("command", "path"),
            command=_one_of("view", "create", "str_replace", "insert", "undo_edit"),
            path=_TEXT,
            file_text=_TEXT,
            old_str=_TEXT,
            new_str=_TEXT,
            insert_line=_NUMBER,
            insert_text=_TEXT,
            view_range=_PAIR,
        ),
    ),
    "memory": (
        "Keeps notes in files that outlive the session.",
        _object(
            ("command",),
            command=_one_of("view", "create", "str_replace", "insert", "delete", "rename"),
            path=_TEXT,
            old_path=_TEXT,
            new_path=_TEXT,
            file_text=_TEXT,
            old_str=_TEXT,
            new_str=_TEXT,
            insert_line=_NUMBER,
            insert_text=_TEXT,
            view_range=_PAIR,
        ),
    ),
    "computer": (
        "Takes screenshots and uses mouse and keyboard.",
        _object(
            ("action",),
            action=_one_of(
                "screenshot",
                "left_click",
                "right_click",
                "middle_click",
                "double_click",
                "triple_click",
                "left_click_drag",
                "left_mouse_down",
                "left_mouse_up",
                "mouse_move",
                "cursor_position",
                "key",
                "hold_key",
                "type",
                "scroll",
                "wait",
                "zoom",
            ),
            coordinate=_PAIR,
            start_coordinate=_PAIR,
            region={"type": "array", "items": _NUMBER, "minItems": 4, "maxItems": 4},
            text=_TEXT,
            duration={"type": "number"},
            scroll_direction=_one_of("up", "down", "left", "right"),
            scroll_amount=_NUMBER,
        ),
    ),
}
"""What a tool does and takes, by its type without the date."""

_DATED = re.compile(r"(bash|text_editor|memory|computer)_\d+")


def typed(kind: str) -> tuple[str, dict[str, Any]] | None:
    """Description and input of a tool by its dated type; None for one that only its vendor can run."""
    found = _DATED.fullmatch(kind)
    return None if found is None else TYPED[found.group(1)]
