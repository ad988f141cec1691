"""Anthropic's Messages."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from trimtab.conversation import Block, Head, Tool
from trimtab.dialects import edits, messages_reply, messages_request, problems
from trimtab.dialects.base import Decoder, Dialect, Encoder, Prompt, Rendered, Wanted
from trimtab.dialects.ids import Token, token
from trimtab.dialects.messages_decode import MessagesDecoder
from trimtab.dialects.messages_encode import PING, MessagesEncoder, failure
from trimtab.dialects.parts import content
from trimtab.errors import ProxyError
from trimtab.events import Event


class _Named(msgspec.Struct):
    name: str | None = None


class Messages(Dialect):
    """The dialect `messages`; `token` makes the random part of new ids."""

    name = "messages"
    arrays = ("messages", "tools", "system?")
    reads = frozenset(
        {
            "model",
            "messages",
            "tools",
            "system",
            "stream",
            "max_tokens",
            "thinking",
            "output_config",
            "tool_choice",
            "stop_sequences",
            "temperature",
            "top_p",
            "top_k",
            "metadata",
            "service_tier",
            "cache_control",
        }
    )
    ping = PING

    def __init__(self, token: Token = token) -> None:
        self._token = token

    def blocks(self, raw: bytes) -> tuple[Block, ...]:
        """The blocks of one message."""
        return messages_request.read_message(raw)

    def with_blocks(self, raw: bytes, blocks: Sequence[Block]) -> bytes:
        """The message with other blocks; unchanged ones and unknown members stay byte for byte."""
        return messages_request.write_message(raw, blocks)

    def system(self, head: Head) -> tuple[Block, ...]:
        """The blocks of the member `system`."""
        return messages_request.read_system(head.raw("system") or b"")

    def tool(self, raw: bytes) -> Tool:
        """A tool on offer."""
        try:
            return Tool(msgspec.json.decode(raw, type=_Named).name or "", raw)
        except msgspec.DecodeError:
            return Tool("", raw)

    def compose(self, model: str, prompt: Prompt) -> bytes:
        """A non-streaming request body of our own."""
        turn = {"role": "user", "content": msgspec.Raw(content(prompt.content, messages_request.PARTS))}
        body: dict[str, Any] = {"model": model, "max_tokens": prompt.max_tokens}
        if prompt.system:
            body["system"] = prompt.system
        if prompt.temperature is not None:
            body["temperature"] = prompt.temperature
        return msgspec.json.encode({**body, "messages": [turn]})

    def decoder(self, wanted: Wanted) -> Decoder:
        """A decoder for one upstream stream."""
        return MessagesDecoder(wanted)

    def encoder(self, model: str, *, usage: bool) -> Encoder:
        """An encoder for one client stream; this dialect always tells the usage."""
        return MessagesEncoder(model, self._token)

    def unfold(self, body: bytes) -> list[Event]:
        """The events of a non-streaming reply. Raises UpstreamError when it is none."""
        return messages_reply.unfold(body)

    def fold(self, events: Iterable[Event], model: str) -> bytes:
        """The non-streaming reply for a whole sequence of events. Raises UpstreamError when it failed."""
        return messages_reply.fold(events, model, self._token)

    def patch(self, raw: bytes, before: Sequence[Event], after: Sequence[Event]) -> bytes | None:
        """A frame or body with changed events written into it, all else as it was; None when that cannot be."""
        return messages_reply.patch(raw, before, after)

    def rename(self, raw: bytes, model: str) -> bytes:
        """A frame or reply body that names `model`: only the first frame names one."""
        if raw[:1] == b"{":
            return edits.rename(raw, model, ("model",))
        return edits.rename(raw, model, ("message", "model")) if b'"message_start"' in raw else raw

    def error(self, error: ProxyError, request_id: str) -> Rendered:
        """The answer for a failure before the first byte."""
        status = problems.PROBLEMS[error.cause].messages_status
        body = self.own_error(error)
        if body is not None:
            status = problems.own_status(error) or status
            body = problems.completed(body, {("request_id",): request_id or None})
        headers = {**problems.retried(error), "request-id": request_id}
        return Rendered(status, headers, body or self._failure(error, request_id))

    def own_error(self, error: ProxyError) -> bytes | None:
        """The upstream's own error body where it has this dialect's form, None otherwise."""
        return problems.own_form(error, outer=True)

    def error_frame(self, error: ProxyError, request_id: str) -> bytes:
        """The frame for a failure inside a stream; no end of the stream follows it."""
        body = self.own_error(error)
        data = self._failure(error, request_id) if body is None else problems.one_line(body)
        return b"event: error\ndata: " + data + b"\n\n"

    def _failure(self, error: ProxyError, request_id: str) -> bytes:
        return failure(problems.PROBLEMS[error.cause].messages_type, problems.message(error), request_id)

    def count(self, tokens: int) -> bytes:
        """The answer to a request to count tokens."""
        return b'{"input_tokens":%d}' % tokens


MESSAGES = Messages()
"""The one instance."""
