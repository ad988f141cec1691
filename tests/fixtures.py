"""Recorded traffic, where it is at hand: `../shared/fixtures` beside the project, which also passes without it."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "shared" / "fixtures"
ENDPOINTS = {"chat-completions": "/v1/chat/completions", "messages": "/v1/messages"}

needs_recordings = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="needs the recorded traffic in ../shared/fixtures, which is not here"
)


def bodies() -> Iterator[tuple[str, str, bytes]]:
    """(name, path, body) of every recorded request of a dialect we serve, encoded as JavaScript clients do."""
    for file in sorted((FOLDER / "clients").glob("*/*.json")):
        path = ENDPOINTS.get(file.stem.split("-", 1)[1])
        if path is not None:
            record = json.loads(file.read_text())
            yield f"{file.parent.name}/{file.stem}", path, compact(record["body"])


def conversations() -> list[Path]:
    """The files of the recorded conversations."""
    return sorted((FOLDER / "conversations").glob("*.json.gz"))


def turns(file: Path, model: str) -> Iterator[tuple[str, bytes]]:
    """(path, body) of every request of a conversation, in order; each extends the one before."""
    recorded = json.loads(gzip.decompress(file.read_bytes()))
    anthropic = recorded["dialect"] == "anthropic"
    head: dict[str, Any] = {"model": model, "stream": False, "max_tokens": 8192}
    opening: list[bytes] = []
    if anthropic and recorded.get("system"):
        head["system"] = recorded["system"]
    elif recorded.get("system"):
        opening = [compact({"role": "system", "content": recorded["system"]})]
    tools = b',"tools":' + compact(recorded["tools"]) if recorded.get("tools") else b""
    path = "/v1/messages" if anthropic else "/v1/chat/completions"
    start, messages = compact(head)[:-1], recorded["messages"]
    encoded = opening + [compact(message) for message in messages]
    for index, message in enumerate(messages):
        last = index + 1 == len(messages) or messages[index + 1]["role"] == "assistant"
        if message["role"] != "assistant" and last:
            turn = b",".join(encoded[: len(opening) + index + 1])
            yield path, start + b',"messages":[' + turn + b"]" + tools + b"}"


def compact(value: Any) -> bytes:
    """JSON as JavaScript writes it: no spaces, no escapes beyond the need."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass") if text.isascii() else _safe(text)


def _safe(text: str) -> bytes:
    """UTF-8, a lone surrogate as the escape that JavaScript writes for it."""
    return b"".join(f"\\u{ord(char):04x}".encode() if "\ud800" <= char <= "\udfff" else char.encode() for char in text)
