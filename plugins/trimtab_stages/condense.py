"""Shortens what is too long for the window, by a ladder that begins with what costs least and asks no model.

What the rungs do, and what is decided at the boundaries of an epoch, is the business of the files beside this one. Here
the stage takes in what the upstream takes, does what the record says, and tells it (design.md, promises 2 and 3).
"""

from functools import partial

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
from trimtab_stages.condense_cuts import SHARE, cuts
from trimtab_stages.condense_fitting import Fitting
from trimtab_stages.condense_forms import MASK, POINTS, Changes, lost
from trimtab_stages.condense_ladder import Ladder
from trimtab_stages.condense_limits import Limits
from trimtab_stages.condense_options import CondenseOptions, Sizes
from trimtab_stages.condense_prepare import Preparing
from trimtab_stages.condense_repeats import repeats
from trimtab_stages.condense_states import State, States
from trimtab_stages.condense_tokens import recounted
from trimtab_stages.risk_assess import assessed, headers

FORM = 2
"""Of the texts that stand for messages; another one is an epoch for conversations that have some."""
CAUTIOUS = 0.95
"""Of what an upstream refused, how much it is taken to take."""
FAR = 20
"""Below this part of the window a refusal says nothing of a window, and the log no word of it."""


class Began(Fact, frozen=True):
    """What the stage was given, in case the upstream finds its work too long."""

    conversation: Conversation
    count: TokenCount
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
        self._services = services
        shaping = fingerprint(FORM, options.strategy, options.keep, options.model_rungs, options.repeats)
        self._limits = Limits(services.store, services.clock)
        self._preparing = Preparing(options, services)
        self._states = States(self._preparing, self._limits)
        self._fitting = Fitting(options, services, shaping, self._states)
        self._ladder = Ladder(options, services, shaping, self._preparing, self._states, self._fitting)
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
        await self._arrivals(exchange, await self._states.window(exchange, risk.limit))
        # Fewer bytes than the window has tokens: nothing can be due.
        sizes = Sizes.of(self.options, risk.limit)
        if len(exchange.received.head.scanned.raw) >= risk.limit or exchange.conversation.has(Image):
            await self._epoch(exchange, sizes)
        elif self.options.repeats:
            await self._apply(exchange, await self._states.of(exchange, Epoch(), sizes), sizes)
        return None

    async def _roomy(self, exchange: Exchange) -> bool:
        """Whether even the most that is being counted leaves nothing to do here."""
        most, limit = exchange.need(TokenCount).most, exchange.need(Risk).limit
        if most is None or limit is None:
            return True
        known = await self._limits.known(exchange.target) or limit
        window = await self._states.window(exchange, min(limit, known))
        return max(most, len(exchange.received.head.scanned.raw)) <= window // SHARE

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
            self._tell(exchange, await recounted(count, found, exchange.target), exchange.need(Risk))
            exchange.put(Condensed(form="cut", messages=len(found), truncated=True))
            exchange.headers["x-trimtab-truncated"] = f"{len(found)} results"

    async def _epoch(self, exchange: Exchange, sizes: Sizes) -> None:
        boundary = self._ladder.boundary(exchange, sizes)
        state = await self._ladder.held(exchange, boundary, sizes)
        if not state.below(self.options.emergency):
            state = await self._fitting.fitted(exchange, state, sizes)
            if state.risk.level is RiskLevel.OVERFLOW and state.tokens.total > sizes.floor:
                self._refuse(exchange, state, sizes)
        await self._apply(exchange, state, sizes)
        if boundary is not None and state.risk.outlook >= RiskLevel.CAUTION and exchange.operation == "generate":
            self._prepare(exchange, boundary, state.epoch)

    def _refuse(self, exchange: Exchange, state: State, sizes: Sizes) -> None:
        """Tell the client by the count that decided: the calibrated one may change from request to request."""
        used, limit = state.risk.used + state.risk.reserve, state.risk.limit or sizes.window
        logger.warning("{}: condense: {} tokens do not fit into {}; the client is told", exchange.id, used, limit)
        self._services.counters.add("condense.refused")
        raise Refused(overflow_words(exchange.dialect, used, limit), cause=Cause.OVERFLOW, param="messages")

    async def _apply(self, exchange: Exchange, state: State, sizes: Sizes) -> None:
        before, epoch = exchange.need(TokenCount).total, state.epoch
        found, tokens = state.changes, state.tokens
        messages = exchange.conversation.messages
        if self.options.repeats:
            copies = repeats(messages, epoch.messages if epoch.form else 0)
            found = {**found, **copies}
            if copies:
                await settled(exchange)
            tokens = await recounted(exchange.need(TokenCount), found, exchange.target)
        if not exchange.edit_all(found, epoch.form or "repeated results"):
            return
        self._tell(exchange, tokens, state.risk)
        if not epoch.form or not state.changes:
            return
        told = f"{epoch.form}; messages={epoch.messages}; tokens={before - tokens.total}"
        exchange.headers["x-trimtab-condensed"] = f"{told}{'; forced' if epoch.forced else ''}"
        gone = lost(messages, epoch, sizes.budget)
        if gone:
            exchange.headers["x-trimtab-truncated"] = gone
        exchange.put(Condensed(form=epoch.form, messages=epoch.messages, truncated=bool(gone), forced=epoch.forced))
        exchange.notes.append(f"condensed: {told}{f'; left out: {gone}' if gone else ''}")
        self._services.counters.add(f"condense.{epoch.form}")

    def _tell(self, exchange: Exchange, count: TokenCount, risk: Risk) -> None:
        """The count and the risk of what leaves, in the window it goes to, to the stages behind and to the client."""
        risk = assessed(risk, count)
        exchange.put(count)
        exchange.put(risk)
        exchange.headers.pop("x-context-warning", None)
        exchange.headers.update(headers(count, risk))

    def _prepare(self, exchange: Exchange, boundary: Boundary, epoch: Epoch) -> None:
        if self._preparing.wanted(exchange):
            exchange.later(partial(self._preparing.work, exchange, boundary, epoch))
