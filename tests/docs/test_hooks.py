"""docs/hooks.md names everything a stage may use, and its examples work."""

import inspect
import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import msgspec
import pytest

from docs import hook_examples as examples
from docs.pages import blocks, page, rows, section
from trimtab import api
from trimtab.api import (
    BlockStop,
    Clock,
    ConfigError,
    Counters,
    Epochs,
    Exchange,
    FactTable,
    Hooks,
    Model,
    ModelTable,
    Prices,
    Refused,
    Services,
    Stage,
    StageOptions,
    Store,
    Target,
    TextDelta,
    Tokenizer,
    Upstream,
    Usage,
)
from trimtab.registry import stage_class
from trimtab.testing import StageBench

PAGE = "hooks.md"
HOOKS = {name: hook for name, hook in vars(Hooks).items() if not name.startswith("_")}
ROWS_OF_THE_TABLE = (Model, Upstream, Prices, ModelTable)
"""`configuration.md` tells their fields."""


def public(names: Any) -> list[str]:
    return [name for name in names if not name.startswith("_")]


def absent(names: Any, text: str) -> list[str]:
    """Those that do not stand in backticks, alone or as the start of a call or an annotation."""
    return [name for name in public(names) if not any(f"`{name}{end}" in text for end in ("`", "(", ":", " "))]


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_has_its_signature_as_heading(name: str) -> None:
    told = section(PAGE, heading(name))
    for argument in list(inspect.signature(HOOKS[name]).parameters)[1:]:
        assert f"- `{argument}`" in told, f"{name} does not explain {argument}"
    for word in ("Fires", "May change", "Holds", "```python", "Used by"):
        assert word in told, f"{name} says nothing of: {word}"


def heading(name: str) -> str:
    """A hook's signature as it is written in the source."""
    signature = inspect.signature(HOOKS[name])
    arguments = [f"{each.name}: {spelt(each.annotation)}" for each in list(signature.parameters.values())[1:]]
    kind = "async def" if inspect.iscoroutinefunction(HOOKS[name]) else "def"
    return f"`{kind} {name}({', '.join(['self', *arguments])}) -> {spelt(signature.return_annotation)}`"


def spelt(annotation: Any) -> str:
    """An annotation as it is written in the source."""
    if annotation is None:
        return "None"
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation.__name__
    text = str(annotation)
    for module in ("trimtab.exchange", "trimtab.events", "trimtab.hookspecs", "trimtab.models", "collections.abc"):
        text = text.replace(f"{module}.", "")
    return text


def test_every_name_of_the_api_is_on_the_page() -> None:
    assert absent(api.__all__, page(PAGE)) == []


@pytest.mark.parametrize("name", [name for name in api.__all__ if name not in {"Event", "Fact", "StageOptions"}])
def test_every_field_is_on_the_page(name: str) -> None:
    found = getattr(api, name)
    if isinstance(found, type) and issubclass(found, msgspec.Struct) and found not in ROWS_OF_THE_TABLE:
        assert absent(found.__struct_fields__, page(PAGE)) == []


@pytest.mark.parametrize("name", [name for name, found in vars(api).items() if inspect.isclass(found)])
def test_the_fields_of_an_event_stand_in_its_row(name: str) -> None:
    found = getattr(api, name)
    if issubclass(found, api.Event) and found is not api.Event:
        [row] = [cells for cells in rows(section(PAGE, "Events")) if cells[0] == f"`{name}`"]
        assert absent(found.__struct_fields__, row[1]) == []


async def made() -> Exchange:
    async with StageBench() as bench:
        return bench.exchange({"model": "small", "messages": [{"role": "user", "content": "hi"}]})


@pytest.mark.anyio
async def test_every_attribute_of_an_exchange_is_on_the_page() -> None:
    exchange = await made()
    assert absent([*vars(exchange), *vars(Exchange)], section(PAGE, "Exchange")) == []
    head, message = exchange.conversation.head, exchange.conversation.messages[0]
    for noun in (head, message, exchange.conversation):
        assert absent(dir(type(noun)), section(PAGE, "Conversation, Head, Message, blocks")) == []


def test_every_attribute_of_a_stage_is_on_the_page() -> None:
    class Mine(Stage[StageOptions]):
        name = "mine"

    found = [*vars(Stage), *inspect.get_annotations(Stage), *vars(Mine(StageOptions()))]
    assert absent(set(found) - set(HOOKS), section(PAGE, "Stage")) == []


@pytest.mark.parametrize("kind", [Services, Store, Epochs, Clock, Counters, FactTable, ModelTable, Tokenizer])
def test_every_attribute_of_the_services_is_on_the_page(kind: type) -> None:
    names = kind.__struct_fields__ if issubclass(kind, msgspec.Struct) else vars(kind)
    assert absent(names, section(PAGE, "Services")) == []


def test_the_page_shows_the_examples_as_they_stand() -> None:
    source = Path(examples.__file__).read_text("utf-8")
    found = blocks(PAGE, "python")
    assert [block for block in found if block not in source] == []
    shown = "".join(found)
    classes = [found for found in vars(examples).values() if inspect.isclass(found)]
    ours = [found.__name__ for found in classes if found.__module__ == examples.__name__]
    assert [name for name in ours if f"class {name}(" not in shown] == []


@pytest.mark.parametrize("name", HOOKS)
def test_the_built_in_stages_that_use_a_hook_are_named(name: str) -> None:
    told = next(line for line in section(PAGE, heading(name)).splitlines() if line.startswith("Used by"))
    points = [point.name for point in entry_points(group="trimtab") if point.value.startswith("trimtab_stages.")]
    used = {stage for stage in points if hasattr(getattr(stage_class(stage, ""), name), "trimtab_impl")}
    assert set(re.findall(r"[\w-]+", told.removeprefix("Used by:").replace("stages/", "").replace(".md", ""))) == used


HELLO: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "ping"}]}


def rows_with(**models: Model) -> ModelTable:
    return ModelTable({"a": Upstream(dialect="chat", base_url="http://a.test")}, models)


@pytest.mark.anyio
async def test_known_models() -> None:
    async with StageBench(examples.KnownModels(StageOptions())):
        pass
    with pytest.raises(ConfigError, match="no row 'auto'"):
        async with StageBench(examples.KnownModels(StageOptions()), models=rows_with()):
            pass


@pytest.mark.anyio
async def test_cap() -> None:
    async with StageBench(examples.Cap(StageOptions())) as bench:
        for asked, sent in ((5_000, 1_000), (10, 10)):
            exchange = bench.exchange({**HELLO, "max_tokens": asked})
            await bench.request(exchange)
            assert bench.sent(exchange)["max_tokens"] == sent


@pytest.mark.anyio
async def test_pong() -> None:
    async with StageBench(examples.Pong(StageOptions())) as bench:
        reply = await bench.request(bench.exchange(HELLO))
        assert reply is not None
        assert TextDelta("pong") in reply.events
        other = {**HELLO, "messages": [{"role": "user", "content": "hi"}]}
        assert await bench.request(bench.exchange(other)) is None


@pytest.mark.anyio
async def test_small() -> None:
    table = rows_with(small=Model())
    async with StageBench(examples.Small(StageOptions()), models=table) as bench:
        assert bench.exchange(HELLO).target == Target(table.upstreams["a"], Model(name="glm-4.5-air"))
        tools = [{"type": "function", "function": {"name": "read"}}]
        assert bench.exchange({**HELLO, "tools": tools}).target.model.name == "small"


@pytest.mark.anyio
async def test_plain() -> None:
    async with StageBench(examples.Plain(StageOptions())) as bench:
        assert bench.events(bench.exchange(HELLO), TextDelta("a\u2014b"), BlockStop()) == [
            TextDelta("a-b"),
            BlockStop(),
        ]


@pytest.mark.anyio
async def test_meter() -> None:
    async with StageBench(examples.Meter(StageOptions())) as bench:
        exchange = bench.exchange(HELLO)
        bench.done(exchange)
        exchange.outcome.usage = Usage(input=3, cache_read=4)
        bench.done(exchange)
        assert bench.services.counters.snapshot() == {"meter.prompt": 7}


@pytest.mark.anyio
async def test_workers() -> None:
    stage = examples.Workers(StageOptions())
    async with StageBench(stage):
        assert stage.pool.submit(int).result() == 0
    with pytest.raises(RuntimeError, match="shutdown"):
        stage.pool.submit(int)


@pytest.mark.anyio
async def test_teams() -> None:
    async with StageBench(examples.Teams(StageOptions()), examples.TeamsOnly(StageOptions())) as bench:
        assert await bench.request(bench.exchange(HELLO, headers={"x-team": "red"})) is None
        with pytest.raises(Refused, match="x-team"):
            await bench.request(bench.exchange(HELLO))


@pytest.mark.anyio
async def test_titles() -> None:
    async with StageBench(examples.Titles(StageOptions()), answers=["Five words make a title"]) as bench:
        exchange = bench.exchange(HELLO)
        await bench.request(exchange)
        assert bench.asked == []
        await bench.run_later(exchange)
        assert await bench.services.store.get("title", "", exchange.received.messages[0].digest) is not None


@pytest.mark.anyio
async def test_shorter() -> None:
    def session(turns: int) -> dict[str, Any]:
        said = [(role, text) for _ in range(turns) for role, text in (("user", "hi"), ("assistant", "a" * 9_000))]
        messages = [{"role": role, "content": text} for role, text in [*said, ("user", "hi")]]
        return {"model": "small", "messages": messages}

    async with StageBench(examples.Shorter(StageOptions())) as bench:
        lengths = []
        for turns in (1, 3, 4, 5, 6):
            exchange = bench.exchange(session(turns))
            await bench.request(exchange)
            lengths.append([len(message["content"]) for message in bench.sent(exchange)["messages"]][1::2])
    cut, whole = examples.LONGEST, 9_000
    assert lengths == [
        [whole], [whole] * 3, [cut] * 2 + [whole] * 2, [cut] * 2 + [whole] * 3, [cut] * 4 + [whole] * 2,
    ]  # fmt: skip
    assert bench.services.counters.snapshot() == {"epochs.written": 2}
