"""OpenAI's Responses, on the client's side only: its input items are messages, its replies are written from events."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn, Self

import msgspec

from trimtab.conversation import Block, Conversation, Head, Message, Text, Tool
from trimtab.dialects import problems, responses_request
from trimtab.dialects.base import Decoder, Dialect, Encoder, Prompt, Rendered, Wanted
from trimtab.dialects.chat_encode import failure
from trimtab.dialects.ids import Token, token
from trimtab.dialects.responses_encode import PING, ResponsesEncoder, frame
from trimtab.dialects.responses_tools import Offers, offered
from trimtab.dialects.responses_wire import Asked, asked
from trimtab.errors import BadRequest, Cause, ProxyError, UpstreamError
from trimtab.events import Event, Failed
from trimtab.memo import MessageTable
from trimtab.resume import Found
from trimtab.splice import Scanned, decode

_DECLARING = (b'"additional_tools"', b'"tool_search_output"')
_NOTE = "declared"


class _Named(msgspec.Struct):
    type: str | None = None
    name: str | None = None
    tools: list[msgspec.Raw] | None = None


class Responses(Dialect):
    """The dialect `responses`; `token` makes the random part of new ids, `now` tells the time of a reply.

    `bound` gives one for the replies to a request, which repeat it; that one remembers its stream, so that a failure
    is told inside it.
    """

    name = "responses"
    arrays = ("input?", "tools")
    reads = frozenset(
        {
            "model",
            "input",
            "instructions",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "stream",
            "max_output_tokens",
            "temperature",
            "top_p",
            "reasoning",
            "text",
            "include",
            "user",
            "safety_identifier",
            "service_tier",
            "previous_response_id",
        }
    )
    opening = 4
    ping = PING

    def __init__(self, token: Token = token, now: Callable[[], float] = time.time) -> None:
        self._token = token
        self._now = now
        self._asked = Asked()
        self._model = ""
        self._streams = False
        self._encoder: ResponsesEncoder | None = None

    def bound(self, conversation: Conversation) -> Self:
        """The dialect for the replies to one request."""
        made = type(self)(self._token, self._now)
        made._asked = asked(conversation, offers(conversation).tools)
        made._model, made._streams = conversation.model, conversation.stream
        return made

    def parse(self, body: bytes, table: MessageTable, found: Found | None = None) -> Conversation:
        """Read a request body. Raises BadRequest, naming the place, when it cannot be understood."""
        conversation = super().parse(body, table, found)
        before = conversation.head.get("previous_response_id")
        if before is not None:
            raise BadRequest(
                f"Previous response with id '{str(before)[:80]}' not found: this proxy keeps no responses, send the "
                "whole input with store=false",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        return conversation

    def compacts(self, conversation: Conversation) -> bool:
        """Whether an item asks for it."""
        return any(
            b'"compaction_trigger"' in message.raw
            and not message.role
            and responses_request.kind_of(message.raw)[0] == "compaction_trigger"
            for message in conversation.messages
        )

    def said(self, scanned: Scanned) -> Sequence[bytes]:
        """The items of the input; a bare string is one of them."""
        value = scanned.value("input")
        if value is not None and value[:1] == b'"':
            decode(value, str, "input")
            return (value,)
        if "input" not in scanned.items or not scanned.items["input"].raws:
            raise BadRequest("the member 'input' is missing or empty: send a text, or a list of items", param="input")
        return scanned.items["input"].raws

    def role(self, raw: bytes, place: str) -> str:
        """Who says an item; empty for one that says nothing to a model."""
        return responses_request.kind_of(raw, place)[1]

    def blocks(self, raw: bytes) -> tuple[Block, ...]:
        """The blocks of one item."""
        return responses_request.read_item(raw)

    def with_blocks(self, raw: bytes, blocks: Sequence[Block]) -> bytes:
        """The item with other blocks; unchanged ones and unknown members stay byte for byte."""
        return responses_request.write_item(raw, blocks)

    def system(self, head: Head) -> tuple[Block, ...]:
        """The instructions. Raises BadRequest where they are no text."""
        said = head.get("instructions")
        if said is not None and not isinstance(said, str):
            raise BadRequest("instructions are no string: send one text, or messages in 'input'", param="instructions")
        return (Text(text=said),) if isinstance(said, str) and said else ()

    def tool(self, raw: bytes) -> Tool:
        """A tool on offer; one without a name goes by its type."""
        try:
            found = msgspec.json.decode(raw, type=_Named)
        except msgspec.DecodeError:
            return Tool("", raw)
        return Tool(found.name or found.type or "", raw)

    def compose(self, model: str, prompt: Prompt) -> bytes:
        """No upstream speaks this dialect."""
        self._no_upstream()

    def decoder(self, wanted: Wanted) -> Decoder:
        """No upstream speaks this dialect."""
        self._no_upstream()

    def unfold(self, body: bytes) -> list[Event]:
        """No upstream speaks this dialect."""
        self._no_upstream()

    def _no_upstream(self) -> NoReturn:
        raise ProxyError("no upstream is asked in the dialect 'responses'", cause=Cause.UNSUPPORTED)

    def encoder(self, model: str, *, usage: bool) -> Encoder:
        """An encoder for one client stream; this dialect always tells the usage."""
        self._encoder = self._fresh(model)
        return self._encoder

    def _fresh(self, model: str) -> ResponsesEncoder:
        return ResponsesEncoder(model, self._asked, self._token, self._now, _broken)

    def fold(self, events: Iterable[Event], model: str) -> bytes:
        """The response object for a whole sequence of events. Raises UpstreamError when that failed or never ended."""
        encoder, gathered = self._fresh(model), list(events)
        for event in gathered:
            if isinstance(event, Failed):
                raise UpstreamError(event.message, cause=event.cause)
        encoder.encode(gathered)
        if encoder.response.get("status") not in ("completed", "incomplete"):
            raise UpstreamError("the upstream broke off before the end of its reply")
        return msgspec.json.encode(encoder.response)

    def patch(self, raw: bytes, before: Sequence[Event], after: Sequence[Event]) -> bytes | None:
        """Nothing comes in this dialect that could be patched."""
        return None

    def error(self, error: ProxyError, request_id: str) -> Rendered:
        """The answer for a failure before the first byte.

        A stream that does not fit is told in a stream: Codex compacts on that and on nothing else (context.md 3).
        """
        if error.cause is Cause.OVERFLOW and self._streams:
            fields = {"content-type": "text/event-stream; charset=utf-8", "x-request-id": request_id}
            return Rendered(200, fields, self.error_frame(error, request_id))
        problem = problems.PROBLEMS[error.cause]
        headers = {**problems.retried(error), "x-request-id": request_id}
        return Rendered(problem.chat_status, headers, failure(error.cause, _words(error), error.param, error.code))

    def own_error(self, error: ProxyError) -> bytes | None:
        """None: no upstream's body has this dialect's form."""
        return None

    def error_frame(self, error: ProxyError, request_id: str) -> bytes:
        """The frames for a failure inside a stream: `response.failed`, or `error` where no request is known."""
        told = _told(error)
        if not self._model:
            more = {"param": error.param, "sequence_number": 0}
            kind = problems.PROBLEMS[error.cause].chat_type
            inner = {"type": kind, **told, "param": error.param}
            return frame("error", {**told, **more, "error": inner})
        encoder = self._encoder or self._fresh(self._model)
        return encoder.failed(told)

    def count(self, tokens: int) -> bytes:
        """The answer to a request to count tokens."""
        return b'{"object":"response.input_tokens","input_tokens":%d}' % tokens


def offers(conversation: Conversation) -> Offers:
    """All tools on offer: those of the member `tools`, then those that items of the input declare."""
    declared = [raw for message in conversation.messages for raw in _declared(message)]
    return offered((*(tool.raw for tool in conversation.tools), *declared))


def _declared(message: Message) -> Sequence[bytes]:
    found: Sequence[bytes] | None = message.notes.get(_NOTE)
    if found is None:
        found = ()
        if any(kind in message.raw for kind in _DECLARING) and message.raw[:1] == b"{":
            item = decode(message.raw, _Named, "an item")
            if item.type in ("additional_tools", "tool_search_output"):
                found = [bytes(tool) for tool in item.tools or ()]
        message.notes[_NOTE] = found
    return found


def _broken(failed: Failed) -> dict[str, str]:
    return _told(UpstreamError(failed.message, cause=failed.cause))


_FAULTS = (Cause.UPSTREAM, Cause.TIMEOUT, Cause.INTERNAL)
"""What OpenAI calls `server_error` inside a stream; clients try again on that word."""


def _told(error: ProxyError) -> dict[str, str]:
    own = "server_error" if error.cause in _FAULTS else problems.PROBLEMS[error.cause].chat_code
    code = error.code or own or "invalid_prompt"
    return {"code": code, "message": _words(error)}


def _words(error: ProxyError) -> str:
    """The message; with the seconds to wait where a rate is exceeded, which Codex reads out of it."""
    text, wait = problems.message(error), error.headers.get("retry-after", "")
    if error.cause is not Cause.RATE_LIMIT or not wait.isdecimal() or "try again in" in text.lower():
        return text
    return f"{text.rstrip('. ')}. Please try again in {wait}s."


RESPONSES = Responses()
"""The one instance for parsing; replies are written by those that `bound` makes."""
