"""The kit finds what a stage breaks, and has nothing against one that breaks nothing."""

from itertools import pairwise
from typing import Any

import pytest

from trimtab.api import (
    Epoch,
    Exchange,
    ModelTable,
    Owner,
    Refused,
    Rendered,
    Reply,
    Services,
    Stage,
    StageOptions,
    Target,
    Text,
    ToolResult,
    ToolUse,
    fingerprint,
    hookimpl,
    replace,
)
from trimtab.conformance import LAWS
from trimtab.testing import conform, table

pytestmark = pytest.mark.anyio


class Tried(Stage[StageOptions]):
    """Edits texts of tool results by `change(exchange, index, text)`."""

    name = "tried"
    optional = True
    shapes = True

    def __init__(self) -> None:
        super().__init__(StageOptions())

    @hookimpl
    async def start(self, services: Services) -> None:
        self.services = services

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        for index, message in enumerate(exchange.conversation.messages):
            blocks = tuple(self.block(exchange, index, block) for block in message.blocks)
            if blocks != message.blocks:
                exchange.edit(index, message.with_blocks(blocks), "tried")
        return None

    def block(self, exchange: Exchange, index: int, block: Any) -> Any:
        if isinstance(block, ToolResult):
            return replace(block, content=tuple(self.block(exchange, index, part) for part in block.content))
        if isinstance(block, Text) and exchange.conversation.messages[index].role in ("user", "tool"):
            return replace(block, text=self.change(exchange, index, block.text))
        return block

    def change(self, exchange: Exchange, index: int, text: str) -> str:
        return text


class Idle(Tried):
    """Does nothing."""


class Short(Tried):
    """Cuts long texts: a function of each text alone."""

    def change(self, exchange: Exchange, index: int, text: str) -> str:
        return text[:50] or text


class Timed(Tried):
    """Puts the time in."""

    def change(self, exchange: Exchange, index: int, text: str) -> str:
        return f"{int(self.services.clock.now())} {text[10:]}"


class Waiting(Tried):
    """Edits what comes after a while, when the provider has forgotten it."""

    last = 0.0

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        now = self.services.clock.monotonic()
        self.late, self.last = now - self.last > 300, now
        return await super().request(exchange)

    def change(self, exchange: Exchange, index: int, text: str) -> str:
        return text[:50] if self.late else text


class Dated(Tried):
    """Edits until a day."""

    def change(self, exchange: Exchange, index: int, text: str) -> str:
        return text if self.services.clock.now() >= 1_750_000_000 + 86_000 else text[:50]


class Stored(Tried):
    """Needs a store that works: else it says no, in one way or the other."""

    replies = False

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        try:
            await self.services.store.get("mine", "", b"key")
        except OSError as error:
            if self.replies:
                return Reply(rendered=Rendered(503, {}, b"{}"))
            raise Refused("the store is down") from error
        return None


class Replying(Stored):
    """The same by a reply."""

    replies = True


class Eager(Tried):
    """Shortens a client's own request to summarise, by a way around `edit`."""

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        messages = exchange.conversation.messages
        if exchange.compaction and b"cache_control" not in messages[0].raw:
            first = messages[0].with_blocks([Text(text="x")])
            exchange.conversation = exchange.conversation.with_messages([first, *messages[1:]])
        return None


class Tripping(Tried):
    """Fails when all is done."""

    @hookimpl
    def done(self, exchange: Exchange) -> None:
        raise RuntimeError("too late")


class Sliding(Tried):
    """Keeps the last three messages whole, so that what was sent changes with every request."""

    def change(self, exchange: Exchange, index: int, text: str) -> str:
        return text if index > len(exchange.conversation.messages) - 4 else text[:20] + "."


class Growing(Tried):
    """Adds a line at every pass."""

    def change(self, exchange: Exchange, index: int, text: str) -> str:
        return f"{text}\nmore"


class Counting(Tried):
    """Leaves requests that count as they are."""

    def change(self, exchange: Exchange, index: int, text: str) -> str:
        return text if exchange.operation == "count" else text[:50]


class Raising(Tried):
    """Fails where a text is long."""

    def change(self, exchange: Exchange, index: int, text: str) -> str:
        if len(text) > 500:
            raise RuntimeError("too long for me")
        return text


class Breaking(Tried):
    """Takes calls out."""

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        for index, message in enumerate(exchange.conversation.messages):
            if message.has(ToolUse):
                left = [block for block in message.blocks if not isinstance(block, ToolUse)]
                exchange.edit(index, message.with_blocks(left or [Text(text="x")]), "tried")
        return None


class Fragile(Tried):
    """Not optional, and yet it may not fail; it is left out of `fail-open`."""

    optional = False


class Epochal(Tried):
    """Cuts old texts at epochs."""

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        epochs, owner = self.services.epochs, Owner(self.name, fingerprint())
        boundary = epochs.at(exchange, owner, step=4_000)
        self.frontier = 0
        if boundary is not None:
            epoch = await epochs.get(exchange, boundary)
            if epoch is None:
                held = await epochs.previous(exchange, boundary) or Epoch()
                far = boundary.messages - held.messages > 12
                wanted = Epoch(form="cut", messages=boundary.messages) if far else held
                epoch = await epochs.settle(exchange, boundary, wanted)
            self.frontier = epoch.messages
        return await super().request(exchange)

    def change(self, exchange: Exchange, index: int, text: str) -> str:
        return text if index >= self.frontier else text[:50]


@pytest.mark.parametrize("kind", [Idle, Short, Fragile])
async def test_what_breaks_nothing_passes(kind: type[Tried]) -> None:
    report = await conform(kind, number=8)
    assert report.requests > 20
    assert (report.edited > 0) is (kind is Short)
    assert (report.epochs, report.faults) == (0, ())


async def test_epochs_pass() -> None:
    report = await conform(Epochal, number=24, without=["idempotence"])
    assert report.epochs > 0


@pytest.mark.parametrize(
    ("kind", "law", "told"),
    [
        (Timed, "purity", "another worker sends other bytes"),
        (Waiting, "purity", "another worker sends other bytes"),
        (Dated, "purity", "another worker sends other bytes"),
        (Sliding, "prefix", "requests changed what was sent before their last turn"),
        (Growing, "idempotence", "a second pass changes what the first one made"),
        (Counting, "count", "a request that counts has other edits"),
        (Raising, "runs", "undone: RuntimeError at"),
        (Breaking, "runs", "a tool call was changed"),
        (Tripping, "runs", "`done` failed"),
        (Stored, "fail-open", "the request failed: Refused: the store is down"),
        (Replying, "fail-open", "the request was answered with 503"),
        (Eager, "summary", "a client's own request to summarise was edited"),
    ],
)
async def test_what_is_broken_is_told(kind: type[Tried], law: str, told: str) -> None:
    with pytest.raises(AssertionError) as caught:
        await conform(kind, number=10)
    where = "a store that fails" if law == "fail-open" else "seed 0, conversation"
    [line] = [line for line in str(caught.value).splitlines() if line.startswith(f"{law}: {where}")]
    assert told in line


def test_each_law_has_a_stage_that_breaks_it() -> None:
    mark = next(mark for mark in test_what_is_broken_is_told.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    assert {law for _, law, _ in mark.args[1]} == {*LAWS}


async def test_a_law_can_be_left_out() -> None:
    assert (await conform(Growing, number=8, without=["idempotence"])).edited > 0
    with pytest.raises(AssertionError):
        await conform(Timed, number=8, without=[law for law in LAWS if law != "purity"])


async def test_the_strict_law_keeps_the_last_turn_too() -> None:
    class Late(Tried):
        def change(self, exchange: Exchange, index: int, text: str) -> str:
            return text if index + 1 == len(exchange.conversation.messages) else text[:50]

    await conform(Late, number=8)
    with pytest.raises(AssertionError, match="prefix"):
        await conform(Late, number=8, append_only=True)


async def test_a_stage_that_records_what_it_counts_is_found() -> None:
    class Writing(Tried):
        @hookimpl
        async def request(self, exchange: Exchange) -> Reply | None:
            if exchange.operation == "count":
                await self.services.store.put("mine", "", exchange.received.render()[-64:], b"1")
            return None

    with pytest.raises(AssertionError, match="a request that counts wrote a record"):
        await conform(Writing, number=8)


class Obeying(Tried):
    """Cuts texts by whatever record stands at the first boundary; each later request tries to write one."""

    forced = True

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        epochs, messages = self.services.epochs, exchange.received.messages
        place = epochs.before(exchange, Owner(self.name, fingerprint(), forced=self.forced), 1)
        if place is None:
            return None
        epoch = await epochs.get(exchange, place)
        if epoch is None and len(messages) > 8:
            epoch = await epochs.settle(exchange, place, Epoch(form="cut", messages=1, forced=self.forced))
        self.cut = epoch is not None
        return await super().request(exchange)

    def change(self, exchange: Exchange, index: int, text: str) -> str:
        return text[:50] if self.cut else text


class Saving(Obeying):
    """Old requests obey what later ones wrote, and nobody was forced."""

    forced = False


class Remembering(Obeying):
    """Obeys forced records, and puts the number of requests that its worker has seen into a text."""

    seen = 0

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        self.seen += exchange.operation == "generate"
        return await super().request(exchange)

    def change(self, exchange: Exchange, index: int, text: str) -> str:
        known = super().change(exchange, index, text)
        return f"{known} {self.seen}" if self.cut and len(exchange.conversation.messages) < 5 else known


async def test_an_old_request_obeys_the_forced_record_of_a_later_one_and_no_other() -> None:
    assert (await conform(Obeying, number=10)).edited > 0
    told = "request .*: a worker that met the later requests first sends other bytes"
    for kind in (Saving, Remembering):
        with pytest.raises(AssertionError, match=f"purity: seed 0, conversation .*{told}"):
            await conform(kind, number=10)


async def test_edits_may_differ_from_target_to_target() -> None:
    """A conversation that gets an image goes elsewhere, where nothing of it is cached."""

    class Aimed(Tried):
        def change(self, exchange: Exchange, index: int, text: str) -> str:
            return text.upper() if exchange.target.model.name == "eyes" else text

    report = await conform(Aimed, number=30)
    assert report.edited > 0


class Turning(Sliding):
    """Two models answer by turns, so that no request goes where the one before it went."""

    optional = True
    sliding = True

    @hookimpl
    def target(self, exchange: Exchange) -> Target | None:
        models, messages = self.services.models, exchange.received.messages
        turns = sum(after.role == "assistant" != before.role for before, after in pairwise(messages))
        model = models.model(("small", "other")[turns % 2])
        return Target(models.upstream(model, exchange.dialect), model)

    def change(self, exchange: Exchange, index: int, text: str) -> str:
        return super().change(exchange, index, text) if self.sliding else text[:50] or text


class Steady(Turning):
    """The same, without edits that change."""

    sliding = False


async def test_what_went_to_a_target_before_is_compared_whatever_went_elsewhere_meanwhile() -> None:
    small = table().models["small"]
    models = ModelTable(table().upstreams, {"small": small, "other": small})
    assert (await conform(Steady, number=8, models=models)).edited > 0
    with pytest.raises(AssertionError, match=r"prefix: .* changed what was sent before their last turn"):
        await conform(Turning, number=8, models=models)
