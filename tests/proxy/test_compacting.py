"""A conversation as one sealed item."""

import json
from typing import Any

import pytest

from responding import request
from trimtab.compacting import LONGEST, RESULT, TEMPLATE, VERBATIM, compact, transcript, verbatim
from trimtab.dialects.responses_blob import unseal
from trimtab.dialects.responses_request import SUMMARY
from trimtab.errors import UpstreamError
from trimtab.events import Opaque
from trimtab.testing import StageBench


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "input_text", "text": text}]}


CALL = {"type": "function_call", "call_id": "c", "name": "read", "arguments": '{"path":"a"}'}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "x" * 9000}


@pytest.mark.anyio
async def test_the_model_is_asked_once_and_the_users_words_are_kept() -> None:
    body = {"model": "small", "input": [user("never touch main"), CALL, OUTPUT, {"type": "compaction_trigger"}]}
    async with StageBench(answers=["## Goal\nall"]) as bench:
        exchange = bench.exchange(body, dialect="responses")
        reply = await compact(exchange)
        [(model, prompt)] = bench.asked
    assert (model, prompt.system, prompt.max_tokens, prompt.temperature) == ("small", TEMPLATE, LONGEST, 0.0)
    assert "[user] never touch main" in prompt.content[0].text
    assert "called read with" in prompt.content[0].text
    [item] = [json.loads(event.raw) for event in reply.events if isinstance(event, Opaque)]
    sealed = unseal("compaction", item["encrypted_content"])
    assert sealed is not None
    assert sealed.text == "## Goal\nall\n\n## What the user said, word for word\n> never touch main"


@pytest.mark.anyio
async def test_without_an_answer_there_is_no_summary() -> None:
    async with StageBench() as bench:
        with pytest.raises(UpstreamError):
            await compact(bench.exchange({"model": "small", "input": "hi"}, dialect="responses"))


def test_long_outputs_lose_their_middle() -> None:
    said = transcript(request(input=[user("go"), CALL, OUTPUT]).messages, 10**6)
    assert f"[{9000 - RESULT} characters left out]" in said
    assert said.count("x") == RESULT


def test_of_too_many_parts_the_first_and_the_newest_stay() -> None:
    messages = request(input=[user(f"part {n:03}") for n in range(100)]).messages
    said = transcript(messages, 200)
    assert said.startswith("[user] part 000\n\n[")
    assert said.endswith("[user] part 099")
    assert "parts left out]" in said
    assert len(said) < 240
    assert transcript((), 10) == ""


def test_the_users_own_words_are_not_an_earlier_summary_and_not_without_end() -> None:
    messages = request(input=[user("old" * VERBATIM), user("a"), user(SUMMARY + "x"), user(" "), user("b")]).messages
    assert verbatim(messages) == ["a", "b"]


def test_images_and_results_of_results_are_told() -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AA"}
    items = [{"role": "user", "content": [picture]}, CALL, {**OUTPUT, "output": [picture]}]
    assert transcript(request(input=items).messages, 999).count("(an image)") == 2
