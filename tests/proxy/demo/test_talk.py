"""Streams as a client reads them."""

import pytest

from trimtab.demo.session import MessagesSession
from trimtab.demo.talk import DemoFailed, Talk, read
from trimtab.server import listen

CHAT = (
    b'data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"role":"assistant",'
    b'"content":"Hel"},"finish_reason":null}]}\n\n'
    b'data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"lo"},'
    b'"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":[],"usage":{"prompt_tokens":9,'
    b'"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":4}}}\n\n'
)
DONE = b"data: [DONE]\n\n"


def test_a_stream_becomes_one_answer_with_its_usage() -> None:
    answer = read("chat", "m", CHAT + DONE)
    assert answer.body["choices"][0]["message"]["content"] == "Hello"
    assert (answer.usage.prompt, answer.usage.cache_read, answer.usage.output) == (9, 4, 2)


def test_a_stream_that_breaks_off_is_a_failure() -> None:
    with pytest.raises(DemoFailed, match=r"not whole|broke off"):
        read("chat", "m", CHAT[:150] + b"\n\n")


def test_an_error_in_a_stream_is_a_failure() -> None:
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n'
    with pytest.raises(DemoFailed, match="busy"):
        read("messages", "m", error)


def test_a_server_that_is_not_there_is_a_failure() -> None:
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    listener.close()
    with Talk(MessagesSession("m", "0000"), port) as talk, pytest.raises(DemoFailed, match=f"{port}/v1/messages"):
        talk.turn()
