"""What of a request is read as tokens."""

import base64
import json
from typing import Any

import pytest

from trimtab.api import DialectName, Picture, framing
from trimtab.testing import StageBench
from trimtab_stages.token_parts import PAGE, Pages, Part, of_message, of_system, of_tools

DATA = base64.b64encode(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x07\x80\x00\x00\x048" + b"\x00" * 5000).decode()


def read(*content: Any, dialect: DialectName = "messages", role: str = "user", **members: Any) -> list[Part]:
    body = {"model": "m", "messages": [{"role": role, "content": [*content], **members}]}
    exchange = StageBench().exchange(json.dumps(body).encode(), dialect=dialect)
    found = [*of_message(exchange.conversation.messages[0])]
    assert found[0] == framing(dialect).message
    return found[1:]


def test_texts_thoughts_calls_and_results() -> None:
    call = framing("messages").call
    said = {"type": "text", "text": "one", "cache_control": {"type": "ephemeral"}}
    thought = {"type": "thinking", "thinking": "hm", "signature": "long-signature"}
    use = {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "a"}}
    assert read(thought, said, use, role="assistant") == ["hm", "one", call, "read", '{"path": "a"}']
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [said, {"type": "text", "text": "two"}]}
    assert read(result) == [call, "one", "two"]
    assert read({"type": "redacted_thinking", "data": DATA}, role="assistant") == [""]


def test_a_chat_turn() -> None:
    call = framing("chat").call
    calls = [{"id": "c1", "type": "function", "function": {"name": "read", "arguments": '{"path":"a"}'}}]
    told = read(dialect="chat", role="assistant", reasoning_content="hm", tool_calls=calls)
    assert told == ["hm", call, "read", '{"path":"a"}']
    assert read({"type": "text", "text": "two"}, dialect="chat", role="tool", tool_call_id="c1") == [call, "two"]


@pytest.mark.parametrize(
    ("dialect", "part"),
    [
        ("chat", {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}}),
        ("messages", {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}),
    ],
)
def test_a_picture_is_its_size(dialect: DialectName, part: Any) -> None:
    assert read(part, dialect=dialect) == [Picture(1920, 1080)]


def source(**members: Any) -> dict[str, Any]:
    return {"type": "document", "source": members}


PDF = base64.b64encode(b"%PDF-1.7 /Type /Pages /Count 3" + b" /Type /Page /Type/Page\n/Type\n/Page>>").decode()


@pytest.mark.parametrize(
    ("part", "parts"),
    [
        (source(type="text", media_type="text/plain", data="some text"), ["some text"]),
        (source(type="content", content="some text"), ["some text"]),
        (
            source(
                type="content",
                content=[
                    {"type": "text", "text": "some text"},
                    {"type": "image", "source": {"type": "base64", "data": DATA}},
                    {"type": "image", "source": {"type": "url", "url": "https://a.test"}},
                    {"type": "odd"},
                    7,
                ],
            ),
            ["some text", Picture(1920, 1080), Picture()],
        ),
        (source(type="base64", media_type="application/pdf", data=PDF), [Pages(PDF)]),
        (source(type="url", url="https://a.test/b.pdf"), [Pages()]),
        ({**source(type="file", file_id="f"), "title": "A title", "context": "of old"}, ["A title", "of old", Pages()]),
        ({"type": "document", "source": {"type": 7}}, [Pages()]),
    ],
)
def test_documents(part: Any, parts: list[Part]) -> None:
    assert read(part) == parts


def test_a_file_of_a_chat_client() -> None:
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}
    assert read(file, dialect="chat") == [Pages(PDF)]
    assert read({"type": "file", "file": {"file_id": "f"}}, dialect="chat") == [Pages()]


def test_pages_are_counted_and_at_least_one() -> None:
    assert Pages(PDF).tokens() == 3 * PAGE
    assert [Pages(data).tokens() for data in ("", "AAAA", "not base64 \u8239")] == [PAGE] * 3


def test_base64_in_an_unknown_part_is_left_out() -> None:
    audio = {"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}}
    assert read(audio, dialect="chat") == ['{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}']
    address = {"type": "odd", "url": f"data:audio/wav;base64,{DATA}", "says": "short words stay"}
    assert read(address) == ['{"type": "odd", "url": "", "says": "short words stay"}']
    words = {"type": "odd", "says": "words and more words " * 100}
    assert read(words) == [json.dumps(words)]


def test_tools_are_written_as_templates_write_them() -> None:
    tools = [{"name": "a", "description": "\u8239", "cache_control": {"type": "ephemeral"}}, {"name": "b"}, 7]
    dialects: list[DialectName] = ["chat", "messages"]
    for dialect in dialects:
        frame = framing(dialect)
        found = [*of_tools(json.dumps(tools, separators=(",", ":")).encode(), dialect)]
        named = '{"name": "a", "description": "\u8239"}'
        assert found == [frame.offer, frame.tool, named, frame.tool, '{"name": "b"}', frame.tool, "7"]
    assert [*of_tools(b"[]", "chat")] == [*of_tools(b"null", "chat")] == []


@pytest.mark.parametrize(
    ("system", "parts"),
    [
        ("be brief", ["be brief"]),
        ([{"type": "text", "text": "be"}, {"type": "text", "text": "brief"}, {"type": "odd"}], ["be", "brief"]),
        (None, []),
        ("", [""]),
    ],
)
def test_the_system_prompt(system: Any, parts: list[str]) -> None:
    assert [*of_system(json.dumps(system).encode())] == parts
