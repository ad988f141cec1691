"""Recorded requests: single bodies, our own upstream log, and whole conversations.

| form | told by |
|---|---|
| a request body | it has `messages` (or `input`) and a `model` |
| a captured request | `path`, `headers` and `body`, as proxies and test recorders write it |
| our upstream log (`log.upstream.file`): JSON lines, packed ones too | `direction` and `body` in each line |
| a conversation | `dialect` ("openai", "anthropic") and `messages`, and no `model` parameters around them |
"""

import codecs
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import msgspec

from trimtab.dialects import DIALECTS
from trimtab.errors import ConfigError

OPENAI = {"openai": "chat", "anthropic": "messages"}
"""The dialects of conversations."""
MODEL = "glm-4.6"
"""The model that the requests of a conversation name, unless told otherwise: conversations keep none that matters."""
LIMIT = 8192
_GZIP = b"\x1f\x8b"
FORMS = "give a request body, a captured request, a conversation, or the file that [stage.log.upstream] writes"


class Unreadable(ConfigError):
    """A file that holds nothing that could be replayed or explained."""


class Recorded(NamedTuple):
    """One request as it was recorded."""

    session: str | None
    """The conversation it belongs to; None where only its messages tell."""
    dialect: str
    body: bytes
    headers: Mapping[str, str] = {}
    hidden: int = 0
    """Tokens in front of it that were not recorded."""
    time: float | None = None
    edited: bool = False
    """Whether it was recorded as it left the proxy only, with the edits of that day in it."""
    share: float = 1.0
    """How much of its file is read with it."""


class Source(NamedTuple):
    """A file of recorded requests, and how large it is."""

    path: Path
    size: int = 0


def one(raw: bytes, dialect: str | None = None) -> Recorded:
    """The one request of a file, its last one where it holds several. Raises Unreadable."""
    raw = _unpacked(raw)
    value = _json(raw)
    if value is None:
        kept = [*_log(b"", BytesIO(raw), None)]
        if not kept:
            raise Unreadable(f"no JSON request body, and no line of an upstream log: {_trouble(raw)}")
        return kept[-1]
    if not isinstance(value, dict):
        raise Unreadable(f"a request body is a JSON object, and this is {_kind(value)}: {FORMS}")
    if isinstance(value.get("body"), dict):
        logged = _logged(raw) if "direction" in value else None
        return logged or _captured(value, dialect)
    if is_conversation(value):
        return list(turns("conversation", value))[-1]
    return Recorded(None, _known(dialect or guess(value)), raw)


def guess(body: Mapping[str, Any]) -> str:
    """The dialect of a body by its shape."""
    if "input" in body and "messages" not in body:
        return "responses"
    if "system" in body or _typed(body, ("tool_use", "tool_result", "thinking", "redacted_thinking")):
        return "messages"
    if any("input_schema" in tool for tool in _objects(body.get("tools"))):
        return "messages"
    roles = {message.get("role") for message in _objects(body.get("messages"))}
    if roles & {"system", "developer", "tool"} or _typed(body, ("image_url", "input_audio", "file")):
        return "chat"
    if any("tool_calls" in message for message in _objects(body.get("messages"))):
        return "chat"
    if _typed(body, ("image", "document")) or b'"cache_control"' in msgspec.json.encode(body.get("messages")):
        return "messages"
    return "chat"


def _typed(body: Mapping[str, Any], kinds: Sequence[str]) -> bool:
    return any(
        part.get("type") in kinds
        for message in _objects(body.get("messages"))
        for part in _objects(message.get("content"))
    )


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _known(dialect: str) -> str:
    if dialect not in DIALECTS:
        raise Unreadable(f"this version does not read the dialect '{dialect}' (known: {', '.join(sorted(DIALECTS))})")
    return dialect


def _captured(value: Mapping[str, Any], dialect: str | None) -> Recorded:
    path = str(value.get("path") or "")
    told = next((name for end, name in _PATHS.items() if path.rstrip("/").endswith(end)), None)
    fields = value.get("headers")
    pairs = [*fields.items()] if isinstance(fields, dict) else fields if isinstance(fields, list) else []
    headers = {str(pair[0]).lower(): str(pair[1]) for pair in pairs if isinstance(pair, Sequence) and len(pair) == 2}
    body = value["body"]
    return Recorded(None, _known(dialect or told or guess(body)), encoded(body), headers)


_PATHS = {"/chat/completions": "chat", "/messages": "messages", "/count_tokens": "messages", "/responses": "responses"}


def is_conversation(value: Mapping[str, Any]) -> bool:
    """Whether a JSON object is a whole conversation and no request."""
    return value.get("dialect") in OPENAI and isinstance(value.get("messages"), list)


def turns(name: str, conversation: Mapping[str, Any], model: str = MODEL) -> Iterator[Recorded]:
    """The requests that a client would have sent in a conversation: one up to each turn of the user.

    Raises Unreadable where it is none.
    """
    _check(conversation)
    dialect = OPENAI[conversation["dialect"]]
    head: dict[str, Any] = {"model": model, "stream": True, "max_tokens": LIMIT}
    opening: list[bytes] = []
    if conversation.get("system"):
        if dialect == "messages":
            head["system"] = conversation["system"]
        else:
            opening = [encoded({"role": "system", "content": conversation["system"]})]
    if conversation.get("tools"):
        head["tools"] = conversation["tools"]
    if dialect == "chat":
        head["stream_options"] = {"include_usage": True}
    start, messages = encoded(head)[:-1], conversation["messages"]
    texts = opening + [encoded(message) for message in messages]
    for index, message in enumerate(messages):
        last = index + 1 == len(messages) or messages[index + 1]["role"] == "assistant"
        if message["role"] != "assistant" and last:
            items = b",".join(texts[: len(opening) + index + 1])
            hidden = int(conversation.get("unrecorded_prefix_tokens") or 0)
            body = start + b',"messages":[' + items + b"]}"
            yield Recorded(name, dialect, body, hidden=hidden, share=(index + 1) / len(messages))


def _check(conversation: Mapping[str, Any]) -> None:
    """Raise Unreadable for a conversation whose turns cannot be told."""
    messages = conversation["messages"]
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise Unreadable(f"messages[{index}] of the conversation is no object with a role: give it one")
    if all(message["role"] == "assistant" for message in messages):
        raise Unreadable("the conversation has no turn of the user, so that there is no request in it")
    hidden = conversation.get("unrecorded_prefix_tokens") or 0
    if not isinstance(hidden, int):
        raise Unreadable(f"unrecorded_prefix_tokens of the conversation is a number of tokens, not {_kind(hidden)}")


def encoded(value: Any) -> bytes:
    """JSON as JavaScript clients write it; a lone surrogate stays the escape it was."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def sources(path: Path) -> list[Source]:
    """The files at a path, an upstream log's oldest first. Raises Unreadable where there are none."""
    if not path.exists():
        raise Unreadable(f"{path}: no such file or folder")
    if not path.is_file() and not path.is_dir():
        raise Unreadable(f"{path}: neither a file nor a folder: save what it gives to a file first")
    found = [path] if path.is_file() else [file for file in path.iterdir() if _fits(file)]
    if not found:
        raise Unreadable(f"{path}: no recorded sessions in it (*.json, *.jsonl, *.log, each packed with gzip or not)")
    return [Source(file, file.stat().st_size) for file in sorted(found, key=_order)]


def _fits(file: Path) -> bool:
    return file.is_file() and file.name.removesuffix(".gz").endswith((".json", ".jsonl", ".log"))


def _order(file: Path) -> tuple[str, int, str]:
    # upstream.2026-01-02_....log comes before upstream.log, which is still being written.
    stem = file.name.split(".", 1)
    return stem[0], int(file.name.count(".") == 1), file.name


def read(source: Source, model: str = MODEL, missed: Callable[[str], None] | None = None) -> Iterator[Recorded]:
    """The requests of a file in their order. Raises Unreadable where it holds none.

    `missed` is told why a line of a log is no request.
    """
    path, name = source.path, source.path.name.removesuffix(".gz").removesuffix(".json")
    whole = ""
    try:
        with _opened(path) as (file, place):
            first = file.readline().removeprefix(codecs.BOM_UTF8)
            value = _json(first)
            if isinstance(value, dict) and "direction" in value:
                whole = " to its end"
                for record in _log(first, file, missed):
                    yield record._replace(share=min(1.0, place() / max(1, source.size)))
                return
            raw = _plain(first + file.read())
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable(f"{path}: cannot be read{whole} ({error})") from error
    value = _json(raw)
    if not isinstance(value, dict):
        told = _trouble(raw) if value is None else f"it is {_kind(value)}: {FORMS}"
        raise Unreadable(f"{path}: neither an upstream log, nor a conversation, nor a request body: {told}")
    try:
        yield from turns(name, value, model) if is_conversation(value) else (one(raw)._replace(session=name),)
    except Unreadable as error:
        raise Unreadable(*(f"{path}: {problem}" for problem in error.problems)) from error


def _log(first: bytes, file: IO[bytes], missed: Callable[[str], None] | None) -> Iterator[Recorded]:
    """The requests of an upstream log; one recorded as it came counts before the same one as it left.

    A log that holds such ones has those that stages changed twice: the others left as they came.
    """
    came, twice = "", False
    for line in chain((first,), file):
        if missed is not None and line.strip() and (why := _torn(line)):
            missed(why)
        record, came = _entry(line, came)
        twice |= bool(came)
        if record is not None:
            yield record._replace(edited=record.edited and not twice)


def _torn(line: bytes) -> str:
    """Why a line that should hold a request holds none; empty for one that does, and for what is no request."""
    head = _head(line)
    if head is None:
        return "the line is no JSON object"
    if head.direction not in ("received", "request"):
        return ""
    if head.dialect not in DIALECTS:
        return f"this version does not read the dialect '{head.dialect}'"
    return "" if bytes(head.body) else "the line has no body"


def _entry(line: bytes, came: str) -> tuple[Recorded | None, str]:
    head = _head(line)
    if head is None or head.direction not in ("received", "request"):
        return None, came
    if head.direction == "received":
        return _logged(line), head.id
    return (None if head.id == came else _logged(line)), came


class _Line(msgspec.Struct):
    direction: str = ""
    dialect: str = ""
    id: str = ""
    time: float | None = None
    body: msgspec.Raw = msgspec.Raw()


def _head(line: bytes) -> _Line | None:
    try:
        return msgspec.json.decode(line, type=_Line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _logged(line: bytes) -> Recorded | None:
    """The request of a line; None where it holds a reply, or nothing that can be read."""
    head = _head(line)
    if head is None or head.direction not in ("received", "request") or head.dialect not in DIALECTS:
        return None
    if not bytes(head.body):
        return None
    return Recorded(None, head.dialect, bytes(head.body), time=head.time, edited=head.direction == "request")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], Callable[[], int]]]:
    """A file, unpacked, and how many of its bytes have been read."""
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        if packed:
            with gzip.open(file, "rb") as unpacked:
                yield cast("IO[bytes]", unpacked), file.tell
        else:
            yield file, file.tell


def _unpacked(raw: bytes) -> bytes:
    try:
        return _plain(gzip.decompress(raw) if raw[:2] == _GZIP else raw)
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable(f"cannot be unpacked ({error})") from error


def _plain(raw: bytes) -> bytes:
    """UTF-8 without the mark that some editors and shells put before it."""
    for mark, name in _MARKS.items():
        if raw.startswith(mark):
            return raw[len(mark) :].decode(name, errors="replace").encode()
    return raw


_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def _trouble(raw: bytes) -> str:
    """Why bytes are no JSON, and what to give instead."""
    if not raw.strip():
        return f"it is empty: {FORMS}"
    try:
        msgspec.json.decode(raw)
    except RecursionError:
        return f"it is nested too deeply: {FORMS}"
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"{error}: {FORMS}"
    return FORMS


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")


def _json(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            return None
