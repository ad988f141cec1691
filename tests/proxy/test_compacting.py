"""A conversation as one sealed item."""

import json
from typing import Any

import pytest

from responding import request
from trimtab.compacting import LONGEST, RESULT, TEMPLATE, VERBATIM, WORDS, compact, transcript, verbatim
from trimtab.dialects.responses_blob import unseal
from trimtab.dialects.responses_request import SUMMARY
from trimtab.errors import UpstreamError
from trimtab.events import Opaque, StopReason
from trimtab.exchange import Answer
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


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n",
        f"{WORDS}\n> echoed",
        *(Answer("## Goal", None, stop) for stop in (StopReason.LENGTH, StopReason.CONTEXT, StopReason.REFUSAL)),
    ],
    ids=str,
)
async def test_a_summary_that_is_empty_or_cut_is_an_error(answer: str | Answer) -> None:
    async with StageBench(answers=[answer]) as bench:
        with pytest.raises(UpstreamError, match="summary"):
            await compact(bench.exchange({"model": "small", "input": "hi"}, dialect="responses"))


@pytest.mark.anyio
async def test_the_users_words_outlive_a_second_compaction() -> None:
    items: list[dict[str, Any]] = [user("never touch main"), user("two\n\n> lines")]
    async with StageBench(answers=["one", f"two\n{WORDS}\n> echoed"]) as bench:
        for words in ("and go on", "once more"):
            exchange = bench.exchange({"model": "small", "input": [*items, user(words)]}, dialect="responses")
            reply = await compact(exchange)
            items = [json.loads(event.raw) for event in reply.events if isinstance(event, Opaque)]
    sealed = unseal("compaction", items[0]["encrypted_content"])
    assert sealed is not None
    assert sealed.text == (f"two\n\n{WORDS}\n> never touch main\n\n> two\n\n> lines\n\n> and go on\n\n> once more")


def test_the_users_own_words_are_not_an_earlier_summary_and_not_without_end() -> None:
    said = [user("first"), user("old" * VERBATIM), user("a"), user(SUMMARY + "x"), user(" "), user("b")]
    first, old, *rest = verbatim(request(input=said).messages)
    assert (first, rest) == ("first", ["a", "b"])
    assert old.startswith("old")
    assert f"[{3 * VERBATIM - VERBATIM // 2} characters left out]" in old
    first, *rest = verbatim(request(input=[user("gone"), user("x" * VERBATIM), user("b" * 100)]).messages)
    assert (f"[{100} characters left out]" in first, rest) == (True, ["b" * 100])


def test_images_and_results_of_results_are_told() -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AA"}
    items = [{"role": "user", "content": [picture]}, CALL, {**OUTPUT, "output": [picture]}]
    assert transcript(request(input=items).messages, 999).count("(an image)") == 2
