"""Recordings in all their forms."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from fixtures import FOLDER, needs_recordings
from trimtab.offline.recorded import Source, Unreadable, guess, one, read, sources, turns

USER = {"role": "user", "content": "hi"}
ANSWER = {"role": "assistant", "content": "hello"}
BODY = {"model": "m", "messages": [USER]}


def raw(value: Any) -> bytes:
    return json.dumps(value).encode()


def line(direction: str, text: str, *, id: str = "r", **more: Any) -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    head = {"time": 5.0, "id": id, "direction": direction, "upstream": "u", "model": "m", "dialect": "chat"}
    return json.dumps({**head, "body": body, **more}) + "\n"


def texts(path: Path) -> list[tuple[str, bool]]:
    return [(json.loads(found.body)["messages"][0]["content"], found.edited) for found in read(Source(path))]


@pytest.mark.parametrize(
    ("body", "dialect"),
    [
        (BODY, "chat"),
        ({**BODY, "system": "s"}, "messages"),
        ({**BODY, "messages": [{"role": "system", "content": "s"}, USER]}, "chat"),
        ({**BODY, "tools": [{"name": "ls", "input_schema": {}}]}, "messages"),
        ({**BODY, "tools": [{"type": "function", "function": {"name": "ls"}}]}, "chat"),
        ({**BODY, "messages": [USER, {**ANSWER, "tool_calls": []}]}, "chat"),
        ({**BODY, "messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages"),
        ({**BODY, "messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "messages"),
        ({**BODY, "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "chat"),
        ({"model": "m", "input": "hi"}, "responses"),
    ],
)  # fmt: skip
def test_the_dialect_is_told_by_its_shape(body: dict[str, Any], dialect: str) -> None:
    assert guess(body) == dialect


@needs_recordings
def test_recorded_requests_of_agents_are_told_apart() -> None:
    told = {"chat-completions": "chat", "messages": "messages", "responses": "responses"}
    for file in sorted((FOLDER / "clients").glob("*/*.json")):
        record = json.loads(file.read_text())
        assert guess(record["body"]) == told[file.stem.split("-", 1)[1]], file


def test_a_body_is_taken_as_it_is() -> None:
    spelled = b' {"model" : "m", "messages": [ {"role":"user","content":"hi"} ], "x": 1.50}'
    found = one(spelled)
    assert (found.body, found.dialect, found.headers) == (spelled, "chat", {})
    assert one(gzip.compress(spelled)).body == spelled
    assert one(spelled, "messages").dialect == "messages"


def test_a_captured_request_brings_its_headers_and_its_dialect() -> None:
    captured = {"path": "/v1/messages", "headers": [["X-App", "cli"]], "body": BODY}
    found = one(raw(captured))
    assert (found.dialect, found.headers, json.loads(found.body)) == ("messages", {"x-app": "cli"}, BODY)
    assert one(raw({"headers": {"A": "b"}, "body": BODY})).headers == {"a": "b"}
    for odd in (7, "text", [1, ["a"], ["B", "c"], [[], 2]]):
        assert one(raw({"headers": odd, "body": BODY})).headers.get("b", "c") == "c"


def test_the_last_request_of_a_log_or_conversation_is_the_one_meant() -> None:
    log = line("request", "first") + line("reply", "no") + line("request", "second") + line("reply", "no")
    assert b"second" in one(log.encode()).body
    log += line("received", "third") + line("request", "third, edited") + line("reply", "no")
    assert b'"third"' in one(log.encode()).body
    conversation = {"dialect": "openai", "messages": [USER, ANSWER, {"role": "user", "content": "more"}]}
    assert len(json.loads(one(raw(conversation)).body)["messages"]) == 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "no JSON request body, and no line of an upstream log: it is empty: give a request body"),
        (b'{"model": ', "Input data was truncated: give a request body"),
        (b"\x00\xff\x00", r"JSON is malformed: .* \(byte 0\): give a request body"),
        (b"[" * 100_000, "it is nested too deeply: give"),
        (b'{"body":' + b"[" * 60_000 + b"]" * 60_000 + b"}", "it is nested too deeply: give"),
        (b"[1]", "a JSON object, and this is a list: give"),
        (b'{"direction": 1}\nnot json', "no JSON request body"),
        (b"\x1f\x8bbroken", "cannot be unpacked"),
    ],
)
def test_what_holds_no_request_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        one(text)


def test_a_dialect_that_nobody_speaks_is_refused() -> None:
    with pytest.raises(Unreadable, match=r"does not read the dialect 'klingon' \(known: chat, messages"):
        one(raw(BODY), "klingon")
    assert one(raw({"model": "m", "input": "hi"})).dialect == "responses"


def test_a_conversation_becomes_the_requests_of_its_turns() -> None:
    tool = {"role": "tool", "tool_call_id": "t", "content": "x"}
    conversation = {
        "dialect": "openai", "system": "be brief", "tools": [{"type": "function"}], "unrecorded_prefix_tokens": 7,
        "messages": [USER, ANSWER, tool, USER, ANSWER],
    }  # fmt: skip
    found = list(turns("c", conversation, "glm-x"))
    bodies = [json.loads(each.body) for each in found]
    system = {"role": "system", "content": "be brief"}
    assert [body["messages"] for body in bodies] == [[system, USER], [system, USER, ANSWER, tool, USER]]
    assert {each.hidden for each in found} == {7}
    assert {body["model"] for body in bodies} == {"glm-x"}
    anthropic = {**conversation, "dialect": "anthropic"}
    assert json.loads(next(turns("c", anthropic)).body)["system"] == "be brief"


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([USER, {"content": "x"}], r"messages\[1\] of the conversation is no object with a role"),
        ([5], r"messages\[0\] of the conversation is no object with a role"),
        ([], "the conversation has no turn of the user"),
        ([ANSWER], "the conversation has no turn of the user"),
    ],
)
def test_a_conversation_without_turns_is_refused(messages: list[Any], why: str, tmp_path: Path) -> None:
    text = raw({"dialect": "openai", "messages": messages})
    with pytest.raises(Unreadable, match=f"^{why}"):
        one(text)
    (tmp_path / "c.json").write_bytes(text)
    with pytest.raises(Unreadable, match=rf"c\.json: {why}"):
        list(read(Source(tmp_path / "c.json")))


def test_hidden_tokens_that_are_no_number_are_refused() -> None:
    with pytest.raises(Unreadable, match="unrecorded_prefix_tokens of the conversation is a number of tokens, not a t"):
        one(raw({"dialect": "openai", "messages": [USER], "unrecorded_prefix_tokens": "many"}))


@pytest.mark.parametrize("code", ["utf-8-sig", "utf-16"])
def test_the_mark_that_windows_puts_before_a_text_is_left_out(code: str, tmp_path: Path) -> None:
    body, path = json.dumps(BODY), tmp_path / "marked.json"
    assert one(body.encode(code)).body == body.encode()
    path.write_bytes(body.encode(code))
    assert [json.loads(found.body) for found in read(Source(path))] == [BODY]
    path.write_bytes(line("request", "hi").encode("utf-8-sig"))
    assert texts(path) == [("hi", True)]


def test_each_request_tells_how_much_of_its_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(raw({"dialect": "openai", "messages": [USER, ANSWER, USER, ANSWER]}))
    assert [found.share for found in read(Source(path))] == [0.25, 0.75]
    for text in (line("request", "x" * 50_000).encode() * 4, gzip.compress(line("request", "x").encode() * 4)):
        path.write_bytes(text)
        shares = [found.share for found in read(Source(path, len(text)))]
        assert (shares, shares[-1]) == (sorted(shares), 1.0)


def test_a_lone_surrogate_stays_the_escape_it_was() -> None:
    conversation = {"dialect": "openai", "messages": [{"role": "user", "content": "\ud83d é"}]}
    assert b"\\ud83d" in next(turns("c", conversation)).body


def test_a_log_is_read_as_it_came_where_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "up.jsonl"
    path.write_text(
        line("request", "plain", id="1") + line("reply", "no", id="1")
        + line("received", "came", id="2") + line("request", "left", id="2")
        + line("request", "torn", id="3")[:-20] + "\n" + line("request", "other", id="4", dialect="klingon")
        + line("request", "last", id="5")
    )  # fmt: skip
    assert texts(path) == [("plain", True), ("came", False), ("last", False)]
    missed: list[str] = []
    assert len([*read(Source(path), missed=missed.append)]) == 3
    assert missed == ["the line is no JSON object", "this version does not read the dialect 'klingon'"]
    packed = tmp_path / "up.2026-01-01_00-00-00_000000.jsonl.gz"
    packed.write_bytes(gzip.compress(line("request", "older").encode()))
    assert [source.path.name for source in sources(tmp_path)] == [packed.name, path.name]
    assert texts(packed) == [("older", True)]


def test_a_folder_gives_its_recordings_only(tmp_path: Path) -> None:
    for name in ("a.json", "b.json.gz", "README.md", "c.jsonl", "d.txt"):
        (tmp_path / name).write_text("{}")
    assert [source.path.name for source in sources(tmp_path)] == ["a.json", "b.json.gz", "c.jsonl"]
    with pytest.raises(Unreadable, match="no such file"):
        sources(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Unreadable, match="no recorded sessions"):
        sources(tmp_path / "empty")


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x1f\x8bbroken", b"[]"])
def test_a_file_that_holds_nothing_says_so(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(Unreadable, match=r"x\.json: "):
        list(read(Source(path)))


def test_single_requests_are_sessions_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_bytes(raw(BODY))
    assert [(found.session, found.dialect) for found in read(Source(tmp_path / "one.json"))] == [("one", "chat")]
