"""The examples of `docs/hooks.md`; the page shows them as they stand here, and `test_hooks.py` runs them."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from trimtab.api import (
    Block,
    BlockStop,
    ConfigError,
    Epoch,
    Event,
    Exchange,
    Fact,
    Finished,
    Owner,
    Prompt,
    Refused,
    Reply,
    Services,
    Stage,
    StageOptions,
    Started,
    StopReason,
    Target,
    Text,
    TextDelta,
    fingerprint,
    hookimpl,
    replace,
)


class KnownModels(Stage[StageOptions]):
    name = "known-models"

    @hookimpl
    async def start(self, services: Services) -> None:
        self.known = frozenset(services.models.models)
        if "auto" not in self.known:
            raise ConfigError("the model table has no row 'auto': add [model.auto]")


class Cap(Stage[StageOptions]):
    name = "cap"
    shapes = True

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        most = exchange.target.model.max_output
        asked = exchange.conversation.head.get("max_tokens")
        if most is not None and isinstance(asked, int) and asked > most:
            exchange.set_member("max_tokens", most, "more than the model can say")
        return None


class Pong(Stage[StageOptions]):
    name = "pong"
    operations = frozenset({"generate"})

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        if exchange.conversation.messages[-1].blocks != (Text(text="ping"),):
            return None
        return Reply((Started(), TextDelta("pong"), BlockStop(), Finished(StopReason.END)))


class Small(Stage[StageOptions]):
    name = "small"

    @hookimpl
    async def start(self, services: Services) -> None:
        self.models = services.models

    @hookimpl
    def target(self, exchange: Exchange) -> Target | None:
        if exchange.conversation.tools:
            return None
        model = self.models.model("glm-4.5-air")
        return Target(self.models.upstream(model, exchange.dialect), model)


class Plain(Stage[StageOptions]):
    name = "plain"
    wants = frozenset({TextDelta})

    @hookimpl
    def event(self, exchange: Exchange, event: Event) -> Iterable[Event]:
        if isinstance(event, TextDelta):
            event = replace(event, text=event.text.replace("\u2014", "-"))
        return (event,)


class Meter(Stage[StageOptions]):
    name = "meter"

    @hookimpl
    async def start(self, services: Services) -> None:
        self.counters = services.counters

    @hookimpl
    def done(self, exchange: Exchange) -> None:
        if exchange.outcome.usage is not None:
            self.counters.add("meter.prompt", exchange.outcome.usage.prompt)


class Workers(Stage[StageOptions]):
    name = "workers"

    @hookimpl
    async def start(self, services: Services) -> None:
        self.pool = ThreadPoolExecutor(2)

    @hookimpl
    async def stop(self) -> None:
        self.pool.shutdown(cancel_futures=True)


class Team(Fact, frozen=True):
    name: str


class Teams(Stage[StageOptions]):
    name = "teams"
    provides = frozenset({Team})

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        exchange.put(Team(name=exchange.incoming.headers.get("x-team", "none")))
        return None


class TeamsOnly(Stage[StageOptions]):
    name = "teams-only"
    needs = frozenset({Team})

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        if exchange.need(Team).name == "none":
            raise Refused("send the header x-team")
        return None


class Titles(Stage[StageOptions]):
    name = "titles"

    @hookimpl
    async def start(self, services: Services) -> None:
        self.store = services.store

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        exchange.later(partial(self.keep, exchange))
        return None

    async def keep(self, exchange: Exchange) -> None:
        first = exchange.received.messages[0]
        prompt = Prompt(system="Give this task a title of five words.", content=first.blocks, max_tokens=50)
        answer = await exchange.ask("glm-4.5-air", prompt, seconds=20)
        await self.store.add("title", "", first.digest, answer.text.encode())


class Shorter(Stage[StageOptions]):
    name = "shorter"
    optional = True
    shapes = True

    @hookimpl
    async def start(self, services: Services) -> None:
        self.epochs = services.epochs
        self.owner = Owner(self.name, fingerprint(LONGEST))

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        boundary = self.epochs.at(exchange, self.owner, step=20_000, start=10_000)
        if boundary is None:
            return None
        epoch = await self.epochs.get(exchange, boundary)
        if epoch is None:
            wanted = Epoch(form="cut", messages=boundary.messages, size=boundary.size)
            epoch = await self.epochs.settle(exchange, boundary, wanted)
        for index, message in enumerate(exchange.conversation.messages[: epoch.messages]):
            blocks = tuple(map(shorter, message.blocks))
            if message.role == "assistant" and blocks != message.blocks:
                exchange.edit(index, message.with_blocks(blocks), "an old answer was shortened")
        return None


LONGEST = 2_000


def shorter(block: Block) -> Block:
    if isinstance(block, Text) and len(block.text) > LONGEST:
        return replace(block, text=block.text[:LONGEST])
    return block
