"""OpenAI's Chat Completions."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import msgspec

from trimtab.conversation import Block, Conversation, Head, Tool
from trimtab.dialects import chat_reply, chat_request, edits, problems
from trimtab.dialects.base import Decoder, Dialect, Encoder, Prompt, Rendered, Wanted
from trimtab.dialects.chat_decode import ChatDecoder
from trimtab.dialects.chat_encode import PING, ChatEncoder, failure
from trimtab.dialects.ids import Token, token
from trimtab.dialects.parts import content
from trimtab.dialects.sse import write
from trimtab.errors import BadRequest, Cause, ProxyError
from trimtab.events import Event


class _Named(msgspec.Struct):
    name: str | None = None


class _Tool(msgspec.Struct):
    name: str | None = None
    function: _Named | None = None


class Chat(Dialect):
    """The dialect `chat`; `token` makes the random part of new ids, `now` tells the time of a reply."""

    name = "chat"
    arrays = ("messages", "tools")
    reads = frozenset(
        {
            "model",
            "messages",
            "tools",
            "stream",
            "stream_options",
            "max_tokens",
            "max_completion_tokens",
            "n",
            "thinking",
            "reasoning_effort",
            "tool_choice",
            "parallel_tool_calls",
            "response_format",
            "stop",
            "temperature",
            "top_p",
            "user",
            "functions",
            "function_call",
            "modalities",
        }
    )
    ping = PING

    def __init__(self, token: Token = token, now: Callable[[], float] = time.time, *, legacy: bool = False) -> None:
        """`legacy` is the form of replies to requests that offer `functions`."""
        self._token = token
        self._now = now
        self._legacy = legacy

    def bound(self, conversation: Conversation) -> Self:
        """The dialect for the replies to one request: one that offers `functions` knows no `tool_calls`."""
        head = conversation.head
        legacy = bool(head.get("functions")) and not head.get("tools")
        return type(self)(self._token, self._now, legacy=True) if legacy else self

    def blocks(self, raw: bytes) -> tuple[Block, ...]:
        """The blocks of one message."""
        return chat_request.read_message(raw)

    def with_blocks(self, raw: bytes, blocks: Sequence[Block]) -> bytes:
        """The message with other blocks; unchanged ones and unknown members stay byte for byte."""
        return chat_request.write_message(raw, blocks)

    def system(self, head: Head) -> tuple[Block, ...]:
        """Nothing: here the system prompt is a message."""
        return ()

    def tool(self, raw: bytes) -> Tool:
        """A tool on offer."""
        try:
            tool = msgspec.json.decode(raw, type=_Tool)
        except msgspec.DecodeError:
            return Tool("", raw)
        return Tool((tool.function.name if tool.function else tool.name) or "", raw)

    def compose(self, model: str, prompt: Prompt) -> bytes:
        """A non-streaming request body of our own."""
        turns: list[dict[str, Any]] = [{"role": "system", "content": prompt.system}] if prompt.system else []
        turns.append({"role": "user", "content": msgspec.Raw(content(prompt.content, chat_request.PARTS))})
        body: dict[str, Any] = {"model": model, "messages": turns, "max_tokens": prompt.max_tokens}
        return msgspec.json.encode(body | ({} if prompt.temperature is None else {"temperature": prompt.temperature}))

    def decoder(self, wanted: Wanted) -> Decoder:
        """A decoder for one upstream stream."""
        return ChatDecoder(wanted, self._token)

    def encoder(self, model: str, *, usage: bool) -> Encoder:
        """An encoder for one client stream."""
        return ChatEncoder(model, usage=usage, token=self._token, now=self._now, legacy=self._legacy)

    def unfold(self, body: bytes) -> list[Event]:
        """The events of a non-streaming reply. Raises UpstreamError when it is none."""
        return chat_reply.unfold(body, self._token)

    def fold(self, events: Iterable[Event], model: str) -> bytes:
        """The non-streaming reply for a whole sequence of events. Raises UpstreamError when it failed."""
        return chat_reply.fold(events, model, self._token, self._now, legacy=self._legacy)

    def patch(self, raw: bytes, before: Sequence[Event], after: Sequence[Event]) -> bytes | None:
        """A frame or body with changed events written into it, all else as it was; None when that cannot be."""
        return chat_reply.patch(raw, before, after)

    def rename(self, raw: bytes, model: str) -> bytes:
        """A frame or reply body that names `model`: every chunk names one."""
        return edits.rename(raw, model, ("model",))

    def error(self, error: ProxyError, request_id: str) -> Rendered:
        """The answer for a failure before the first byte."""
        status = problems.PROBLEMS[error.cause].chat_status
        body = self.own_error(error)
        if body is not None:
            status = problems.own_status(error) or status
            body = problems.completed(body, {("error", "param"): None, ("error", "code"): None})
        headers = {**problems.retried(error), "x-request-id": request_id}
        return Rendered(status, headers, body or self._failure(error))

    def own_error(self, error: ProxyError) -> bytes | None:
        """The upstream's own error body where it has this dialect's form, None otherwise."""
        return problems.own_form(error, outer=False)

    def error_frame(self, error: ProxyError, request_id: str) -> bytes:
        """The frame for a failure inside a stream; no end of the stream follows it."""
        body = self.own_error(error)
        return write(self._failure(error) if body is None else problems.one_line(body))

    def _failure(self, error: ProxyError) -> bytes:
        return failure(error.cause, problems.message(error), error.param, error.code)

    def count(self, tokens: int) -> bytes:
        """Not part of this dialect."""
        raise BadRequest("Chat Completions has no endpoint that counts tokens", cause=Cause.NOT_FOUND)


CHAT = Chat()
"""The one instance."""
