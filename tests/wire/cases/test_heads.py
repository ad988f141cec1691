"""Members of a request's head that are easily lost: said in the other dialect's words, or refused by their name."""

from pathlib import Path
from typing import Any

import pytest

from laws.samples import REPLIES
from wire.cases.play import ANY, CHAT, DEFAULT, GLM, GLM_CHAT, MESSAGES, RESPONSES, play, sent, tool, user

pytestmark = pytest.mark.anyio
FUNCTIONS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in "ab"]
HELLO = [user("hi")]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (RESPONSES, {"input": "hi", "instructions": [{"role": "developer", "content": "be"}]}, "instructions"),
        (MESSAGES, {"messages": HELLO, "tools": [tool("a")], "tool_choice": {"type": "tool", "name": "b"}}, "b"),
        (CHAT, {"messages": HELLO, "tools": FUNCTIONS, "tool_choice": {"function": {"name": "c"}}}, "tool_choice"),
        (CHAT, {"messages": HELLO, "functions": [{"name": "a"}], "function_call": {"name": "b"}}, "function_call"),
        (CHAT, {"messages": []}, "messages"),
        (MESSAGES, {"messages": []}, "messages"),
    ],
)
async def test_what_means_nothing_upstream_is_refused_by_its_name(
    tmp_path: Path, path: str, body: dict[str, Any], param: str
) -> None:
    model = GLM_CHAT if path == MESSAGES else GLM
    limit = {} if path == RESPONSES else {"max_tokens": 9}
    for stream in (False, True):
        played = await play(tmp_path, path, {"model": model, "stream": stream, **limit, **body}, b"{}")
        assert (played.status, played.sent) == (400, [])
        assert param in played.answer.json["error"]["message"]


async def test_of_the_tools_on_offer_those_that_are_allowed_go_up(tmp_path: Path) -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [FUNCTIONS[1]]}}
    body = {"model": GLM, "messages": HELLO, "tools": FUNCTIONS, "tool_choice": choice}
    found = await sent(tmp_path, CHAT, body)
    assert [made["name"] for made in found["tools"]] == ["b"]
    assert found["tool_choice"] == {"type": "any"}


async def test_the_older_member_for_json_reaches_chat(tmp_path: Path) -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    body = {"model": GLM_CHAT, "max_tokens": 9, "messages": HELLO, "output_format": wanted}
    found = await sent(tmp_path, MESSAGES, body, ANY)
    assert found["response_format"]["json_schema"]["schema"] == {"type": "object"}


async def test_a_file_by_its_address_reaches_messages(tmp_path: Path) -> None:
    part = {"type": "input_file", "file_url": "https://h/a.pdf"}
    files = DEFAULT + "[upstream.zai-messages]\nfiles = true\n"
    body = {"model": GLM, "input": [{"role": "user", "content": [part]}]}
    found = await sent(tmp_path, RESPONSES, body, files)
    assert found["messages"][0]["content"] == [
        {"type": "document", "source": {"type": "url", "url": "https://h/a.pdf"}}
    ]


@pytest.mark.parametrize("limit", [0, "9"])
async def test_a_limit_that_is_none_is_told(tmp_path: Path, limit: Any) -> None:
    body = {"model": GLM, "messages": HELLO, "max_tokens": limit}
    played = await play(tmp_path, CHAT, body, REPLIES["anthropic"].body)
    assert (played.status, played.answer.headers["x-trimtab-dropped"]) == (200, "max_tokens")
