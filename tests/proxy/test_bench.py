"""A chain and its exchanges without a server."""

from collections.abc import Iterable
from typing import Any

import pytest

from trimtab.conversation import Text
from trimtab.errors import ConfigError
from trimtab.events import Event, Finished, StopReason, TextDelta, replace
from trimtab.exchange import Exchange
from trimtab.hookspecs import Reply, Stage, StageOptions, hookimpl
from trimtab.services import Services
from trimtab.testing import StageBench, StillClock, table

pytestmark = pytest.mark.anyio


class ShortenOptions(StageOptions, frozen=True, kw_only=True):
    limit: int = 10


class Shorten(Stage[ShortenOptions]):
    """Cuts texts, both ways; the example of the module, and a little more."""

    name = "shorten"
    Options = ShortenOptions
    wants = frozenset({TextDelta})

    def __init__(self, options: ShortenOptions) -> None:
        super().__init__(options)
        self.log: list[Any] = []

    @hookimpl
    async def start(self, services: Services) -> None:
        self.log.append(services.clock.now())

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        for index, message in enumerate(exchange.conversation.messages):
            blocks = [
                Text(text=block.text[: self.options.limit]) if isinstance(block, Text) else block
                for block in message.blocks
            ]
            exchange.edit(index, message.with_blocks(blocks), "too long")
        exchange.later(self.clean)
        return None

    async def clean(self) -> None:
        self.log.append("cleaned")

    @hookimpl
    def event(self, exchange: Exchange, event: Event) -> Iterable[Event]:
        assert isinstance(event, TextDelta)
        return (replace(event, text=event.text[: self.options.limit]),)

    @hookimpl
    def done(self, exchange: Exchange) -> None:
        self.log.append(exchange.id)

    @hookimpl
    async def stop(self) -> None:
        self.log.append("stopped")


LONG = {"model": "small", "messages": [{"role": "user", "content": "x" * 99}]}


async def test_the_example_of_the_module() -> None:
    async with StageBench(Shorten(ShortenOptions(limit=10))) as bench:
        exchange = bench.exchange(LONG)
        await bench.request(exchange)
        assert bench.sent(exchange)["messages"][0]["content"] == "x" * 10


async def test_all_phases_run() -> None:
    stage = Shorten(ShortenOptions())
    async with StageBench(stage) as bench:
        exchange = bench.exchange(LONG, dialect="messages")
        await bench.request(exchange)
        end = Finished(StopReason.END)
        assert bench.events(exchange, TextDelta("y" * 20), end) == [TextDelta("y" * 10), end]
        bench.done(exchange)
        await bench.run_later(exchange)
    assert stage.log == [StillClock().now(), "req_test", "cleaned", "stopped"]


async def test_an_exchange_is_what_the_proxy_would_make_of_it() -> None:
    bench = StageBench()
    exchange = bench.exchange(b'{"model":"auto","messages":[],"stream":true}', headers={"x-a": "b"}, peer="10.0.0.9")
    assert (exchange.dialect, exchange.operation, exchange.compaction) == ("chat", "generate", False)
    assert (exchange.incoming.headers, exchange.incoming.peer) == ({"x-a": "b"}, "10.0.0.9")
    assert exchange.outcome.streamed
    assert bench.exchange(LONG, headers={"x-request-compaction": "1"}).compaction
    assert bench.exchange(LONG, operation="count").operation == "count"


async def test_equal_messages_of_two_exchanges_are_one_message() -> None:
    bench = StageBench()
    first, second = bench.exchange(LONG), bench.exchange(LONG)
    assert first.conversation.messages[0] is second.conversation.messages[0]


def test_the_table_has_a_way_for_text_and_one_for_images() -> None:
    models = table()
    text = models.resolve("auto", images=False, dialect="chat")
    images = models.resolve("auto", images=True, dialect="chat")
    assert (text.model.name, text.upstream.name, text.dialect) == ("small", "text", "messages")
    assert (images.model.name, images.upstream.name, images.dialect) == ("eyes", "images", "chat")


def test_the_clock_stands_still() -> None:
    clock = StillClock(1000.0)
    assert (clock.now(), clock.monotonic()) == (clock.now(), clock.monotonic()) == (1000.0, 0.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (1002.5, 2.5)


def test_a_clock_that_is_set_goes_on() -> None:
    clock = StillClock(100.0)
    clock.advance(5)
    clock.jump(-50)
    assert (clock.now(), clock.monotonic()) == (55.0, 5.0)


async def test_who_sleeps_by_the_clock_wakes_at_once_and_later() -> None:
    clock = StillClock(1000.0)
    wait = 600.0
    await clock.sleep(wait)
    assert (clock.now(), clock.monotonic()) == (1600.0, 600.0)


async def test_the_store_and_the_stages_share_the_clock() -> None:
    clock = StillClock()
    bench = StageBench(clock=clock)
    await bench.services.store.put("kind", "tenant", b"key", b"value", ttl=10)
    clock.advance(9)
    assert await bench.services.store.get("kind", "tenant", b"key") == b"value"
    clock.advance(2)
    assert await bench.services.store.get("kind", "tenant", b"key") is None


async def test_a_hook_that_cannot_be_called_is_refused_here_too() -> None:
    class Wrong(Shorten):
        @hookimpl
        async def request(self, exchanges: Exchange) -> Reply | None:
            return None

    with pytest.raises(ConfigError, match="stage 'shorten'"):
        StageBench(Wrong(ShortenOptions()))
