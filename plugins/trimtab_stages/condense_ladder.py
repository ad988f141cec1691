"""The ladder: whether a conversation is condensed at a boundary, and by which rung (context.md, WHAT TO BUILD).

What is decided depends on the messages that the first request behind the boundary had, and on nothing behind them: a
later request in another worker decides the same, and so does a second pass over a conversation that was left alone.
Clock, prices and statistics count only through the cost gate (design.md, promise 2).
"""

from itertools import pairwise

from loguru import logger

from trimtab.api import Boundary, Epoch, Exchange, Owner, RiskLevel, Services
from trimtab_stages.condense_clients import recovers
from trimtab_stages.condense_cuts import shortened
from trimtab_stages.condense_fitting import DEEP, Fitting
from trimtab_stages.condense_forms import MASK, POINTS, TEXTS, record
from trimtab_stages.condense_options import CondenseOptions, Sizes
from trimtab_stages.condense_prepare import Preparing
from trimtab_stages.condense_ranges import condensed, cuts, last_word, opening
from trimtab_stages.condense_states import State, States

APART = 10
"""Requests between two epochs that are not needed to fit."""


class Ladder:
    """Decides at boundaries what an epoch does, and finds what was decided."""

    def __init__(
        self,
        options: CondenseOptions,
        services: Services,
        shaping: bytes,
        preparing: Preparing,
        states: States,
        fitting: Fitting,
    ) -> None:
        self._options, self._epochs, self._economics = options, services.epochs, services.economics
        self._owner = Owner("condense", shaping)
        self._preparing, self._states, self._fitting = preparing, states, fitting

    def boundary(self, exchange: Exchange, sizes: Sizes) -> Boundary | None:
        """The newest boundary of a conversation."""
        return self._epochs.at(exchange, self._owner, step=sizes.step, start=sizes.start)

    async def held(self, exchange: Exchange, boundary: Boundary | None, sizes: Sizes) -> State:
        """The state by the record of a boundary; its first request writes it."""
        if boundary is None:
            return await self._states.of(exchange, Epoch(), sizes)
        epoch = await self._epochs.get(exchange, boundary)
        if epoch is None:
            first = self._epochs.first(exchange, boundary, start=sizes.start)
            before = await self._states.of(exchange, await self._earlier(exchange, boundary), sizes, first)
            chosen = await self._chosen(exchange, boundary, before, sizes)
            epoch = await self._epochs.settle(exchange, boundary, chosen)
        return await self._states.of(exchange, epoch, sizes)

    async def _earlier(self, exchange: Exchange, boundary: Boundary) -> Epoch:
        """The record of the boundary before, or of the one before that, where there is any."""
        return await self._epochs.previous(exchange, boundary, deep=DEEP) or Epoch()

    async def _chosen(self, exchange: Exchange, boundary: Boundary, before: State, sizes: Sizes) -> Epoch:
        """What a new epoch does: the rungs in their order until one reaches its aim, or what the one before did."""
        forced = await self._fitting.newest(exchange, before, sizes)
        if forced is not None:
            if forced.messages > boundary.messages:
                # It stays, until a boundary is there that holds it.
                return before.epoch
            before = await self._states.of(exchange, forced, sizes, before.messages)
        received = exchange.received.messages[: before.messages]
        if condensed(received) or shortened(received):
            # A second pass: what was shortened is made to fit, and not shortened to save once more.
            return before.epoch
        first = before.risk.bounds[1] if not recovers(exchange) else max(before.risk.bounds[1], self._options.patience)
        if max(before.risk.likely, before.risk.utilization) < first or not self._apart(exchange, boundary, before):
            return before.epoch
        for epoch in await self._rungs(exchange, boundary, before, sizes):
            state = await self._states.of(exchange, epoch, sizes, before.messages)
            if self._helps(exchange, before, state, sizes):
                return epoch
        return before.epoch

    def _apart(self, exchange: Exchange, boundary: Boundary, before: State) -> bool:
        """Whether ten requests lie between the last epoch and this one."""
        if not before.epoch.form:
            return before.messages >= self._options.min_messages
        roles = [message.role for message in exchange.received.messages[before.epoch.messages : boundary.messages]]
        # In Responses what the assistant says in a turn is several items in a row.
        turns = (now == "assistant" != earlier for earlier, now in pairwise(["", *roles]))
        return sum(turns) >= APART

    async def _rungs(self, exchange: Exchange, boundary: Boundary, before: State, sizes: Sizes) -> list[Epoch]:
        """The first rung that reaches its aim, else the highest, and what takes its place where that does not help."""
        if before.epoch.form in ("", MASK):
            mask = record(MASK, boundary)
            masked = await self._states.of(exchange, mask, sizes, before.messages)
            if self._options.strategy == MASK or masked.tokens.total <= sizes.aim:
                return [mask]
        if self._options.strategy == MASK:
            return [record(POINTS, boundary)]
        points = record(POINTS, boundary, messages=_turned(exchange, boundary.messages, before.messages))
        texts = await self._texts(exchange, boundary, before)
        return [points] if texts is None else [texts, points]

    async def _texts(self, exchange: Exchange, boundary: Boundary, before: State) -> Epoch | None:
        """The record of a model's text for a range, where there is one by now."""
        place: Boundary | None = boundary if self._options.strategy != POINTS else None
        while place is not None and place.messages > before.epoch.messages:
            texts = await self._preparing.ready(exchange, place, before.epoch)
            if texts:
                return record(TEXTS, place, texts=texts)
            place = self._epochs.earlier(exchange, place)
        return None

    def _helps(self, exchange: Exchange, before: State, after: State, sizes: Sizes) -> bool:
        """Whether a new epoch gives room and is worth what it costs; from CRITICAL on nobody asks for that.

        A target whose predictions keep failing gets the epochs that are forced, and no other.
        """
        if before.tokens.total - after.tokens.total < sizes.least or not after.below(before.risk.utilization):
            return False
        removed = before.tokens.total - after.tokens.total
        first = min(after.changes, default=0)
        behind = sum(after.tokens.messages[first:])
        if before.risk.outlook >= RiskLevel.CRITICAL and self._economics.trusted(exchange.target):
            told = f"not weighed at {before.risk.utilization:.0%} of the window (removed {removed}, behind {behind})"
            exchange.notes.append(f"condense: the edit is {told}")
            logger.info("{}: stage 'condense': the edit is {}", exchange.id, told)
            return True
        return self._economics.weigh(exchange, removed=removed, behind=behind).pays


def _turned(exchange: Exchange, until: int, known: int) -> int:
    """Where a range ends: before what the user said last in `known` messages, if something is left to cut then."""
    messages = exchange.conversation.messages[:known]
    word, start = last_word(messages), opening(messages)
    places = [place for place in cuts(messages, start + 1) if place <= min(until, word)]
    return places[-1] if places and places[-1] - start >= (until - start) // 2 else until
