"""The pass that joins pieces to the messages of Anthropic's dialect, and does what depends on their places.

A longer conversation begins with the messages of the shorter one: each turn is made from itself and those before it.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from trimtab.models import Upstream
from trimtab.translate.marks import Budget, Marked, bare
from trimtab.translate.names import Ids
from trimtab.translate.piece import LEFT_OUT, Call, Kind, Piece, Said, inside
from trimtab.translate.turns import GO_ON, NO_RESULT, Turn, answered, turns

REMINDER = ("<system-reminder>\n", "\n</system-reminder>")
"""What stands around a system message in the middle: this dialect knows none there, and its place has a sense."""

_TEXT = b'{"type":"text","text":"%s"}'
_GO_ON = Marked(_TEXT % GO_ON)
_EMPTY = Marked(_TEXT % inside(LEFT_OUT.format("an empty message")))
_OPEN, _CLOSE = (inside(tag) for tag in REMINDER)
_HEADS = {True: b',{"role":"assistant","content":[', False: b',{"role":"user","content":['}


class Joined(NamedTuple):
    """The blocks of the system prompt, and the array of messages in fragments, a comma before each."""

    system: list[bytes]
    messages: list[bytes]


def join(
    messages: Sequence[Said], upstream: Upstream, lines: Sequence[str], marks: int, dropped: dict[str, None]
) -> Joined:
    """System blocks and messages; `lines` are added to the system prompt, `marks` are the cache marks before it."""
    budget = Budget(marks, dropped)
    opening = _opening(messages)
    system = budget.early(list(_system(messages[:opening], lines, dropped)))
    found = turns(messages[opening:], dropped)
    last = max((at for at, turn in enumerate(found) if not turn.assistant), default=0)
    out = [] if found and not found[0].assistant else [_HEADS[False], _GO_ON.body, b"]}"]
    ids, asked = Ids(), tuple[Call, ...]()
    for at, turn in enumerate(found):
        if turn.assistant:
            asked = turn.calls(ids)
            make = partial(_assistant, turn, asked, upstream)
            key: object = (asked, upstream.signatures)
        else:
            make, key = partial(_user, turn, asked, upstream), (asked, upstream.files)
            asked = ()
        if turn.unsaid:
            dropped["reasoning_content"] = None
        out.append(_HEADS[turn.assistant])
        if turn.assistant and at + 1 == len(found):
            out += bare(budget.late(_trimmed(list(make(dropped)))))
        elif any(said.marked for said in turn.said):
            blocks = list(make(dropped))
            out += bare(budget.late(blocks) if at >= last else budget.early(blocks))
        else:
            out += turn.kept(key, dropped) or turn.keep(key, dropped, partial(_bare, make))
        out.append(b"]}")
    return Joined([block.body for block in system], out)


def _opening(given: Sequence[Said]) -> int:
    """How many messages stand before the first that is none of the system's."""
    for at, said in enumerate(given):
        if not said.pieces or any(piece.role != "system" for piece in said.pieces):
            return at
    return len(given)


def _system(opening: Iterable[Said], lines: Iterable[str], dropped: dict[str, None]) -> Iterator[Marked]:
    for said in opening:
        for name in said.lost:
            dropped[name] = None
        for piece in said.pieces:
            if piece.kind is Kind.TEXT and piece.body:
                yield Marked(_TEXT % piece.body, piece.mark)
    for line in lines:
        yield Marked(_TEXT % inside(line))


_Make = partial[Iterator[Marked]]


def _bare(make: _Make, dropped: dict[str, None]) -> Iterator[bytes]:
    return bare(list(make(dropped)))


def _assistant(turn: Turn, asked: Sequence[Call], upstream: Upstream, dropped: dict[str, None]) -> Iterator[Marked]:
    """Blocks in their order; a thought that nothing follows goes, for none may end a turn."""
    numbered = iter(asked)
    held: list[Marked] = []
    for piece in turn.pieces:
        if piece.kind is Kind.THOUGHT:
            # A thought out of chat is signed by nobody but us; one out of responses may bring its signature back.
            if upstream.signatures == "checked" and not piece.said:
                dropped["reasoning_content"] = None
            else:
                held.append(Marked(piece.body))
            continue
        if piece.kind is Kind.CALL:
            held.append(Marked(b'{"type":"tool_use","id":"' + next(numbered).id.encode() + piece.body, piece.mark))
        elif piece.kind is Kind.TEXT and piece.body:
            held.append(Marked(_TEXT % piece.body, piece.mark))
        else:
            continue
        yield from held
        held = []
    if held:
        dropped["reasoning_content"] = None


def _user(turn: Turn, asked: Sequence[Call], upstream: Upstream, dropped: dict[str, None]) -> Iterator[Marked]:
    """The results, then what else is said."""
    found = answered(turn, asked)
    empty = not found.results
    if found.replaced:
        dropped["tool_result"] = None
    for id_, result in found.results:
        yield _result(id_, result)
    for piece in found.rest:
        block = _rest(piece, upstream, dropped)
        if block is not None:
            empty = False
            yield block
    if empty:
        yield _EMPTY


def _rest(piece: Piece, upstream: Upstream, dropped: dict[str, None]) -> Marked | None:
    if piece.kind is Kind.RESULT:
        return _orphan(piece)
    if piece.kind is Kind.FILE and not upstream.files:
        dropped["file"] = None
        return Marked(_TEXT % inside(LEFT_OUT.format("file")), piece.mark)
    if piece.kind is not Kind.TEXT:
        return Marked(piece.body, piece.mark)
    if not piece.body:
        return None
    body = _OPEN + piece.body + _CLOSE if piece.role == "system" else piece.body
    return Marked(_TEXT % body, piece.mark)


def _result(id_: str, result: Piece | None) -> Marked:
    head = b'{"type":"tool_result","tool_use_id":"' + id_.encode() + b'","content":'
    if result is None:
        return Marked(head + b'"' + NO_RESULT + b'","is_error":true}')
    return Marked(head + result.body + b"}", result.mark)


def _orphan(piece: Piece) -> Marked:
    """A result that nobody asked for, as text: an upstream refuses it without its call."""
    label = inside(f"Result of tool call {piece.said}:")
    if piece.body[:1] == b'"':
        return Marked(_TEXT % (label + b"\\n" + piece.body[1:-1]), piece.mark)
    return Marked(_TEXT % label + b"," + piece.body[1:-1], piece.mark)


def _trimmed(blocks: list[Marked]) -> list[Marked]:
    """White space at the end of words put into the model's mouth is refused."""
    if blocks[-1].body.startswith(_TEXT[:-4]):
        text: str = msgspec.json.decode(blocks[-1].body)["text"]
        blocks[-1] = Marked(_TEXT % inside(text.rstrip()), blocks[-1].mark)
    return blocks
