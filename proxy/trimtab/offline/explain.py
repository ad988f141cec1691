"""One request through the chain: what each stage did, what a provider's cache makes of it, its price, where it goes.

The request's own turns are walked first, one after another, so that stages find the records that they would have kept,
and a cache what the request before left in it.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from trimtab import caches
from trimtab.caches import Split
from trimtab.check import shown
from trimtab.config import Config
from trimtab.conversation import Conversation, Message
from trimtab.endpoints import endpoint
from trimtab.exchange import Edit
from trimtab.facts import Risk, TokenCount
from trimtab.models import Terms, terms
from trimtab.translate import translate

from . import diff
from .chain import Offline, Step, Walk
from .marks import has_marks
from .masks import Mask, secrets_of
from .meter import Measured, measured, of_message
from .recorded import Recorded
from .replay import PAUSE, Progress


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One edit."""

    where: str
    reason: str
    tokens: int
    """By how many tokens the request grew, below 0 shrank; 0 for a member of the head."""
    lines: tuple[str, ...]
    """The difference, keys hidden."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What one stage did."""

    stage: str
    ms: float
    before: int
    """Tokens."""
    after: int
    first_changed: int | None
    """The first token that is another one; None where none is."""
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    records: int
    """Records it would write."""


class Cached(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider's cache makes of the request as it came and as it leaves."""

    kind: str
    client: Split
    sent: Split


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where it goes."""

    upstream: str
    model: str
    url: str
    dialect: str
    translated: bool
    bytes: int
    dropped: tuple[str, ...]
    terms: Terms


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """All that is said of a request. Tokens are cl100k, a picture 1,500."""

    dialect: str
    model: str
    messages: int
    turns: int
    bytes: int
    compaction: bool
    tokens: int
    stages: tuple[Told, ...]
    untouched: bool
    """Whether the body leaves byte for byte."""
    caches: tuple[Cached, ...]
    route: Route | None
    ended: str | None
    counted: int | None
    """By the stage that counts."""
    calibrated: int | None
    risk: str | None
    headers: dict[str, str]
    """Headers that the client would get."""


async def explain(
    config: Config, request: Recorded, pipeline: str = "default", progress: Progress | None = None
) -> Explanation:
    """Walk a request and its earlier turns. Raises ConfigError, and BadRequest for a body that cannot be read."""
    mask = Mask(secrets_of(config, request.headers))
    async with Offline(config, pipeline) as offline:
        conversation = offline.parse(request.dialect, request.body)
        walks: list[Walk] = []
        turns = 0
        ends = [*_earlier(conversation), len(conversation.messages)]
        for turns, end in enumerate(ends, 1):
            body = request.body if turns == len(ends) else _cut(conversation, end)
            offline.clock.to(offline.clock.now() + PAUSE)
            walks = [*walks[-1:], await offline.walk(offline.parse(request.dialect, body), request.headers)]
            if progress is not None:
                progress(turns, turns / len(ends))
        return _explained(request, walks, turns, mask)


def _earlier(conversation: Conversation) -> Iterator[int]:
    """How many messages the requests before this one had, as far as it tells: up to each earlier turn of the user.

    A turn may end in a message of the system, as Claude Code's do.
    """
    asked = False
    for index, (message, behind) in enumerate(pairwise(conversation.messages), 1):
        asked |= message.role not in ("assistant", "system", "developer")
        if asked and message.role != "assistant" and behind.role == "assistant":
            yield index


def _cut(conversation: Conversation, end: int) -> bytes:
    return msgspec.structs.replace(conversation, messages=conversation.messages[:end], edited=True).render()


def _explained(request: Recorded, walks: Sequence[Walk], turns: int, mask: Mask) -> Explanation:
    walk, exchange = walks[-1], walks[-1].exchange
    received, count, risk = exchange.received, exchange.get(TokenCount), exchange.get(Risk)
    stages: list[Told] = []
    now = measured(received)
    for step in walk.steps:
        told, now = _told(step, now, mask)
        stages.append(told)
    return Explanation(
        dialect=received.dialect,
        model=received.model,
        messages=len(received.messages),
        turns=turns,
        bytes=len(request.body),
        compaction=exchange.compaction,
        tokens=measured(received).tokens,
        stages=tuple(stages),
        untouched=walk.sent.render() == request.body,
        caches=tuple(_caches(walks)),
        route=_route(walk),
        ended=None if walk.ended is None else mask(walk.ended),
        counted=None if count is None else count.total,
        calibrated=None if count is None else count.calibrated,
        risk=None if risk is None else str(risk.level),
        headers={name: mask(text) for name, text in exchange.headers.items()},
    )


def _told(step: Step, before: Measured, mask: Mask) -> tuple[Told, Measured]:
    after = before if step.after is step.before else measured(step.after)
    same = after.pieces == before.pieces
    told = Told(
        stage=step.stage,
        ms=round(step.seconds * 1000, 3),
        before=before.tokens,
        after=after.tokens,
        first_changed=None if same else caches.shared(before.pieces, after.pieces),
        changes=tuple(_change(edit, mask) for edit in step.edits),
        notes=tuple(map(mask, step.notes)),
        records=step.records,
    )
    return told, after


def _change(edit: Edit, mask: Mask) -> Change:
    where = f"member {edit.member}" if edit.member is not None else _place(edit)
    tokens = 0 if edit.member is not None else _tokens(edit.after) - _tokens(edit.before)
    lines = mask("\n".join(diff.lines(edit))).split("\n")
    return Change(where=where, reason=mask(edit.reason), tokens=tokens, lines=tuple(map(diff.shortened, lines)))


def _place(edit: Edit) -> str:
    role = edit.before.role if isinstance(edit.before, Message) else ""
    return f"message {edit.index} ({role})" if edit.after is not None else f"message {edit.index} ({role}), removed"


def _tokens(part: Message | bytes | None) -> int:
    return sum(each.tokens for each in of_message(part)) if isinstance(part, Message) else 0


def _caches(walks: Sequence[Walk]) -> Iterator[Cached]:
    """The split of the last request behind the one before it; on a cache that wants marks where the client sets any."""
    came = [measured(walk.exchange.received).pieces for walk in walks]
    left = [measured(walk.sent).pieces for walk in walks]
    yield Cached(kind="implicit", client=caches.implicit(came)[-1], sent=caches.implicit(left)[-1])
    if has_marks(walks[-1].exchange.received):
        yield Cached(kind="marks", client=caches.explicit(came)[-1], sent=caches.explicit(left)[-1])


def _route(walk: Walk) -> Route | None:
    target = walk.target
    if target is None:
        return None
    upstream, sent = target.upstream, translate(walk.sent, target)
    return Route(
        upstream=upstream.name,
        model=target.model.name,
        url=shown("", endpoint(upstream.base_url, upstream.dialect)),
        dialect=upstream.dialect,
        translated=upstream.dialect != walk.exchange.dialect,
        bytes=len(sent.body),
        dropped=tuple(dict.fromkeys((*walk.exchange.dropped, *sent.dropped))),
        terms=terms(target),
    )
