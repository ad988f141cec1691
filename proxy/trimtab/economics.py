"""Whether an edit pays: prices, the provider's cache, and what is known of the conversation.

Clock, prices and statistics may decide whether a record is written, never what an edit looks like (design.md, promise
2). All of it is in memory and may differ from worker to worker.
"""

import hashlib
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from loguru import logger

from trimtab.conversation import Conversation, Message
from trimtab.events import Usage
from trimtab.exchange import Exchange
from trimtab.facts import TokenCount
from trimtab.invariants import marks_in
from trimtab.measure import measure
from trimtab.models import Target, Terms, terms

if TYPE_CHECKING:
    from trimtab.interfaces import Clock, Counters

MODELS = 1_000
"""Targets whose predictions are remembered."""
CONVERSATIONS = 1_000
"""Conversations remembered, with 16 bytes for each message that was sent last."""
REQUESTS = 10.0
"""Requests that a conversation is taken to have left at least, and before any was seen to end (context.md, WHAT TO
BUILD, cost gate)."""
WEIGHT = 0.1
"""Weight of a new observation in a running average."""
SURVIVES = 0.4
"""Chance that a cache outlives its lifetime: 10 of 26 gaps of over five minutes (economy.md 1)."""
TRIALS = 5
"""Replies after which predictions are judged."""
TRUSTED = 0.5
"""The share of the cached tokens predicted that must be reported, on average."""
LONG = b'"1h"'


class Verdict(NamedTuple):
    """What an edit brings, and why; all in tokens at the full price of an input token."""

    pays: bool
    gain: float
    removed: int
    """Tokens that the edit takes away (T)."""
    behind: int
    """Tokens that stay behind the first one it changes (S); they are read anew once."""
    requests: float
    """Requests to come (R)."""
    alive: float
    """The chance that the provider's cache is alive (p)."""
    write: float
    """The price of a token that is read anew (w)."""
    read: float
    """The price of a cached one (r)."""
    dollars: float | None
    """The gain in US dollars; None where prices are not known, or the plan counts prompts."""
    quota: bool
    """Whether the plan counts prompts: then window and time are won, and no money."""
    trusted: bool
    """Whether predictions for this target have held."""

    def __str__(self) -> str:
        money = "" if self.dollars is None else f", ${self.dollars:.4f}"
        money = money or (", no money (the plan counts prompts)" if self.quota else "")
        doubt = "" if self.trusted else "; predictions for this model keep failing"
        return (
            f"{'pays' if self.pays else 'does not pay'}: gain {self.gain:.0f} tokens{money} (removed {self.removed}, "
            f"behind {self.behind}, requests to come {self.requests:.0f}, cache alive {self.alive:.1f}, "
            f"write {self.write:.2f}, read {self.read:.3f}){doubt}"
        )


class Spent(NamedTuple):
    """What a request cost, in three currencies that do not add up."""

    tokens: int
    """Tokens of the prompt."""
    dollars: float | None
    """Of prompt and answer; None where prices are not known, or the plan counts prompts."""
    prompts: int
    """Prompts of the plan's quota; 0 where tokens are paid."""


class _Known:
    """What is remembered of one conversation."""

    __slots__ = ("count", "last", "long", "marked", "sent", "target")

    def __init__(self) -> None:
        self.count = 0
        self.last = 0.0
        self.long = False
        self.marked = 0
        """Messages up to the last one with a cache mark."""
        self.sent: tuple[bytes, ...] = ()
        self.target: tuple[str, str] = ("", "")


class _Record:
    """How predictions for a target went."""

    __slots__ = ("seen", "share")

    def __init__(self) -> None:
        self.seen = 0
        self.share = 1.0


class Economics:
    """The cost gate and the ledger of predictions; one for a process, found at `services.economics`."""

    def __init__(self, clock: "Clock", counters: "Counters") -> None:
        self._clock = clock
        self._counters = counters
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._records: dict[tuple[str, str], _Record] = {}
        self._length: float | None = None
        """Requests of a conversation, as a running average."""

    def weigh(self, exchange: Exchange, *, removed: int, behind: int) -> Verdict:
        """Whether taking away `removed` tokens pays, with `behind` tokens staying behind the first one changed.

        gain = T * (w + r * (R - 1)) - p * (w - r) * (S + T): context.md 7. Only a gain pays, and only where what was
        predicted for the target came true so far. The verdict is noted in the exchange and logged with its inputs.
        """
        target = exchange.target
        price, known = terms(target), self._known.get(_key(exchange))
        requests = self._left(known)
        alive = self._alive(exchange, known, price)
        gain = removed * (price.write + price.read * (requests - 1))
        gain -= alive * (price.write - price.read) * (behind + removed)
        trusted = self.trusted(target)
        dollars = None if price.input is None or price.quota else gain * price.input / 1e6
        verdict = Verdict(
            gain > 0 and trusted, gain, removed, behind, requests, alive, price.write, price.read, dollars, price.quota,
            trusted,
        )  # fmt: skip
        exchange.notes.append(f"{exchange.stage}: the edit {verdict}")
        if exchange.operation != "count":
            # What a request that counts comes to is decided by the one that leaves.
            logger.info("{}: stage '{}': the edit {}", exchange.id, exchange.stage, verdict)
            self._counters.add("economy.edits_allowed" if verdict.pays else "economy.edits_declined")
        return verdict

    def trusted(self, target: Target) -> bool:
        """Whether what was predicted to be cached there was reported so: at least half of it, on average."""
        record = self._records.get(_name(target))
        return record is None or record.seen < TRIALS or record.share >= TRUSTED

    def sending(self, exchange: Exchange) -> None:
        """Remember what is about to leave, and predict how much of it the provider has; called by the core."""
        if exchange.operation != "generate":
            return
        target, messages = exchange.target, exchange.conversation.messages
        key = _key(exchange)
        known = self._known.get(key)
        sent = _digests(exchange.conversation)
        if known is None:
            known = _Known()
        else:
            exchange.outcome.predicted = self._predicted(exchange, known, sent)
        known.count += 1
        known.last = self._clock.monotonic()
        known.target = _name(target)
        known.sent = sent
        _, known.marked = exchange.conversation.fold("marked", start=(0, 0), step=_marked)
        known.long = bool(known.marked) and LONG in messages[known.marked - 1].raw
        self._keep(key, known)

    def told(self, exchange: Exchange) -> None:
        """Compare what the upstream reports with what was predicted, and book it; called by the core at the end."""
        usage = exchange.outcome.usage
        if exchange.operation != "generate" or usage is None or usage.estimated:
            return
        spent = spend(exchange.target, usage)
        add = self._counters.add
        add("economy.prompt_tokens", spent.tokens)
        add("economy.cached_tokens", usage.cache_read)
        if spent.dollars is not None:
            add("economy.microdollars", round(spent.dollars * 1e6))
        if spent.prompts:
            add("economy.quota_prompts", spent.prompts)
        predicted = exchange.outcome.predicted
        if not predicted:
            return
        add("economy.predicted_tokens", predicted)
        record = self._records.setdefault(_name(exchange.target), _Record())
        if len(self._records) > MODELS:
            # Clients may name models without end.
            del self._records[next(iter(self._records))]
        was = self.trusted(exchange.target)
        record.seen += 1
        record.share += WEIGHT * (min(1.0, usage.cache_read / predicted) - record.share)
        if was and not self.trusted(exchange.target):
            text = "{}: the provider's cache gave {:.0%} of what was predicted; edits to save are off for it"
            logger.warning(text, "/".join(_name(exchange.target)), record.share)

    def _predicted(self, exchange: Exchange, known: _Known, sent: Sequence[bytes]) -> int:
        """Tokens of the prompt that the provider has from the request before; 0 where it has none."""
        target = exchange.target
        price = terms(target)
        if known.target != _name(target) or self._idle(known) > _lifetime(known, price):
            return 0
        same = _alike(known.sent, sent)
        if price.kind == "explicit":
            same = known.marked if known.marked <= same else 0
        tokens = _tokens(exchange, same)
        return tokens if same and tokens >= price.smallest else 0

    def _left(self, known: _Known | None) -> float:
        """Requests that a conversation has left."""
        return max(REQUESTS, (self._length or 0.0) - (known.count if known else 0))

    def _idle(self, known: _Known) -> float:
        return self._clock.monotonic() - known.last

    def _alive(self, exchange: Exchange, known: _Known | None, price: Terms) -> float:
        """The chance that what was sent last is cached."""
        if known is None:
            # One that goes on may be cached by another worker's request, or one before a restart.
            return float(any(message.role == "assistant" for message in exchange.received.messages))
        if known.target != _name(exchange.target):
            return 0.0
        idle = self._idle(known)
        if idle <= _lifetime(known, price):
            return 1.0
        return SURVIVES if idle <= price.long_lifetime else 0.0

    def _keep(self, key: bytes, known: _Known) -> None:
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > CONVERSATIONS:
            self._ended(self._known.popitem(last=False)[1])
        first = next(iter(self._known))
        # One a step: the oldest that was silent for an hour has come to its end.
        if self._idle(self._known[first]) > 3600:
            self._ended(self._known.pop(first))

    def _ended(self, known: _Known) -> None:
        before = self._length
        self._length = known.count if before is None else before + WEIGHT * (known.count - before)


def spend(target: Target, usage: Usage) -> Spent:
    """What a request cost at a target: tokens, money and quota apart."""
    price = terms(target)
    if price.quota:
        return Spent(usage.prompt, None, 1)
    if price.input is None:
        return Spent(usage.prompt, None, 0)
    prompt = usage.input + price.read * usage.cache_read + price.write * usage.cache_write
    return Spent(usage.prompt, (prompt * price.input + usage.output * (price.output or 0.0)) / 1e6, 0)


def _name(target: Target) -> tuple[str, str]:
    return target.upstream.name, target.model.name


def _lifetime(known: _Known, price: Terms) -> float:
    return price.long_lifetime if known.long else price.lifetime


def _key(exchange: Exchange) -> bytes:
    """What tells a conversation: its opening, up to the first message of the user, and the key it comes with."""
    opening: list[bytes] = [exchange.incoming.headers.get(name, "").encode() for name in ("authorization", "x-api-key")]
    head = exchange.received.head
    if "system" not in head.notes:
        head.notes["system"] = hashlib.sha256(head.raw("system") or b"").digest()
    opening.append(head.notes["system"])
    opening += [measure(message).digest for message in _opening(exchange.received.messages)]
    return hashlib.sha256(b"\0".join(opening)).digest()


def _alike(before: Sequence[bytes], after: Sequence[bytes]) -> int:
    """How many items two sequences begin with that are equal.

    Equal beginnings compare at the speed of C, so that halving is faster than a walk.
    """
    most = min(len(before), len(after))
    if before[:most] == after[:most]:
        return most
    return bisect_left(range(1, most + 1), 1, key=lambda end: before[:end] != after[:end])


def _digests(conversation: Conversation) -> tuple[bytes, ...]:
    at, known = conversation.reached("digests", _NO_DIGESTS)
    if at < len(conversation.messages):
        known += tuple([message.digest for message in conversation.messages[at:-1]])
        conversation.remember("digests", known, back=1)
        known += (conversation.messages[-1].digest,)
        conversation.remember("digests", known)
    return known


_NO_DIGESTS: tuple[bytes, ...] = ()


def _marked(known: tuple[int, int], message: Message) -> tuple[int, int]:
    """How many messages there are, and how many up to the last cache mark."""
    number = known[0] + 1
    return number, number if marks_in(message) else known[1]


def _opening(messages: Sequence[Message]) -> Sequence[Message]:
    for index, message in enumerate(messages):
        if message.role not in ("system", "developer"):
            return messages[: index + 1]
    return messages


def _tokens(exchange: Exchange, messages: int) -> int:
    """Tokens of the first messages with what stands before them."""
    count = exchange.get(TokenCount)
    if count is not None and len(count.messages) == len(exchange.conversation.messages):
        return round((count.overhead + sum(count.messages[:messages])) * count.ratio)
    return sum(len(message.raw) for message in exchange.conversation.messages[:messages]) // 4
