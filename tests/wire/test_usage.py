"""Usage and the headers about the context over real sockets: the same on every surface, scaled or not."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from fixtures import conversations, needs_recordings, turns
from trimtab.echo import EchoOptions
from trimtab.splice import scan
from wire.harness import Answer, Proxy, echoing, post, proxying
from wire.scripted import SSE, Link, Sent, playing

pytestmark = pytest.mark.anyio

WINDOW = 204_800
"""Of glm-4.6, which answers text."""
EXPECTED = 128_000
SCALED = {"ANTHROPIC_EXPECTED_TOKENS": str(EXPECTED), "OPENAI_EXPECTED_TOKENS": str(EXPECTED)}
LOCAL = {"FORWARD_COUNT_TO_UPSTREAM": "false"}
REAL = "x-trimtab-real-input-tokens"
PATHS = {"messages": "/v1/messages", "chat": "/v1/chat/completions"}
MODELS = {"messages": "glm-4.6", "chat": "auto-openai"}
HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", 1920, 1080, 8, 2, 0, 0, 0) + bytes(100)
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(HEAD).decode()}"}}


def body(dialect: str, *contents: Any, **members: Any) -> bytes:
    """Turns of a user and a silent assistant."""
    messages: list[Any] = [{"role": "user", "content": contents[0]}]
    for content in contents[1:]:
        messages += [{"role": "assistant", "content": "I see."}, {"role": "user", "content": content}]
    return json.dumps({"model": MODELS[dialect], "max_tokens": 4000, "messages": messages, **members}).encode()


def streamed(dialect: str, *contents: Any) -> bytes:
    options = {"stream_options": {"include_usage": True}} if dialect == "chat" else {}
    return body(dialect, *contents, stream=True, **options)


def usages(answer: Answer) -> list[Any]:
    """Every usage an answer tells, in order."""
    if answer.body.startswith(b"{"):
        return [answer.json["usage"]]
    lines = [line.removeprefix(b"data: ") for line in answer.body.splitlines() if line.startswith(b"data: {")]
    frames = [json.loads(line) for line in lines]
    told = [frame.get("usage") or frame.get("message", {}).get("usage") for frame in frames]
    return [usage for usage in told if usage]


def prompt(usage: Any) -> int:
    """All tokens of the prompt, by either dialect's counters."""
    if "prompt_tokens" in usage:
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert usage["prompt_tokens_details"]["cached_tokens"] <= usage["prompt_tokens"]
        return int(usage["prompt_tokens"])
    return int(usage["input_tokens"] + usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"])


async def counted(proxy: Proxy, *contents: Any) -> tuple[int, dict[str, str]]:
    """The answer of count_tokens and its headers."""
    answer = await post(proxy.url, "/v1/messages/count_tokens", body("messages", *contents))
    return answer.json["input_tokens"], answer.headers


TEXT = "The rudder turns the ship, and the trim tab turns the rudder. " * 200


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("scaled", [False, True])
async def test_every_surface_tells_the_same(tmp_path: Path, dialect: str, scaled: bool) -> None:
    environ = SCALED if scaled else {}
    async with echoing() as (url, _), proxying(tmp_path, url, environ=environ) as proxy:
        truth = prompt((await post(url, PATHS[dialect], body(dialect, TEXT))).json["usage"])
        told = (2 * truth * EXPECTED + WINDOW) // (2 * WINDOW) if scaled else truth
        for sent in (body(dialect, TEXT), streamed(dialect, TEXT), body(dialect, TEXT)):
            answer = await post(proxy.url, PATHS[dialect], sent)
            assert {prompt(usage) for usage in usages(answer)} == {told}
            # A chat stream tells its usage last: whether that is before its headers leave is chance.
            late = dialect == "chat" and not answer.body.startswith(b"{")
            assert answer.headers.get(REAL) in {str(truth) if scaled else None, None if late or not scaled else ""}
            assert answer.headers["x-context-limit"] == str(WINDOW)
        if dialect == "messages":
            count, headers = await counted(proxy, TEXT)
            assert (count, headers.get(REAL)) == (told, str(truth) if scaled else None)


@pytest.mark.parametrize("dialect", PATHS)
async def test_without_a_window_usage_leaves_as_it_came(tmp_path: Path, dialect: str) -> None:
    async with echoing() as (url, echo), proxying(tmp_path, url) as proxy:
        for sent in (body(dialect, "hi"), streamed(dialect, "hi")):
            through = await post(proxy.url, PATHS[dialect], sent)
            bare = await post(url, PATHS[dialect], echo.requests[-1].body)
            told = zip(usages(through), usages(bare), strict=True)
            assert [theirs for ours, theirs in told if not theirs.items() <= ours.items()] == []


@pytest.mark.parametrize("streams", [False, True])
async def test_a_turn_with_an_image_makes_no_jump(tmp_path: Path, streams: bool) -> None:
    turns_of = (TEXT,), (TEXT, [{"type": "text", "text": "look"}, IMAGE]), (TEXT, "[an image]", TEXT)
    make = streamed if streams else body
    async with echoing() as (url, echo), proxying(tmp_path, url, environ=SCALED) as proxy:
        ratios, sent = [], []
        for contents in turns_of:
            # Behind the reply a stage may ask for a description of the image: those requests are not the turn's.
            await proxy.runtime.settled()
            before = len(echo.requests)
            answer = await post(proxy.url, PATHS["chat"], make("chat", *contents))
            sent.append(echo.requests[before].body)
            bare = await post(url, PATHS["chat"], sent[-1])
            ratios.append(prompt(usages(answer)[-1]) / prompt(usages(bare)[-1]))
        assert [json.loads(request)["model"] for request in sent] == ["glm-4.6", "glm-4.6v", "glm-4.6"]
        assert ratios == pytest.approx([EXPECTED / WINDOW] * 3, abs=0.0005)
        # The turn with the image went elsewhere: the text turns still begin with the same bytes.
        first, _, third = (scan(request, ("messages",)).items["messages"].raws for request in sent)
        assert third[: len(first)] == first


@pytest.mark.parametrize("dialect", PATHS)
async def test_the_context_is_told_on_every_surface(tmp_path: Path, dialect: str) -> None:
    async with echoing() as (url, _), proxying(tmp_path, url) as proxy:
        answers = [await post(proxy.url, PATHS[dialect], make(dialect, TEXT)) for make in (body, streamed)]
        if dialect == "messages":
            answers.append(await post(proxy.url, "/v1/messages/count_tokens", body(dialect, TEXT)))
        for answer in answers:
            used = int(answer.headers["x-context-used"])
            assert answer.headers["x-context-risk"] == "SAFE"
            assert answer.headers["x-context-utilization"] == f"{(used + 4000) / WINDOW * 100:.1f}"
            assert "x-context-warning" not in answer.headers


async def test_a_full_window_is_told_in_words_and_in_the_error_too(tmp_path: Path) -> None:
    small = {"REAL_TEXT_MODEL_TOKENS": "3000"}
    async with echoing(EchoOptions(window=3000)) as (url, _), proxying(tmp_path, url, environ=small) as proxy:
        answer = await post(proxy.url, PATHS["messages"], body("messages", TEXT * 2))
        assert answer.status == 400
        assert (answer.headers["x-context-risk"], answer.headers["x-context-limit"]) == ("OVERFLOW", "3000")
        assert "do not fit" in answer.headers["x-context-warning"]


@pytest.mark.parametrize("words", [0, 10, 1000, 20_000])
async def test_our_count_is_what_the_upstream_then_reads(tmp_path: Path, words: int) -> None:
    contents = ["word " * words, "and then?", "more " * words]
    async with echoing() as (url, _), proxying(tmp_path, url, environ=LOCAL) as proxy:
        count, _headers = await counted(proxy, *contents)
        theirs = prompt((await post(proxy.url, PATHS["messages"], body("messages", *contents))).json["usage"])
        # The framing of five messages and of the reply's opening.
        assert abs(count - theirs) <= 5 + 5


@needs_recordings
async def test_our_count_of_recorded_text_is_what_the_upstream_then_reads(tmp_path: Path) -> None:
    async with echoing() as (url, _), proxying(tmp_path, url) as proxy:
        for file in (path for path in conversations() if "-bob-" in path.name):
            *_, (_path, last) = turns(file, MODELS["chat"])
            answer = await post(proxy.url, PATHS["chat"], last)
            assert int(answer.headers["x-context-used"]) == pytest.approx(prompt(usages(answer)[0]), rel=0.002)


async def test_what_differs_is_learned_from_the_first_reply(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in ("path", "text", "mode")}}
    tools = [{"name": f"tool_{number}", "description": "Does it.", "input_schema": schema} for number in range(20)]
    sent = body("messages", TEXT, tools=tools)
    # A quarter of the characters is a poor count: there is something to learn.
    environ = {**LOCAL, "ENABLE_ACCURATE_TOKEN_COUNTING": "false"}
    async with echoing() as (url, _), proxying(tmp_path, url, environ=environ) as proxy:
        first = (await post(proxy.url, "/v1/messages/count_tokens", sent)).json["input_tokens"]
        theirs = prompt((await post(proxy.url, PATHS["messages"], sent)).json["usage"])
        await proxy.runtime.settled()
        answer = await post(proxy.url, "/v1/messages/count_tokens", sent)
        assert abs(first - theirs) > 100
        assert abs(answer.json["input_tokens"] - theirs) <= 1
        assert answer.headers["x-context-used"] == str(answer.json["input_tokens"])
        assert await proxy.runtime.store.get("calibration", "", b"zai-messages\nglm-4.6\ntokens:cl100k_base:False")


def delta(dialect: str, text: str) -> bytes:
    """One frame with a piece of text, its JSON escaped as some servers do."""
    if dialect == "chat":
        return (
            b"data: "
            + json.dumps({"id": "c", "choices": [{"index": 0, "delta": {"content": text}}]}).encode()
            + b"\n\n"
        )
    piece = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return b"event: content_block_delta\ndata: " + json.dumps(piece).encode() + b"\n\n"


def silent(dialect: str, *texts: str) -> list[bytes]:
    """The frames of a whole stream that tells no usage, as local servers and z.ai's start event do."""
    pieces = [delta(dialect, text) for text in texts]
    if dialect == "chat":
        stop = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        return [*pieces, b"data: " + json.dumps(stop).encode() + b"\n\n", b"data: [DONE]\n\n"]
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "m", "model": "glm-4.6", "usage": {"input_tokens": 0}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ]
    frames = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
    return [*frames[:2], *pieces, *frames[2:]]


@pytest.mark.parametrize("dialect", PATHS)
async def test_a_stream_without_usage_ends_with_an_estimate(tmp_path: Path, dialect: str) -> None:
    texts = ("The rudder turns the ship. ", "Über dem Bug weht ein Wimpel. ", "x" * 300)

    async def streams(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        for frame in silent(dialect, *texts):
            await link.chunk(frame)
        await link.chunk(b"")

    async with playing(streams) as upstream, proxying(tmp_path, upstream.url) as proxy:
        answer = await post(proxy.url, PATHS[dialect], streamed(dialect, TEXT))
        used = int(answer.headers["x-context-used"])
        told = usages(answer)[-1]
        assert prompt(told) == used > 2000
        output = told["completion_tokens" if dialect == "chat" else "output_tokens"]
        assert output == pytest.approx(sum(map(len, texts)) / 4, rel=0.1)
        assert json.loads(answer.body.split(b"data: ")[-2].split(b"\n")[0])["context_info"]["note"].startswith(
            "estimated"
        )
        # Every piece of text has left as it came.
        assert b"".join(delta(dialect, text) for text in texts) in answer.body
        if dialect == "chat":
            quiet = await post(proxy.url, PATHS[dialect], body(dialect, TEXT, stream=True))
            assert usages(quiet) == []
