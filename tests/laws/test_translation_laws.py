"""What holds for every translated request: it is valid, it keeps what was said, and it grows at its end only."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import published
from fixtures import conversations, needs_recordings, turns
from translating import CHAT, CHECKED, MESSAGES, SPREAD, ZAI_CHAT, ZAI_MESSAGES, check, parsed
from trimtab.memo import MessageTable
from trimtab.models import Target
from trimtab.splice import scan
from trimtab.translate import spelling, translate
from trimtab.translate.names import call_id

DIALECTS = {"/v1/chat/completions": "chat", "/v1/messages": "messages"}
TARGETS = {"messages": (ZAI_CHAT, CHAT, SPREAD), "chat": (ZAI_MESSAGES, MESSAGES, CHECKED)}
HEAD = {"model": "x", "max_tokens": 99}
RECORDED = conversations()


def translated(
    dialect: str, body: Mapping[str, Any] | bytes, target: Target, table: MessageTable | None = None
) -> bytes:
    return translate(parsed(dialect, body, table), target).body


def roles(body: bytes) -> list[str]:
    return [message["role"] for message in json.loads(body)["messages"]]


def stable(dialect: str, messages: Sequence[Mapping[str, Any]], target: Target, body: bytes) -> int:
    """Up to which byte of `body`, which tells `messages`, a longer conversation may not differ."""
    start = max((at for at, message in enumerate(messages) if message["role"] != "assistant"), default=-1)
    while start > 0 and messages[start - 1]["role"] != "assistant":
        start -= 1
    before = [] if start < 0 else messages[:start]
    told = roles(translated(dialect, {**HEAD, "messages": before}, target)) if before else []
    while told and told[-1] != "assistant":
        told.pop()
    if not told and not any(message["role"] not in ("system", "developer") for message in messages):
        # Without a turn of the user's there is none to differ in.
        return 0
    spans = scan(body, ("messages",)).items["messages"].spans
    lead = roles(body)[: len(told) + 1]
    at = len(told) + (not told and lead[:1] == ["system"] and len(spans) > 1)
    return spans[at][0]


def check_prefix(dialect: str, messages: Sequence[Mapping[str, Any]], target: Target) -> None:
    whole = translated(dialect, {**HEAD, "messages": messages}, target)
    for count in range(1, len(messages)):
        short = translated(dialect, {**HEAD, "messages": messages[:count]}, target)
        end = stable(dialect, messages[:count], target, short)
        assert whole[:end] == short[:end]


def thinned(file: Path, count: int) -> tuple[str, list[bytes]]:
    """The dialect of a recorded session and about `count` of its requests, the first and the last among them."""
    said = list(turns(file, "x"))
    kept = said[:: max(1, len(said) // count)]
    return DIALECTS[said[0][0]], [body for _, body in (*kept, said[-1])]


def behind_the_assistant(body: bytes) -> int:
    """Where the last user's turn begins in a translated body."""
    items = scan(body, ("messages",)).items["messages"]
    said = [raw.startswith(b'{"role":"assistant"') for raw in items.raws]
    at = len(said) - said[::-1].index(True) if any(said) else int(items.raws[0].startswith(b'{"role":"system"'))
    return items.spans[at][0]


@needs_recordings
@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.name)
def test_a_recorded_session_grows_at_its_end_only(file: Path) -> None:
    dialect, said = thinned(file, 60)
    for target in TARGETS[dialect]:
        table = MessageTable(10**9)
        sent = [translated(dialect, body, target, table) for body in said]
        for short, long in pairwise(sent):
            end = behind_the_assistant(short)
            assert long[:end] == short[:end]
        check(target.dialect, json.loads(sent[-1]))


@needs_recordings
@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.name)
def test_what_was_forgotten_is_made_again_alike(file: Path) -> None:
    dialect, said = thinned(file, 5)
    for target in TARGETS[dialect]:
        warm, tiny = MessageTable(10**9), MessageTable(200_000)
        for body in (*said, said[0], said[-1], said[-1]):
            whole = translated(dialect, body, target)
            assert translated(dialect, body, target, warm) == whole
            assert translated(dialect, body, target, tiny) == whole


def meaning(dialect: str, body: Mapping[str, Any]) -> list[Any]:
    """A conversation in a form in which both dialects are alike: what is said by turns, and what is told apart."""
    system = body.get("system") or []
    texts = [system] if isinstance(system, str) else [block["text"] for block in system]
    found: list[Any] = [["system", *(("text", text) for text in texts)]] if texts else []
    for message in body["messages"]:
        role = {"tool": "user", "developer": "system"}.get(message["role"], message["role"])
        if not found or found[-1][0] != role:
            found.append([role])
        found[-1] += (_chat if dialect == "chat" else _messages)(message)
    return [_ordered(turn) for turn in found]


def _ordered(turn: list[Any]) -> list[Any]:
    """Texts and images in their order, texts that follow each other as one; beside them what is told apart."""
    shown: list[Any] = []
    apart = sorted((item for item in turn[1:] if item[0] in ("call", "result", "thought")), key=repr)
    for kind, *said in turn[1:]:
        if kind == "text" and shown and isinstance(shown[-1], str) and said[0].strip():
            shown[-1] += "\n\n" + said[0]
        elif kind == "text" and said[0].strip():
            shown.append(said[0])
        elif kind == "image":
            shown.append(said)
    return [turn[0], shown, apart]


def _chat(message: Mapping[str, Any]) -> Iterable[Any]:
    content = message["content"] or ""
    parts: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if message["role"] == "tool":
        told = "\n\n".join(part["text"] for part in parts)
        yield ("result", call_id(message["tool_call_id"], "messages"), told)
        return
    if message.get("reasoning_content"):
        yield ("thought", message["reasoning_content"])
    for part in parts:
        yield ("text", part["text"]) if part["type"] == "text" else ("image", part["image_url"]["url"])
    for call in message.get("tool_calls") or ():
        function = call["function"]
        yield ("call", call_id(call["id"], "messages"), function["name"], json.loads(function["arguments"] or "{}"))


def _messages(message: Mapping[str, Any]) -> Iterable[Any]:
    content = message["content"]
    blocks: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    for block in blocks:
        match block["type"]:
            case "text":
                yield ("text", block["text"])
            case "thinking" if block["thinking"]:
                yield ("thought", block["thinking"])
            case "image":
                source: Any = block["source"]
                yield ("image", source.get("url") or f"data:{source['media_type']};base64,{source['data']}")
            case "tool_use":
                yield ("call", call_id(block["id"], "messages"), block["name"], block["input"])
            case "tool_result":
                inner = block.get("content") or ""
                texts = [inner] if isinstance(inner, str) else [p["text"] for p in inner if p["type"] == "text"]
                told = "Error: " * bool(block.get("is_error")) + "\n\n".join(texts)
                yield ("result", call_id(block["tool_use_id"], "messages"), told)


@needs_recordings
@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.name)
def test_a_recorded_session_comes_back_with_its_meaning(file: Path) -> None:
    *_, (path, body) = turns(file, "x")
    dialect = DIALECTS[path]
    there, back = (CHAT, MESSAGES) if dialect == "messages" else (MESSAGES, CHAT)
    sent = translated(dialect, body, there)
    returned = translated(there.dialect, sent, back)
    first = meaning(dialect, json.loads(body))
    assert any(turn[1:] for turn in first)
    assert meaning(there.dialect, json.loads(sent)) == first
    assert meaning(dialect, json.loads(returned)) == first


IDS = st.sampled_from(["a", "b", "toolu_1", "call:1/é", "", "x" * 70, "functions.read:0", 'q"\\'])
NAMES = st.sampled_from(["read", "mcp__" + "n" * 80, "a.b", ""])
BLANKS = st.sampled_from(["", " \n"])
MARKS = st.sampled_from([{}, {}, {"cache_control": {"type": "ephemeral"}}])


class Tokens:
    """Words that occur once, so that each is found again."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        return f"w{self.count}é"


def a_text(draw: st.DrawFn, word: Tokens) -> dict[str, Any]:
    said = draw(BLANKS) if draw(st.integers(0, 4)) == 0 else word()
    return {"type": "text", "text": said, **draw(MARKS)}


PNGS = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0K"}}
A_OTHERS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        PNGS,
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}},
        {"type": "server_thing", "x": 1},
        {"type": "redacted_thinking", "data": "x"},
    ]
)


def answerable(asked: list[str]) -> st.SearchStrategy[str]:
    """Mostly an id that waits for its result."""
    return st.sampled_from([*asked, *asked, *asked, *asked, "a", "call:1/é"])


@st.composite
def a_blocks(draw: st.DrawFn, word: Tokens, kinds: str, asked: list[str]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4)):
        if kind == "t":
            made.append(a_text(draw, word))
        elif kind == "o":
            made.append(draw(A_OTHERS))
        elif kind == "h":
            made.append({"type": "thinking", "thinking": word(), "signature": draw(st.sampled_from(["", "c2ln"]))})
        elif kind == "c":
            made.append({"type": "tool_use", "id": draw(IDS), "name": draw(NAMES), "input": {"k": word()}})
        else:
            inner = [a_text(draw, word), *draw(st.lists(A_OTHERS, max_size=1))] if draw(st.booleans()) else word()
            flags = draw(st.sampled_from([{}, {"is_error": True}]))
            id_ = draw(answerable(asked))
            made.append({"type": "tool_result", "tool_use_id": id_, "content": inner, **flags, **draw(MARKS)})
    return made


@st.composite
def a_sessions(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Sessions in messages, sound or not."""
    word, made, asked = Tokens(), list[dict[str, Any]](), list[str]()
    for _ in range(draw(st.integers(1, 7))):
        roles = ["system", "user", *["user" if asked else "assistant"] * 3]
        role = draw(st.sampled_from(roles))
        kinds = {"user": "rrtro", "assistant": "thcco", "system": "t"}[role]
        content: Any = word() if draw(st.integers(0, 3)) == 0 else draw(a_blocks(word, kinds, asked))
        made.append({"role": role, "content": content})
        if role != "system":
            asked = [id_ for id_, _ in _calls("messages", made[-1])]
    return made


C_OTHERS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0K", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image_url", "image_url": {"url": "file:///a.png"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "x"}},
    ]
)


def c_content(draw: st.DrawFn, word: Tokens, others: bool = True) -> Any:
    match draw(st.integers(0, 4)):
        case 0:
            return draw(st.sampled_from([None, "", " ", []]))
        case 1 | 2:
            return word()
    inner = [a_text(draw, word) for _ in range(draw(st.integers(0, 2)))]
    return inner + (draw(st.lists(C_OTHERS, max_size=2)) if others else [])


@st.composite
def c_sessions(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Sessions in chat, sound or not."""
    word, made, asked = Tokens(), list[dict[str, Any]](), list[str]()
    for _ in range(draw(st.integers(1, 9))):
        roles = ["system", "developer", "user", "function", "assistant", *["tool" if asked else "assistant"] * 5]
        role = draw(st.sampled_from(roles))
        message: dict[str, Any] = {"role": role, "content": c_content(draw, word, role in ("user", "tool"))}
        if role == "assistant":
            arguments = [json.dumps({"k": word()}, ensure_ascii=False), "", "[1]", '{"k": "cut']
            message["tool_calls"] = [
                {
                    "id": draw(IDS),
                    "type": "function",
                    "function": {"name": draw(NAMES), "arguments": draw(st.sampled_from(arguments))},
                }
                for _ in range(draw(st.integers(0, 3)))
            ]
            asked = [call["id"] for call in message["tool_calls"]]
            if draw(st.booleans()):
                message["reasoning_content"] = word()
            if draw(st.integers(0, 5)) == 0:
                message["function_call"] = {"name": "read", "arguments": json.dumps({"k": word()})}
        elif role == "tool":
            message["tool_call_id"] = draw(answerable(asked))
        elif role == "function":
            message["name"] = "read"
        made.append(message)
    return made


def expected_pairs(dialect: str, messages: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(what a call says, what answers it) for each answered call with an id of its own in its turn."""
    pairs: list[tuple[str, str]] = []
    calls: list[tuple[str, str]] = []
    results: dict[str, str] | None = None
    for message in (*messages, {"role": "assistant", "content": ""}):
        if message["role"] != "assistant":
            results = {**(results or {}), **_results(dialect, message)}
            continue
        if results is not None:
            alone = [id_ for id_, _ in calls]
            pairs += [(said, results[id_]) for id_, said in calls if alone.count(id_) == 1 and results.get(id_)]
            calls, results = [], None
        calls += _calls(dialect, message)
    return pairs


def _words(value: Any) -> str:
    """The words that occur once in some value, in their order."""
    return " ".join(re.findall(r"w\d+é", json.dumps(value, ensure_ascii=False)))


def _calls(dialect: str, message: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The id of each call, and the words in its input."""
    if dialect == "chat":
        return [(call["id"], _words(call["function"]["arguments"])) for call in message.get("tool_calls") or ()]
    content = message["content"] if isinstance(message["content"], list) else []
    return [(block["id"], _words(block["input"])) for block in content if block["type"] == "tool_use"]


def _results(dialect: str, message: Mapping[str, Any]) -> dict[str, str]:
    if dialect == "chat":
        return {message["tool_call_id"]: _words(message["content"])} if message["role"] == "tool" else {}
    content = message["content"] if isinstance(message["content"], list) else []
    return {b["tool_use_id"]: _words(b["content"]) for b in content if b["type"] == "tool_result"}


def pairs(dialect: str, body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The same of a translated body, in which every call is answered."""
    calls: dict[str, str] = {}
    found = []
    for message in body["messages"]:
        if message["role"] == "assistant":
            calls = dict(_calls(dialect, message))
        for id_, said in _results(dialect, message).items():
            found.append((calls.get(id_, ""), said))
    return found


def words(value: Any) -> set[str]:
    """All words that occur once."""
    return set(re.findall(r"w\d+é", json.dumps(value, ensure_ascii=False)))


def visible(dialect: str, messages: Sequence[Mapping[str, Any]]) -> set[str]:
    """Words of texts that must not be lost: all but thoughts, calls, results."""
    found: set[str] = set()
    for message in messages:
        content = message["content"]
        if message["role"] in ("tool", "function"):
            continue
        blocks = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
        found |= words([block["text"] for block in blocks if block["type"] == "text"])
    return found


def check_session(dialect: str, messages: list[dict[str, Any]], targets: Sequence[Target]) -> None:
    for target in targets:
        body = {**HEAD, "messages": messages}
        conversation = parsed(dialect, body)
        sent = json.loads(translate(conversation, target).body)
        check(target.dialect, sent, schema=False)
        assert visible(dialect, messages) <= words(sent)
        found = pairs(target.dialect, sent)
        assert [pair for pair in expected_pairs(dialect, messages) if pair not in found] == []
        told = json.dumps(messages, ensure_ascii=False)
        assert all(
            _escaped(said) in told for said in spelling(conversation, target.dialect).ids.values() if said != "fn_read"
        )
        check_prefix(dialect, messages, target)


def _escaped(said: str) -> str:
    return json.dumps(said, ensure_ascii=False)[1:-1]


@given(messages=a_sessions())
def test_any_messages_session_is_sound_in_chat(messages: list[dict[str, Any]]) -> None:
    check_session("messages", messages, (ZAI_CHAT, SPREAD))


@given(messages=c_sessions())
def test_any_chat_session_is_sound_in_messages(messages: list[dict[str, Any]]) -> None:
    check_session("chat", messages, (ZAI_MESSAGES, CHECKED))


SCHEMA = settings(max_examples=25, deadline=None)
"""To hold a body against a schema takes longer than to make it."""


@given(messages=a_sessions())
@SCHEMA
def test_any_messages_session_fits_the_published_schema_of_chat(messages: list[dict[str, Any]]) -> None:
    published.asked("chat", json.loads(translated("messages", {**HEAD, "messages": messages}, CHAT)))


@given(messages=c_sessions())
@SCHEMA
def test_any_chat_session_fits_the_published_schema_of_messages(messages: list[dict[str, Any]]) -> None:
    published.asked("messages", json.loads(translated("chat", {**HEAD, "messages": messages}, MESSAGES)))
