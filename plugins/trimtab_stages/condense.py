"""Shortens what is too long for the window, by a ladder that begins with what costs least and asks no model.

What the rungs do is the business of the files beside this one. Here the stage decides at the boundaries of an epoch,
writes that down, and does what the record says in every later request (design.md, promises 2 and 3).
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from loguru import logger

from trimtab.api import (
    Boundary,
    Cause,
    Condensed,
    Conversation,
    Epoch,
    Exchange,
    Fact,
    Image,
    Overflowed,
    Owner,
    Refused,
    Reply,
    Risk,
    RiskLevel,
    Services,
    Stage,
    TokenCount,
    fingerprint,
    hookimpl,
    overflow_words,
    replace,
    settled,
)
from trimtab_stages.condense_clients import recovers
from trimtab_stages.condense_cuts import SHARE, cuts
from trimtab_stages.condense_forms import DROP, MASK, POINTS, TEXTS, Changes, changes
from trimtab_stages.condense_limits import Limits
from trimtab_stages.condense_options import CondenseOptions, Sizes
from trimtab_stages.condense_prepare import Preparing
from trimtab_stages.condense_ranges import condensed, last_word, opening
from trimtab_stages.condense_ranges import cuts as safe_cuts
from trimtab_stages.condense_repeats import repeats
from trimtab_stages.condense_tokens import recounted
from trimtab_stages.risk_assess import assessed, headers

DEEP = 64
"""Boundaries that are looked at for a record, newest first."""
CAUTIOUS = 0.95
"""Of what an upstream refused, how much it is taken to take."""
FAR = 20
"""Below this part of the window a refusal says nothing of a window, and the log no word of it."""
ROOM = 0.8
"""The share of the window that an edit made to fit should come down to, so that it lasts for some turns."""
TURNS = 4
"""Turns that are looked at for a record where the boundaries do not do."""
APART = 10
"""Requests between two epochs that are not needed to fit."""


class Began(Fact, frozen=True):
    """What the stage was given, in case the upstream finds its work too long."""

    conversation: Conversation
    count: TokenCount
    risk: Risk


class State(NamedTuple):
    """A conversation with a record applied."""

    epoch: Epoch
    changes: Changes
    tokens: TokenCount
    risk: Risk


class Condense(Stage[CondenseOptions]):
    """Applies the newest record, and writes one where a conversation has come too near to its window."""

    name = "condense"
    Options = CondenseOptions
    needs = frozenset({TokenCount, Risk})
    provides = frozenset({Condensed})
    optional = True
    again = True
    rough = True
    shapes = True

    @hookimpl
    async def start(self, services: Services) -> None:
        """Keep what the process has."""
        options = self.options
        self._services, self._epochs = services, services.epochs
        shaping = fingerprint(options.strategy, options.keep, options.model_rungs, options.repeats)
        self._owner, self._forced = Owner(self.name, shaping), Owner(self.name, shaping, forced=True)
        self._limits = Limits(services.store, services.clock)
        self._turn = Owner(f"{self.name} turn", shaping, forced=True)
        self._preparing = Preparing(options, services)
        if options.strategy not in (MASK, POINTS) and not options.model_rungs:
            logger.warning(
                "condense.strategy '{}' needs a model, and model-rungs is false: key points take its place; set "
                "model-rungs = true (ENABLE_AI_CONDENSATION) to let the model summarise",
                options.strategy,
            )

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        """Do what holds for this conversation; refuse, in the client's words, what fits by no means."""
        if exchange.compaction:
            return None
        told = exchange.get(Overflowed)
        if told is not None or not await self._roomy(exchange):
            await settled(exchange)
        learnt = None if told is None else await self._learn(exchange, told)
        risk = await self._narrowed(exchange, learnt)
        if not risk.limit:
            return None
        if told is None:
            exchange.put(Began(conversation=exchange.conversation, count=exchange.need(TokenCount), risk=risk))
        if len(exchange.conversation.messages) != len(exchange.received.messages):
            exchange.notes.append("condense did nothing: a stage before it removed messages")
            return None
        await self._arrivals(exchange, risk.limit)
        # Fewer bytes than the window has tokens: nothing can be due.
        if len(exchange.received.head.scanned.raw) >= risk.limit or exchange.conversation.has(Image):
            await self._epoch(exchange, Sizes.of(self.options, risk.limit))
        elif self.options.repeats:
            await self._apply(exchange, State(Epoch(), {}, exchange.need(TokenCount), risk))
        return None

    async def _roomy(self, exchange: Exchange) -> bool:
        """Whether even the most that is being counted leaves nothing to do here."""
        most, limit = exchange.need(TokenCount).most, exchange.need(Risk).limit
        if most is None or limit is None:
            return True
        known = await self._limits.known(exchange.target) or limit
        return max(most, len(exchange.received.head.scanned.raw)) <= min(limit, known) // SHARE

    async def _learn(self, exchange: Exchange, told: Overflowed) -> int:
        """Take in what the upstream takes, in our tokens, and begin anew with what this stage was given.

        It holds for this request, and for others where this prompt is large enough to tell something about them.
        """
        used = exchange.need(TokenCount).total
        limit = int(used * told.limit / told.used) if told.used and told.limit else used
        if not (told.used and told.limit) or told.used > told.limit:
            limit = min(limit, used)
        limit = int(limit * CAUTIOUS)
        if await self._limits.learn(exchange.target, limit, used):
            logger.warning("{}: condense: the upstream takes no more than about {} of our tokens", exchange.id, limit)
        elif used * FAR >= (exchange.target.model.window or 0):
            model = exchange.target.model
            logger.warning(
                "{}: condense: the upstream takes no more than about {} of our tokens of this prompt, less than half "
                'of the window in the table ({}); if that holds for all, set [model."{}"] window',
                exchange.id, limit, model.window, model.name,
            )  # fmt: skip
        began = exchange.get(Began)
        # Only what is another one counts as shortened.
        if began is not None and began.conversation.messages != exchange.conversation.messages:
            exchange.conversation = exchange.conversation.with_messages(began.conversation.messages)
            exchange.put(began.count)
            exchange.put(began.risk)
            await settled(exchange)
        return limit

    async def _narrowed(self, exchange: Exchange, learnt: int | None) -> Risk:
        """The risk in the window that the upstream has shown to have, where that is smaller than the table's."""
        risk, known = exchange.need(Risk), await self._limits.known(exchange.target)
        limit = min((each for each in (learnt, known) if each is not None), default=None)
        if limit is None or (risk.limit is not None and risk.limit <= limit):
            return risk
        count = exchange.need(TokenCount)
        risk = assessed(replace(risk, limit=limit), count)
        exchange.put(risk)
        exchange.headers.update(headers(count, risk))
        return risk

    async def _arrivals(self, exchange: Exchange, window: int) -> None:
        """What is decided when a result comes: the largest are cut, and copies refer to the first one."""
        count = exchange.need(TokenCount)
        found: Changes = {**cuts(exchange.conversation, count, window)}
        if found and exchange.edit_all(found, "results too large for the window"):
            self._tell(exchange, await recounted(count, found, exchange.target))
            exchange.put(Condensed(form="cut", messages=len(found), truncated=True))
            exchange.headers["x-trimtab-truncated"] = f"{len(found)} results"

    async def _epoch(self, exchange: Exchange, sizes: Sizes) -> None:
        boundary = self._epochs.at(exchange, self._owner, step=sizes.step, start=sizes.start)
        state = await self._held(exchange, boundary, sizes)
        if state.risk.utilization >= self.options.emergency:
            state = await self._fitting(exchange, state, sizes)
        await self._apply(exchange, state)
        if boundary is not None and state.risk.outlook >= RiskLevel.CAUTION and exchange.operation == "generate":
            self._prepare(exchange, boundary, state.epoch, sizes)

    async def _held(self, exchange: Exchange, boundary: Boundary | None, sizes: Sizes) -> State:
        """The state by the record of the newest boundary; its first request writes it."""
        if boundary is None:
            return await self._state(exchange, Epoch(), sizes)
        epoch = await self._epochs.get(exchange, boundary)
        if epoch is None:
            before = await self._state(exchange, await self._earlier(exchange, boundary), sizes)
            chosen = await self._chosen(exchange, boundary, before, sizes)
            epoch = await self._epochs.settle(exchange, boundary, chosen)
        return await self._state(exchange, epoch, sizes)

    async def _earlier(self, exchange: Exchange, boundary: Boundary) -> Epoch:
        """The record of the boundary before, or of the one before that, where there is any."""
        place = self._epochs.earlier(exchange, boundary)
        for _ in range(DEEP):
            if place is None:
                break
            if (epoch := await self._epochs.get(exchange, place)) is not None:
                return epoch
            place = self._epochs.earlier(exchange, place)
        return Epoch()

    async def _chosen(self, exchange: Exchange, boundary: Boundary, before: State, sizes: Sizes) -> Epoch:
        """What a new epoch does: the rungs in their order until one reaches its aim, or what the one before did."""
        forced = await self._newest_forced(exchange, boundary, before, sizes)
        if forced is not None:
            # An edit made to fit reaches further than this boundary: it stays, until a boundary is there that holds it.
            return forced if forced.messages <= boundary.messages else before.epoch
        if condensed(exchange.received.messages):
            # A second pass: what was shortened is made to fit, and not shortened to save once more.
            return before.epoch
        first = before.risk.bounds[1] if not recovers(exchange) else max(before.risk.bounds[1], self.options.patience)
        if max(before.risk.likely, before.risk.utilization) < first or not self._apart(
            exchange, boundary, before.epoch
        ):
            return before.epoch
        state = await self._climbed(exchange, boundary, before, sizes)
        if state is None or not self._pays(exchange, before, state):
            return before.epoch
        return state.epoch

    def _apart(self, exchange: Exchange, boundary: Boundary, before: Epoch) -> bool:
        """Whether ten requests lie between the last epoch and this one."""
        between = exchange.received.messages[before.messages : boundary.messages]
        replies = sum(message.role == "assistant" for message in between)
        return replies >= APART if before.form else len(exchange.received.messages) >= self.options.min_messages

    async def _climbed(self, exchange: Exchange, boundary: Boundary, before: State, sizes: Sizes) -> State | None:
        """The first rung that reaches its aim, else the highest; None where nothing becomes shorter."""
        best: State | None = None
        if before.epoch.form in ("", MASK):
            best = await self._state(exchange, _epoch(MASK, boundary), sizes)
        if self.options.strategy != MASK and not (best and best.tokens.total <= sizes.aim):
            best = await self._state(exchange, await self._range(exchange, boundary, before.epoch, sizes), sizes)
        elif best is None:
            best = await self._state(exchange, _epoch(POINTS, boundary), sizes)
        return best if before.tokens.total - best.tokens.total >= sizes.least else None

    async def _range(self, exchange: Exchange, boundary: Boundary, before: Epoch, sizes: Sizes) -> Epoch:
        """The record of one text for a range: the model's where there is one by now, else the key points."""
        if self.options.strategy != POINTS:
            place: Boundary | None = boundary
            while place is not None and place.messages > before.messages:
                texts = await self._preparing.ready(exchange, place, before, sizes)
                if texts:
                    return _epoch(TEXTS, place, texts=texts)
                place = self._epochs.earlier(exchange, place)
        return _epoch(POINTS, boundary, messages=_turned(exchange, boundary.messages))

    def _pays(self, exchange: Exchange, before: State, after: State) -> bool:
        """Whether a new epoch is worth what it costs; from CRITICAL on nobody asks."""
        if before.risk.outlook >= RiskLevel.CRITICAL:
            return True
        removed = before.tokens.total - after.tokens.total
        first = min(after.changes, default=0)
        behind = sum(after.tokens.messages[first:])
        return self._services.economics.weigh(exchange, removed=removed, behind=behind).pays

    async def _newest_forced(self, exchange: Exchange, boundary: Boundary, state: State, sizes: Sizes) -> Epoch | None:
        """The record of an edit made to fit, where one was needed since `boundary`."""
        if state.risk.utilization < self.options.emergency:
            return None
        place = self._epochs.at(exchange, self._forced, step=sizes.step)
        while place is not None and place.messages >= boundary.messages:
            if (epoch := await self._epochs.get(exchange, place)) is not None:
                return epoch
            place = self._epochs.earlier(exchange, place)
        return None

    async def _fitting(self, exchange: Exchange, state: State, sizes: Sizes) -> State:
        """The state that fits, by a record written for that; Refused in the client's words where there is none."""
        best = state
        for places in (self._grid(exchange, state, sizes), self._turns(exchange, state)):
            found = await self._fitted(exchange, state, places, sizes)
            if found.tokens.total < best.tokens.total:
                best = found
            if best.risk.utilization < self.options.emergency:
                return best
        if best.risk.level is RiskLevel.OVERFLOW and best.tokens.total > sizes.floor:
            self._refuse(exchange, best, sizes)
        return best

    async def _fitted(self, exchange: Exchange, state: State, places: Sequence[Boundary], sizes: Sizes) -> State:
        """The state by the newest record of some places; where that does not fit, by a new one at the newest place."""
        for place in places:
            epoch = await self._epochs.get(exchange, place)
            if epoch is None:
                continue
            held = await self._state(exchange, epoch, sizes)
            if place is places[0] or held.risk.utilization < self.options.emergency:
                return held
            break
        chosen = await self._forced_choice(exchange, places[0], state, sizes) if places else None
        if chosen is None:
            return state
        return await self._state(exchange, await self._epochs.settle(exchange, places[0], chosen), sizes)

    def _grid(self, exchange: Exchange, state: State, sizes: Sizes) -> list[Boundary]:
        """The boundaries behind the state's own frontier, newest first."""
        found: list[Boundary] = []
        place = self._epochs.at(exchange, self._forced, step=sizes.step)
        while place is not None and place.messages > state.epoch.messages and len(found) < DEEP:
            found.append(place)
            place = self._epochs.earlier(exchange, place)
        return found

    def _turns(self, exchange: Exchange, state: State) -> list[Boundary]:
        """The last safe cuts, newest first: for turns that are larger than the steps between boundaries."""
        messages = exchange.received.messages
        last = max((index for index, message in enumerate(messages) if message.role == "assistant"), default=0)
        places = [cut for cut in safe_cuts(messages, state.epoch.messages + 1) if cut <= last][::-1][:TURNS]
        found = (self._epochs.before(exchange, self._turn, place) for place in places)
        return [place for place in found if place is not None]

    async def _forced_choice(self, exchange: Exchange, place: Boundary, state: State, sizes: Sizes) -> Epoch | None:
        """The first form that leaves room for some turns, key points where they fit; else the one that leaves most."""
        client = self.options.on_overflow == "error" or (self.options.on_overflow == "auto" and recovers(exchange))
        found: list[State] = []
        for form in (MASK,) if client else (MASK, POINTS, DROP):
            until = place.messages if form == MASK else _reaching(state, exchange, place, sizes)
            epoch = replace(_epoch(form, place, messages=until), forced=True)
            if until > opening(exchange.conversation.messages):
                found.append(await self._state(exchange, epoch, sizes))
                # What the user said is worth more than some turns without another epoch.
                if found[-1].risk.utilization <= ROOM or (form == POINTS and self._fits(found[-1])):
                    return found[-1].epoch
        shorter = [each for each in found if each.tokens.total < state.tokens.total]
        fitting = [each for each in shorter if each.risk.utilization < self.options.emergency]
        best = min(fitting or shorter, key=lambda each: (each.epoch.form == DROP, each.tokens.total), default=None)
        return None if best is None else best.epoch

    def _fits(self, state: State) -> bool:
        return state.risk.utilization < self.options.emergency

    def _refuse(self, exchange: Exchange, state: State, sizes: Sizes) -> None:
        used, limit = state.tokens.calibrated + state.risk.reserve, sizes.window
        logger.warning("{}: condense: {} tokens do not fit into {}; the client is told", exchange.id, used, limit)
        self._services.counters.add("condense.refused")
        raise Refused(
            overflow_words(exchange.dialect, max(used, limit + 1), limit), cause=Cause.OVERFLOW, param="messages"
        )

    async def _state(self, exchange: Exchange, epoch: Epoch, sizes: Sizes) -> State:
        """The conversation with a record applied; a record whose text is lost gives key points in its place."""
        texts = await self._preparing.texts(exchange, epoch)
        if texts is None:
            epoch = replace(epoch, form=POINTS, texts=())
        found = changes(exchange.conversation.messages, epoch, texts or (), sizes.budget)
        count, risk = exchange.need(TokenCount), exchange.need(Risk)
        if not found:
            return State(epoch, found, count, risk)
        count = await recounted(count, found, exchange.target)
        return State(epoch, found, count, assessed(risk, count))

    async def _apply(self, exchange: Exchange, state: State) -> None:
        before, epoch = exchange.need(TokenCount).total, state.epoch
        found, tokens = state.changes, state.tokens
        if self.options.repeats:
            copies = repeats(exchange.conversation.messages, epoch.messages if epoch.form else 0)
            found = {**found, **copies}
            if copies:
                await settled(exchange)
            tokens = await recounted(exchange.need(TokenCount), found, exchange.target)
        if not exchange.edit_all(found, epoch.form or "repeated results"):
            return
        self._tell(exchange, tokens)
        if not epoch.form or not state.changes:
            return
        truncated = epoch.form == DROP
        told = f"{epoch.form}; messages={epoch.messages}; tokens={before - tokens.total}"
        exchange.headers["x-trimtab-condensed"] = f"{told}{'; forced' if epoch.forced else ''}"
        if truncated:
            exchange.headers["x-trimtab-truncated"] = f"{epoch.messages} messages"
        exchange.put(Condensed(form=epoch.form, messages=epoch.messages, truncated=truncated, forced=epoch.forced))
        exchange.notes.append(f"condensed: {told}")
        self._services.counters.add(f"condense.{epoch.form}")

    def _tell(self, exchange: Exchange, count: TokenCount) -> None:
        """The count and the risk of what leaves, to the stages behind and to the client."""
        risk = assessed(exchange.need(Risk), count)
        exchange.put(count)
        exchange.put(risk)
        exchange.headers.pop("x-context-warning", None)
        exchange.headers.update(headers(count, risk))

    def _prepare(self, exchange: Exchange, boundary: Boundary, epoch: Epoch, sizes: Sizes) -> None:
        if self._preparing.wanted(exchange):
            exchange.later(partial(self._preparing.work, exchange, boundary, epoch, sizes))


def _epoch(form: str, place: Boundary, *, messages: int | None = None, texts: tuple[str, ...] = ()) -> Epoch:
    return Epoch(form=form, messages=place.messages if messages is None else messages, size=place.size, texts=texts)


def _turned(exchange: Exchange, until: int) -> int:
    """Where a range ends: before what the user said last, if something is left to cut then."""
    messages = exchange.conversation.messages
    word, start = last_word(messages), opening(messages)
    places = [place for place in safe_cuts(messages, start + 1) if place <= min(until, word)]
    return places[-1] if places and places[-1] - start >= (until - start) // 2 else until


def _reaching(state: State, exchange: Exchange, place: Boundary, sizes: Sizes) -> int:
    """The nearest safe cut behind which what is left fits with some room, at most the boundary's."""
    messages, tokens = exchange.conversation.messages, exchange.need(TokenCount).messages
    start = opening(messages)
    left = exchange.need(TokenCount).total + sizes.budget
    done = start
    for cut in safe_cuts(messages, start + 1):
        if cut > place.messages:
            break
        left -= sum(tokens[done:cut])
        done = cut
        if left + state.risk.reserve <= ROOM * sizes.window:
            return cut
    return place.messages
