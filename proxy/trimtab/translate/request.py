"""A conversation of one dialect as the body of a request in another."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from trimtab.conversation import Conversation, DialectName, Message, Text
from trimtab.errors import BadRequest, Cause, ProxyError
from trimtab.kept import kept
from trimtab.models import Target
from trimtab.translate import (
    chat_pieces,
    head_chat,
    head_messages,
    head_responses,
    messages_pieces,
    own,
    responses_pieces,
    to_chat,
    to_messages,
)
from trimtab.translate.draft import Draft
from trimtab.translate.names import Ids, Spelling
from trimtab.translate.piece import Maker, Piece, Said, cached, text
from trimtab.translate.tools import renamed


class Translated(msgspec.Struct, frozen=True):
    """The body for a target, and the names of what it could not be told."""

    body: bytes
    dropped: tuple[str, ...] = ()
    stop_words: tuple[str, ...] = ()
    """The client's stop words that are not in the body."""
    told_schema: Any = None
    """The client's schema for the reply's JSON, where the body tells it in words only."""
    tools: tuple[str, ...] = ()
    """Those names among `dropped` that are kinds of tools."""


_TOLD = 64
"""Names that are told at most: they travel in a header."""

_MAKERS: Mapping[tuple[DialectName, DialectName], Maker] = {
    ("messages", "chat"): chat_pieces.make,
    ("chat", "messages"): messages_pieces.make,
    ("responses", "chat"): responses_pieces.TO_CHAT,
    ("responses", "messages"): responses_pieces.TO_MESSAGES,
}
_HEADS: Mapping[tuple[DialectName, DialectName], Callable[[Draft], None]] = {
    ("messages", "chat"): head_chat.head,
    ("chat", "messages"): head_messages.head,
    ("responses", "chat"): head_responses.to_chat,
    ("responses", "messages"): head_responses.to_messages,
}


def pieces(message: Message, dialect: DialectName) -> tuple[Piece, ...]:
    """A message's parts in a dialect, without regard to where it stands. Raises BadRequest when it is unreadable."""
    return cached(message, dialect, _maker(message.codec.name, dialect)).pieces


def _maker(client: DialectName, dialect: DialectName) -> Maker:
    try:
        return _MAKERS[client, dialect]
    except KeyError:
        raise ProxyError(f"'{client}' cannot be translated into '{dialect}'", cause=Cause.UNSUPPORTED) from None


def translate(conversation: Conversation, target: Target) -> Translated:
    """The body in the target's dialect, naming its model; the same for the same conversation and row.

    In the conversation's own dialect that is what its bytes say; the model stands there already.

    Names of what was dropped: a member of the head by its own name, with a dot for one inside it; a block, or a
    member of one, by its type or name, whatever its place, so that a long session does not make a long list.
    """
    draft = Draft(conversation, target)
    if target.dialect == conversation.dialect:
        fitted = own.fitted(draft)
        return Translated(fitted.render(), _told(draft), draft.stop_words)
    if not conversation.messages:
        raise BadRequest("the list 'messages' is empty: send at least one message", param="messages")
    _HEADS[conversation.dialect, target.dialect](draft)
    if conversation.dialect == "responses":
        draft.dropped = dict.fromkeys(head_responses.told(draft.dropped))
    body = _WRITERS[target.dialect](draft, partial(_said, conversation, target.dialect))
    if conversation.dialect == "responses":
        draft.dropped = dict.fromkeys(head_responses.told_of_items(draft.dropped))
    return Translated(body, _told(draft), draft.stop_words, draft.told_schema, tuple(draft.tools))


def gone(conversation: Conversation, dialect: DialectName) -> frozenset[str]:
    """The kinds of parts and items that are not said at all in a dialect; those of its own are all said."""
    if dialect == conversation.dialect:
        return frozenset()
    return frozenset[str]().union(*(said.gone for said in _said(conversation, dialect)))


def _told(draft: Draft) -> tuple[str, ...]:
    return tuple(draft.dropped)[:_TOLD]


_Sayings = Callable[[int], Sequence[Said]]


def _said(conversation: Conversation, dialect: DialectName, start: int = 0) -> list[Said]:
    """What the messages from `start` on say in another dialect."""
    maker = _maker(conversation.dialect, dialect)
    said = [cached(message, dialect, maker) for message in conversation.messages[start:]]
    if conversation.dialect == "responses" and not start:
        said[:0] = [_instructions(block.text) for block in conversation.system if isinstance(block, Text)]
    return said


@kept(2_000_000)
def _instructions(said: str) -> Said:
    """The instructions of a Responses request as what opens the conversation."""
    return Said((text("system", said),), assistant=False)


def _chat(draft: Draft, said: _Sayings) -> bytes:
    upstream = draft.target.upstream
    messages = to_chat.join(draft.conversation, said, upstream, draft.lines, draft.dropped)
    return _body(draft, {}, messages)


def _messages(draft: Draft, said: _Sayings) -> bytes:
    joined = to_messages.join(said(0), draft.target.upstream, draft.lines, draft.marks, draft.dropped)
    return _body(
        draft, {"system": msgspec.Raw(b"[" + b",".join(joined.system) + b"]")} if joined.system else {}, joined.messages
    )


def _body(draft: Draft, more: dict[str, Any], messages: list[bytes]) -> bytes:
    """The messages come last, so that a longer conversation begins with the very bytes of the shorter one."""
    head = msgspec.json.encode({"model": draft.target.model.name, **draft.out, **more})
    messages[:1] = [head[:-1], b',"messages":[', messages[0][1:]]
    messages.append(b"]}")
    return b"".join(messages)


_WRITERS: Mapping[DialectName, Callable[[Draft, _Sayings], bytes]] = {
    "chat": _chat,
    "messages": _messages,
}


def spelling(conversation: Conversation, dialect: DialectName) -> Spelling:
    """What the client calls those calls and tools that its own request holds and that go upstream by another name."""
    key = ("spelling", dialect)
    at, spelled = conversation.reached(key, _Spelled())
    said = _said(conversation, dialect, at)
    if said:
        spelled = spelled.after(said[:-1])
        conversation.remember(key, spelled, back=1)
        spelled = spelled.after(said[-1:])
        conversation.remember(key, spelled)
    # The names of a Responses request's tools fit every dialect; its own ones come back with the items.
    tools = {} if conversation.dialect == "responses" else renamed(conversation, dialect)
    return Spelling(dict(spelled.found), tools)


class _Spelled(NamedTuple):
    """The ids given along a conversation, and the client's own for those that differ."""

    used: frozenset[str] = frozenset()
    found: tuple[tuple[str, str], ...] = ()

    def after(self, more: Sequence[Said]) -> "_Spelled":
        ids = Ids(self.used)
        calls = [call for said in more for call in ids.own(said.calls)]
        return _Spelled(ids.used, (*self.found, *((call.id, call.said) for call in calls if call.id != call.said)))
