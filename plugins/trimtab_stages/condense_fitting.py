"""What makes a request fit that would not: records of their own, whatever they cost, named `forced`.

Forms are tried by what they lose. Cleared results and key points keep what the user said and what the environment told
once; only where neither fits may a text leave some of that out, and only then are whole turns dropped.
"""

from collections.abc import Sequence

from loguru import logger

from trimtab.api import Boundary, Epoch, Exchange, Owner, Services, TokenCount, replace
from trimtab_stages.condense_clients import recovers
from trimtab_stages.condense_forms import BRIEF, DROP, MASK, POINTS, record
from trimtab_stages.condense_options import CondenseOptions, Sizes
from trimtab_stages.condense_ranges import cuts, opening
from trimtab_stages.condense_states import State, States

DEEP = 64
"""Boundaries that are looked at for a record, newest first."""
ROOM = 0.8
"""The share of the window that an edit made to fit should come down to, so that it lasts for some turns."""
TURNS = 4
"""Turns that are looked at for a record where the boundaries do not do."""
FORMS = ((MASK, POINTS), (BRIEF,), (DROP,))
"""The forms, grouped by what they lose."""


class Fitting:
    """Finds the records of edits made to fit, and writes them."""

    def __init__(self, options: CondenseOptions, services: Services, shaping: bytes, states: States) -> None:
        self._options, self._epochs, self._states = options, services.epochs, states
        self._owner = Owner("condense", shaping, forced=True)
        self._turn = Owner("condense turn", shaping, forced=True)

    async def newest(self, exchange: Exchange, state: State, sizes: Sizes) -> Epoch | None:
        """The newest record of an edit made to fit, where a state needs one."""
        if state.below(self._options.emergency):
            return None
        start = state.epoch.messages + 1
        places = *self._grid(exchange, start, sizes), *self._turns(exchange, start)
        found = await self._epochs.newest(exchange, places)
        return None if found is None else found[1]

    async def fitted(self, exchange: Exchange, state: State, sizes: Sizes) -> State:
        """The state that fits, by a record written for that; where there is none, the one that comes nearest."""
        start = state.epoch.messages + 1
        places = [each for each in (self._grid(exchange, start, sizes), self._turns(exchange, start)) if each]
        groups = self._forms(exchange)
        best = state
        for forms in groups:
            for found in places:
                held = await self._held(exchange, state, found, forms, sizes)
                best = min(best, held, key=_taken)
                if best.below(self._options.emergency):
                    return best
        if places:
            # Between the emergency and the end of the window any form that is shorter will do.
            forms = [form for group in groups for form in group]
            best = min(best, await self._held(exchange, state, places[-1], forms, sizes, least=True), key=_taken)
        return best

    async def _held(
        self,
        exchange: Exchange,
        state: State,
        places: Sequence[Boundary],
        forms: Sequence[str],
        sizes: Sizes,
        *,
        least: bool = False,
    ) -> State:
        """The state by the newest record of some places; where that does not fit, by a new one at the newest place."""
        found = await self._epochs.newest(exchange, places)
        if found is not None:
            held = await self._states.of(exchange, found[1], sizes)
            if found[0] is places[0] or held.below(self._options.emergency):
                return held
        chosen = await self._chosen(exchange, places[0], state, forms, sizes, least=least)
        if chosen is None:
            return state
        if exchange.operation == "generate":
            logger.info(
                "{}: stage 'condense': {} up to message {} is forced: prompt and answer take {:.0%} of {}",
                exchange.id, chosen.form, chosen.messages, state.risk.utilization, state.risk.limit,
            )  # fmt: skip
        return await self._states.of(exchange, await self._epochs.settle(exchange, places[0], chosen), sizes)

    async def _chosen(
        self, exchange: Exchange, place: Boundary, state: State, forms: Sequence[str], sizes: Sizes, *, least: bool
    ) -> Epoch | None:
        """The first record with room for some turns, else the one of those that fit that takes least; with `least`
        the first form within the window, or the one that takes least."""
        found: list[State] = []
        for epoch in _records(forms, exchange, place, state, sizes):
            found.append(await self._states.of(exchange, epoch, sizes))
            if found[-1].risk.utilization <= ROOM:
                return found[-1].epoch
        fitting = [each for each in found if each.below(self._options.emergency)]
        if least and not fitting:
            found = [each for each in found if _taken(each) < _taken(state)]
            fitting = [each for each in found if _taken(each) <= 1][:1] or found
        return min(fitting, key=_taken).epoch if fitting else None

    def _grid(self, exchange: Exchange, start: int, sizes: Sizes) -> list[Boundary]:
        """The boundaries from a message on, newest first."""
        found: list[Boundary] = []
        place = self._epochs.at(exchange, self._owner, step=sizes.step)
        while place is not None and place.messages >= start and len(found) < DEEP:
            found.append(place)
            place = self._epochs.earlier(exchange, place)
        return found

    def _turns(self, exchange: Exchange, start: int) -> list[Boundary]:
        """The last safe cuts from a message on, newest first: for turns larger than the steps between boundaries."""
        messages = exchange.received.messages
        last = max((index for index, message in enumerate(messages) if message.role == "assistant"), default=0)
        places = [cut for cut in cuts(messages, start) if cut <= last][::-1][:TURNS]
        found = (self._epochs.before(exchange, self._turn, place) for place in places)
        return [place for place in found if place is not None]

    def _forms(self, exchange: Exchange) -> Sequence[Sequence[str]]:
        """The forms that may be used: a client that compacts by itself rather does that than lose turns."""
        told = self._options.on_overflow
        client = told == "error" or (told == "auto" and recovers(exchange))
        return ((MASK,),) if client else FORMS


def _taken(state: State) -> float:
    """The share of the window; the windows of two states may differ."""
    return state.risk.utilization


def _records(forms: Sequence[str], exchange: Exchange, place: Boundary, state: State, sizes: Sizes) -> Sequence[Epoch]:
    """The records that are tried: a range as short as leaves room, and one as long as there can be."""
    start = opening(exchange.conversation.messages)
    far = place.messages
    near = _reaching(state, exchange, far, sizes)
    tried = [(form, until) for form in forms for until in ((far,) if form == MASK or near == far else (near, far))]
    return [replace(record(form, place, messages=until), forced=True) for form, until in tried if until > start]


def _reaching(state: State, exchange: Exchange, most: int, sizes: Sizes) -> int:
    """The nearest safe cut behind which what is left fits with some room, at most `most`."""
    messages, tokens = exchange.conversation.messages, exchange.need(TokenCount).messages
    left = exchange.need(TokenCount).total + sizes.budget
    done = opening(messages)
    for cut in cuts(messages, done + 1):
        if cut > most:
            break
        left -= sum(tokens[done:cut])
        done = cut
        if left + state.risk.reserve <= ROOM * sizes.window:
            return cut
    return most
