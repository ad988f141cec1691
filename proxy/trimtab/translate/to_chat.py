"""The pass that joins pieces to the messages of a chat body, and does what depends on their places.

A longer conversation begins with the messages of the shorter one: each turn is made from itself and those before it.
That narrows one rule: a thought is spread onto the later tool calls of its turn, never back onto earlier ones, which
have been sent already. Hence "all or nothing" holds from the first thought of a turn on.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple

from trimtab.conversation import Block, Conversation, Text
from trimtab.models import Upstream
from trimtab.translate.names import Ids
from trimtab.translate.piece import LEFT_OUT, Call, Kind, Piece, Said, inside, joined
from trimtab.translate.turns import GO_ON, NO_RESULT, Answered, Turn, answered, turns

_BILLING = "x-anthropic-billing-header"
_ERROR = inside("Error: ")
_SEE_NEXT = inside("[image: see next message]")
_EMPTY = inside(LEFT_OUT.format("an empty message"))


BOUNDS = 2
"""Ends of turns that are kept of a conversation: another last message leaves the one before as it was."""


class Begun(NamedTuple):
    """The turns that no later message can change any more, as they leave, and what the next one needs of them."""

    position: int = 0
    """How many messages they are; the next one is of the user's side."""
    chunks: tuple[bytes, ...] = ()
    used: frozenset[str] = frozenset()
    asked: tuple[Call, ...] = ()
    carried: bytes = b""
    dropped: tuple[str, ...] = ()


def join(
    conversation: Conversation,
    said: Callable[[int], Sequence[Said]],
    upstream: Upstream,
    lines: Sequence[str],
    dropped: dict[str, None],
) -> list[bytes]:
    """The array of messages in fragments, a comma before each message; `lines` are added to the system prompt.

    `said` gives what the messages from some place on say: turns that were joined before are found along the prefixes.
    """
    out = list(_system(conversation.system, lines, dropped))
    key = ("chat", upstream.reasoning, upstream.files)
    # Items of Responses are no turns of their own: they are joined from the start each time.
    along = conversation.dialect == "messages"
    _, begun = conversation.reached(key, Begun()) if along else (0, Begun())
    first, rest = begun.position, said(begun.position)
    found, done = turns(rest, {}), 0
    name = "thinking" if along else "reasoning_content"
    for bound in _bounds(found, len(rest)):
        end = found[bound].start
        begun = _on(begun, found[done:bound], rest[begun.position - first : end], upstream, name)
        if along:
            conversation.remember(key, begun, back=len(rest) - end - 1)
        done = bound
    begun = _on(begun, found[done:], rest[begun.position - first :], upstream, name)
    out += begun.chunks
    # In an order that does not depend on what was known.
    dropped.update(dict.fromkeys(sorted(begun.dropped)))
    if not out:
        out += _message("user", b'"', GO_ON, b'"')
    if found and found[-1].assistant:
        # Most chat upstreams take words put into the model's mouth for a turn of its own.
        dropped["prefill"] = None
    return out


def _bounds(found: Sequence[Turn], messages: int) -> list[int]:
    """The last turns that begin right behind an assistant's: what stands before them cannot change any more."""
    bounds = [at for at in range(1, len(found)) if found[at - 1].assistant and found[at].start < messages]
    return bounds[-BOUNDS:]


def _on(begun: Begun, found: Sequence[Turn], said: Sequence[Said], upstream: Upstream, unsaid: str) -> Begun:
    """What was joined so far, with the next turns; `unsaid` names a thought that nothing follows."""
    dropped = dict.fromkeys(begun.dropped)
    dropped.update({name: None for message in said for name in message.lost})
    ids, asked, carried = Ids(begun.used), begun.asked, begun.carried
    out: list[bytes] = []
    for turn in found:
        if turn.unsaid:
            dropped[unsaid] = None
        if turn.assistant:
            asked = turn.calls(ids)
            thought = carried if asked else b""
            key: object = (asked, thought, upstream.reasoning)
            make: _Make = partial(_assistant, turn, asked, thought, upstream)
        else:
            make, key = partial(_user, turn, asked, upstream), (asked, upstream.files)
        out += turn.kept(key, dropped) or turn.keep(key, dropped, make)
        if upstream.reasoning == "spread":
            carried = _carried(turn, asked, carried)
        if not turn.assistant:
            asked = ()
    chunks = (*begun.chunks, b"".join(out)) if out else begun.chunks
    return Begun(begun.position + len(said), chunks, ids.used, asked, carried, tuple(dropped))


_Make = Callable[[dict[str, None]], Iterator[bytes]]


def _carried(turn: Turn, asked: Sequence[Call], before: bytes) -> bytes:
    """The thought that later tool calls repeat; a user's turn without results ends what runs."""
    if turn.assistant:
        return _bodies(turn, Kind.THOUGHT) or before
    return before if asked and any(said.results for said in turn.said) else b""


def _bodies(turn: Turn, kind: Kind) -> bytes:
    found = [piece.body for piece in turn.pieces if piece.kind is kind and piece.body]
    return joined(found) if found else b""


def _system(blocks: Sequence[Block], lines: Sequence[str], dropped: dict[str, None]) -> Iterator[bytes]:
    texts: list[bytes] = []
    for block in blocks:
        if not isinstance(block, Text):
            dropped["system"] = None
        elif block.text.startswith(_BILLING):
            # It changes with every request and would void the cache of all that follows.
            dropped[_BILLING] = None
        elif block.text:
            texts.append(inside(block.text))
    texts += [inside(line) for line in lines]
    if texts:
        yield from _message("system", b'"', joined(texts), b'"')


def _message(role: str, *content: bytes) -> Iterator[bytes]:
    yield b',{"role":"' + role.encode() + b'","content":'
    yield from content
    yield b"}"


def _assistant(
    turn: Turn, asked: Sequence[Call], carried: bytes, upstream: Upstream, dropped: dict[str, None]
) -> Iterator[bytes]:
    texts = _bodies(turn, Kind.TEXT)
    yield b',{"role":"assistant","content":'
    yield from (b'"', texts, b'"') if texts else (b"null",)
    thought = (_bodies(turn, Kind.THOUGHT) or carried) if upstream.reasoning != "none" else b""
    if thought:
        yield from (b',"reasoning_content":"', thought, b'"')
    if asked:
        bodies = (piece.body for piece in turn.pieces if piece.kind is Kind.CALL)
        for at, (call, body) in enumerate(zip(asked, bodies, strict=True)):
            yield (b"," if at else b',"tool_calls":[') + b'{"id":"' + inside(call.id)
            yield body
        yield b"]"
        if texts and _text_behind(turn):
            dropped["text_after_tool_use"] = None
    yield b"}"


def _text_behind(turn: Turn) -> bool:
    """Whether a text stands behind a call: chat tells all texts first."""
    kinds = [piece.kind for piece in turn.pieces if piece.kind is Kind.CALL or (piece.kind is Kind.TEXT and piece.body)]
    return Kind.TEXT in kinds[kinds.index(Kind.CALL) :]


def _user(turn: Turn, asked: Sequence[Call], upstream: Upstream, dropped: dict[str, None]) -> Iterator[bytes]:
    """The tool messages, then what the user says."""
    found = answered(turn, asked)
    if found.replaced:
        dropped["tool_result"] = None
    for id_, result in found.results:
        yield from _tool(id_, result)
    shown = _shown(found)
    for role, run in groupby(shown, key=lambda piece: piece.role):
        yield from _content(role, list(run), upstream, dropped)
    if not shown and not found.results:
        yield from _message("user", b'"', _EMPTY, b'"')


def _shown(found: Answered) -> list[Piece]:
    """What goes into the messages behind the results: their pictures first, each with the id of its call."""
    shown: list[Piece] = []
    for id_, result in found.results:
        if result is not None and result.media:
            shown.append(_label(f"Image of the result of tool call {id_}:"))
            shown += result.media
    for piece in found.rest:
        if piece.kind is Kind.RESULT:
            # Nobody asked for it: an upstream would refuse a result without its call.
            shown.append(_label(f"Result of tool call {piece.said}:", piece.body))
            shown += piece.media
        elif piece.body:
            shown.append(piece)
    return shown


def _label(line: str, body: bytes = b"") -> Piece:
    return Piece("user", Kind.TEXT, inside(line) + (b"\\n" + body if body else b""))


def _tool(id_: str, result: Piece | None) -> Iterator[bytes]:
    yield b',{"role":"tool","tool_call_id":"' + inside(id_) + b'","content":"'
    yield _ERROR + NO_RESULT if result is None else result.body
    if result is not None and result.media:
        yield b"\\n" + _SEE_NEXT if result.body else _SEE_NEXT
    yield b'"}'


def _content(role: str, run: Sequence[Piece], upstream: Upstream, dropped: dict[str, None]) -> Iterator[bytes]:
    if role == "system":
        return _message(role, b'"', joined([piece.body for piece in run]), b'"')
    if len(run) == 1 and run[0].kind is Kind.TEXT:
        return _message(role, b'"', run[0].body, b'"')
    content: list[bytes] = []
    for piece in run:
        body, text = piece.body, piece.kind is Kind.TEXT
        if piece.kind is Kind.FILE and not upstream.files:
            dropped["document"] = None
            body, text = inside(LEFT_OUT.format("document")), True
        content += (b',{"type":"text","text":"', body, b'"}') if text else (b",", body)
    return _message(role, b"[", content[0][1:], *content[1:], b"]")
