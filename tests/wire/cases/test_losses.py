"""What one dialect says and another cannot: dropped and named by default, refused where `core.strict` asks for that.

The rows are those of protocol.md 2.1 and 2.9.
"""

from pathlib import Path
from typing import Any

import pytest

from laws.samples import REPLIES
from trimtab.strict import CHANGING
from wire.cases.play import CHAT, DEFAULT, GLM, GLM_CHAT, MESSAGES, RESPONSES, play, tool, user

pytestmark = pytest.mark.anyio

LOOSE = DEFAULT + '[upstream.zai-chat]\ndrop = ["parallel_tool_calls"]\n'
"""z.ai's own list of what it takes is left behind where the row is moved to another host, as here."""
STRICT = LOOSE + "[core]\nstrict = true\n"
FLAT = {"type": "function", "name": "read", "parameters": {"type": "object"}}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}
SCHEMA = {"type": "json_schema", "schema": {"type": "object"}}
NAMED = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
SAID = {"role": "user", "content": "hi"}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}

CHANGES: dict[str, tuple[str, dict[str, Any], str]] = {
    # A client of messages before z.ai's chat.
    "forced tool": (MESSAGES, {"tools": [tool("read")], "tool_choice": {"type": "any"}}, "tool_choice"),
    "server tool": (MESSAGES, {"tools": [SEARCH]}, "web_search_20250305"),
    "document": (MESSAGES, {"messages": [user({"type": "document", "source": PDF})]}, "document"),
    "image by its id": (
        MESSAGES,
        {"messages": [user({"type": "image", "source": {"type": "file", "file_id": "f"}})]},
        "image",
    ),
    "json": (MESSAGES, {"output_config": {"format": SCHEMA}}, "output_config.format"),
    "one call at a time": (
        MESSAGES,
        {"tools": [tool("read")], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        "tool_choice.disable_parallel_tool_use",
    ),
    # A client of chat before z.ai's messages.
    "chances": (CHAT, {"logprobs": True}, "logprobs"),
    "other chances": (CHAT, {"top_logprobs": 3}, "top_logprobs"),
    "biased": (CHAT, {"logit_bias": {"1": 2}}, "logit_bias"),
    "predicted": (CHAT, {"prediction": {"type": "content", "content": "a"}}, "prediction"),
    "searching": (CHAT, {"web_search_options": {}}, "web_search_options"),
    "voice": (CHAT, {"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
    "said": (
        CHAT,
        {"messages": [user({"type": "text", "text": "a"}, {"type": "input_audio", "input_audio": {"data": "x"}})]},
        "input_audio",
    ),
    "file": (
        CHAT,
        {"messages": [user({"type": "file", "file": {"file_id": "f"}}, {"type": "text", "text": "a"})]},
        "file",
    ),
    "json by its schema": (CHAT, {"response_format": NAMED}, "response_format"),
    # A client of Responses before z.ai's messages.
    "vendor's tool": (RESPONSES, {"tools": [{"type": "web_search"}]}, "web_search"),
    "vendor's file search": (RESPONSES, {"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, "file_search"),
    "one at a time": (
        RESPONSES,
        {"model": GLM_CHAT, "tools": [FLAT], "parallel_tool_calls": False},
        "parallel_tool_calls",
    ),
    "more chances": (RESPONSES, {"top_logprobs": 3}, "top_logprobs"),
    "included chances": (
        RESPONSES,
        {"include": ["message.output_text.logprobs"]},
        "include.message.output_text.logprobs",
    ),
    "json in words": (RESPONSES, {"text": {"format": {**SCHEMA, "name": "n"}}}, "text.format"),
    "json in words in chat": (
        RESPONSES,
        {"model": GLM_CHAT, "text": {"format": {**SCHEMA, "name": "n"}}},
        "text.format",
    ),
    "an unknown form": (RESPONSES, {"model": GLM_CHAT, "text": {"format": {"type": "grammar"}}}, "text.format"),
    "kept elsewhere": (RESPONSES, {"conversation": "conv_1"}, "conversation"),
    "a template": (RESPONSES, {"prompt": {"id": "pmpt_1"}}, "prompt"),
    "an item of the vendor": (RESPONSES, {"input": [SAID, {"type": "item_reference", "id": "i"}]}, "item_reference"),
    "a foreign compaction": (RESPONSES, {"input": [{"type": "compaction", "encrypted_content": "x"}]}, "compaction"),
    "an unknown item": (RESPONSES, {"input": [SAID, {"type": "hologram"}]}, "hologram"),
    "a film": (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_video"}]}]}, "input_video"),
    "code": (RESPONSES, {"tools": [{"type": "code_interpreter", "container": "c"}]}, "code_interpreter"),
    "drawing": (RESPONSES, {"tools": [{"type": "image_generation"}]}, "image_generation"),
    "freeform": (CHAT, {"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "custom"),
    "a film in chat": (CHAT, {"messages": [user("a"), user({"type": "video_url"})]}, "video_url"),
    "a block": (MESSAGES, {"messages": [user({"type": "hologram"})]}, "hologram"),
    "json by the older member": (MESSAGES, {"output_format": SCHEMA}, "output_format"),
    "no text in the prompt": (MESSAGES, {"system": [{"type": "image"}]}, "system"),
    "an unknown tool in messages": (MESSAGES, {"tools": [{"type": "new_1", "name": "new"}]}, "new_1"),
}
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    # What would be wrong without being told is refused in either mode.
    "several": (CHAT, {"n": 2}, "n"),
    "spoken": (CHAT, {"modalities": ["text", "audio"]}, "modalities"),
}
TUNES: dict[str, tuple[str, dict[str, Any], str]] = {
    "top_k": (MESSAGES, {"top_k": 5}, "top_k"),
    "seed": (CHAT, {"seed": 5}, "seed"),
    "penalty": (CHAT, {"frequency_penalty": 0.5}, "frequency_penalty"),
    "container": (MESSAGES, {"container": "c"}, "container"),
    "inference_geo": (MESSAGES, {"inference_geo": "us"}, "inference_geo"),
    "speed": (MESSAGES, {"speed": "fast"}, "speed"),
    "context_management": (MESSAGES, {"context_management": {"edits": []}}, "context_management"),
    "store": (CHAT, {"store": True}, "store"),
    "service_tier": (CHAT, {"service_tier": "flex"}, "service_tier"),
}


def asked(path: str, more: dict[str, Any]) -> dict[str, Any]:
    model = GLM_CHAT if path == MESSAGES else GLM
    if path == RESPONSES:
        return {"model": model, "input": "hi", **more}
    return {"model": model, "max_tokens": 99, "messages": [user("hi")], **more}


def reply(body: dict[str, Any]) -> bytes:
    return REPLIES["openai" if body["model"] == GLM_CHAT else "anthropic"].body


@pytest.mark.parametrize(("path", "more", "name"), CHANGES.values(), ids=CHANGES)
async def test_a_loss_that_changes_the_meaning_is_told_and_strictly_refused(
    tmp_path: Path, path: str, more: dict[str, Any], name: str
) -> None:
    body = asked(path, more)
    played = await play(tmp_path, path, body, reply(body), pipelines=LOOSE)
    assert (played.status, played.answer.headers["x-trimtab-dropped"].split(",")) == (200, [name])
    for stream in (False, True):
        refused = await play(tmp_path, path, {**body, "stream": stream}, reply(body), pipelines=STRICT)
        assert (refused.status, refused.sent) == (400, [])
        assert f"cannot be told {name}" in refused.answer.json["error"]["message"]


@pytest.mark.parametrize(("path", "more", "name"), REFUSED.values(), ids=REFUSED)
async def test_a_loss_that_would_be_wrong_in_silence_is_refused_in_either_mode(
    tmp_path: Path, path: str, more: dict[str, Any], name: str
) -> None:
    for pipelines in (LOOSE, STRICT):
        body = asked(path, more)
        played = await play(tmp_path, path, body, reply(body), pipelines=pipelines)
        assert (played.status, played.sent) == (400, [])
        assert name in played.answer.json["error"]["message"]


@pytest.mark.parametrize(("path", "more", "name"), TUNES.values(), ids=TUNES)
async def test_a_loss_that_only_tunes_passes_in_either_mode(
    tmp_path: Path, path: str, more: dict[str, Any], name: str
) -> None:
    for pipelines in (LOOSE, STRICT):
        body = asked(path, more)
        played = await play(tmp_path, path, body, reply(body), pipelines=pipelines)
        assert (played.status, played.answer.headers["x-trimtab-dropped"]) == (200, name)


async def test_nothing_is_lost_in_the_clients_own_dialect(tmp_path: Path) -> None:
    body = asked(MESSAGES, {"tools": [SEARCH], "top_k": 5, "container": "c"}) | {"model": GLM}
    played = await play(tmp_path, MESSAGES, body, REPLIES["anthropic"].body, pipelines=STRICT)
    assert (played.status, played.body) == (200, body)
    assert "x-trimtab-dropped" not in played.answer.headers


def test_every_change_of_meaning_is_played() -> None:
    played = {name for _, _, name in (*CHANGES.values(), *REFUSED.values())}
    # These are lost only where an upstream's row says that it takes no tools at all.
    assert CHANGING - played == {"functions", "tools"}


@pytest.mark.parametrize("stream", [False, True])
async def test_who_offers_functions_gets_a_function_call(tmp_path: Path, stream: bool) -> None:
    offered = {"functions": [{"name": "read", "parameters": {"type": "object"}}], "function_call": {"name": "read"}}
    sample = REPLIES["anthropic"]
    body = asked(CHAT, {**offered, "stream": stream})
    played = await play(tmp_path, CHAT, body, [sample.stream] if stream else sample.body)
    assert played.body["tools"][0]["name"] == "read"
    assert played.body["tool_choice"] == {"type": "tool", "name": "read", "disable_parallel_tool_use": True}
    if stream:
        pieces = [delta["function_call"] for delta in played.deltas if "function_call" in delta]
        found = {"name": pieces[0]["name"], "arguments": "".join(piece["arguments"] for piece in pieces)}
        finish = played.frames[-2]["choices"][0]["finish_reason"]
    else:
        choice = played.answer.json["choices"][0]
        found, finish = choice["message"]["function_call"], choice["finish_reason"]
    assert (found["name"], finish) == ("read", "function_call")
    assert found["arguments"].replace(" ", "") == '{"path":"a.txt"}'
    assert b"tool_calls" not in played.answer.body
