"""A conversation with a record applied, and what that comes to: what the decisions of condense are taken from."""

from collections.abc import Sequence
from typing import NamedTuple

from trimtab.api import Epoch, Exchange, Image, Message, Risk, TokenCount, replace
from trimtab_stages.condense_forms import POINTS, Changes, changes
from trimtab_stages.condense_limits import Limits
from trimtab_stages.condense_options import Sizes
from trimtab_stages.condense_prepare import Preparing
from trimtab_stages.condense_tokens import recounted
from trimtab_stages.risk_assess import assessed


class State(NamedTuple):
    """A conversation with a record applied."""

    epoch: Epoch
    changes: Changes
    tokens: TokenCount
    risk: Risk
    messages: int
    """How many messages it is about, of those that came."""

    def below(self, share: float) -> bool:
        """Whether prompt and answer take less than this share of the window."""
        return self.risk.utilization < share


class States:
    """Applies records, without changing anything yet."""

    def __init__(self, preparing: Preparing, limits: Limits) -> None:
        self._preparing, self._limits = preparing, limits

    async def of(self, exchange: Exchange, epoch: Epoch, sizes: Sizes, until: int | None = None) -> State:
        """A conversation, or its first `until` messages, with a record; one whose text is lost gives key points."""
        texts = await self._preparing.texts(exchange, epoch)
        if texts is None:
            epoch = replace(epoch, form=POINTS, texts=())
        messages, count, risk = exchange.conversation.messages, exchange.need(TokenCount), exchange.need(Risk)
        if until is not None and until < len(messages):
            messages, count = messages[:until], _shorter(count, until)
            risk = assessed(risk, count)
        found = changes(messages, epoch, texts or (), sizes.budget)
        if found:
            count = await recounted(count, found, exchange.target)
            risk = assessed(await self._led(exchange, messages, found, risk), count)
        return State(epoch, found, count, risk, len(messages))

    async def _led(self, exchange: Exchange, messages: Sequence[Message], found: Changes, risk: Risk) -> Risk:
        """The risk in the window in which the conversation ends up: without its images it goes to the text model."""
        left = (found.get(index, message) for index, message in enumerate(messages))
        if not exchange.conversation.has(Image) or any(message is not None and message.has(Image) for message in left):
            return risk
        return replace(risk, limit=await self._text_window(exchange) or risk.limit)

    async def window(self, exchange: Exchange, limit: int) -> int:
        """The smaller one of this window and the one in which the conversation would be without its images."""
        return min(limit, await self._text_window(exchange) or limit) if exchange.conversation.has(Image) else limit

    async def _text_window(self, exchange: Exchange) -> int | None:
        target = exchange.text_target
        limits = (target.model.window, await self._limits.known(target))
        return min((each for each in limits if each), default=None)


def _shorter(count: TokenCount, until: int) -> TokenCount:
    """The count of the first `until` messages."""
    return replace(count, total=count.total - sum(count.messages[until:]), messages=count.messages[:until])
