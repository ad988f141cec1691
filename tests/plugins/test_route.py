"""Where requests go, and what is written into them."""

from typing import Any, NamedTuple

import msgspec
import pytest

from trimtab.api import (
    BadRequest,
    Exchange,
    Model,
    ModelTable,
    Reply,
    Services,
    Stage,
    StageOptions,
    Target,
    Upstream,
    hookimpl,
)
from trimtab.testing import StageBench
from trimtab_stages.route import Route, RouteOptions

BLIND = {
    "plan-messages": Upstream(
        dialect="messages", base_url="http://m.test", images=False, image_upstream="plan-chat", drop=("metadata",)
    ),
    "plan-chat": Upstream(dialect="chat", base_url="http://c.test", thinking=True, drop=("store", "user")),
    "local": Upstream(dialect="chat", base_url="http://l.test", include_usage=True),
}
MODELS = {
    "auto": Model(text="text", vision="eyes"),
    "text": Model(upstreams={"messages": "plan-messages", "chat": "plan-chat"}, vision="eyes", thinking="choice"),
    "deep": Model(upstreams={"messages": "plan-messages", "chat": "plan-chat"}, thinking="default"),
    "stern": Model(upstreams={"chat": "plan-chat"}, thinking="always", drop=("temperature",)),
    "eyes": Model(upstreams={"chat": "plan-chat"}, images=True, thinking="choice"),
    "house": Model(upstreams={"chat": "local"}),
    "odd-openai": Model(upstreams={"messages": "plan-messages"}),
}
IMAGES = {
    "chat": {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
    "messages": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
}


def models() -> ModelTable:
    return ModelTable(BLIND, MODELS)


def body(model: str, dialect: str, *, image: bool = False, **members: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": "look"}, IMAGES[dialect]] if image else "hello"
    return {"model": model, "messages": [{"role": "user", "content": content}], **members}


class Ask(NamedTuple):
    """A request, and where it belongs."""

    model: str
    dialect: str
    image: bool
    endpoint: str
    to: tuple[str, str]


ASKS = [
    # Text goes to the first upstream of the row, whatever the client speaks.
    Ask("auto", "messages", False, "auto", ("plan-messages", "text")),
    Ask("auto", "chat", False, "auto", ("plan-messages", "text")),
    Ask("text", "chat", False, "anthropic", ("plan-messages", "text")),
    Ask("text", "messages", False, "openai", ("plan-chat", "text")),
    Ask("auto", "messages", False, "openai", ("plan-chat", "text")),
    # A suffix is stronger than the option.
    Ask("text-openai", "messages", False, "anthropic", ("plan-chat", "text")),
    Ask("text-anthropic", "chat", False, "openai", ("plan-messages", "text")),
    Ask("auto-openai", "chat", False, "auto", ("plan-chat", "text")),
    # A row with that name is no suffix.
    Ask("odd-openai", "chat", False, "auto", ("plan-messages", "odd-openai")),
    Ask("-openai", "chat", False, "auto", ("plan-chat", "-openai")),
    # Images go where they are seen, by option or suffix or not.
    Ask("auto", "messages", True, "auto", ("plan-chat", "eyes")),
    Ask("text", "messages", True, "anthropic", ("plan-chat", "eyes")),
    Ask("text-anthropic", "messages", True, "auto", ("plan-chat", "eyes")),
    Ask("eyes", "chat", True, "anthropic", ("plan-chat", "eyes")),
    Ask("eyes-anthropic", "messages", True, "auto", ("plan-chat", "eyes")),
    Ask("house", "chat", True, "auto", ("local", "house")),
    Ask("deep", "messages", True, "auto", ("plan-chat", "eyes")),
    # A model with one endpoint stays there.
    Ask("eyes", "messages", False, "anthropic", ("plan-chat", "eyes")),
    # Models nobody knows go to the client's own dialect under their own name.
    Ask("new", "messages", False, "auto", ("plan-messages", "new")),
    Ask("new", "chat", False, "auto", ("plan-chat", "new")),
    Ask("new-openai", "messages", False, "auto", ("plan-chat", "new")),
    Ask("new-anthropic", "chat", False, "auto", ("plan-messages", "new")),
    Ask("new", "chat", True, "auto", ("plan-chat", "new")),
    # Except where that upstream is blind: then to the vision model of `auto`.
    Ask("new", "messages", True, "auto", ("plan-chat", "eyes")),
    Ask("new-anthropic", "messages", True, "auto", ("plan-chat", "eyes")),
]


def route(**options: Any) -> Route:
    return Route(RouteOptions(**options))


@pytest.mark.anyio
@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: "-".join(str(part) for part in ask[:4]))
async def test_where_it_goes(ask: Ask) -> None:
    async with StageBench(route(text_endpoint=ask.endpoint), models=models()) as bench:
        exchange = bench.exchange(body(ask.model, ask.dialect, image=ask.image), dialect=ask.dialect)
        target = exchange.target
        await bench.request(exchange)
    assert (target.upstream.name, target.model.name) == ask.to
    # A pure function of what was asked: the answer stays when the model's name was written.
    assert exchange.target == target
    assert exchange.conversation.model == ask.to[1]
    assert bench.sent(exchange)["model"] == ask.to[1]


@pytest.mark.anyio
async def test_the_shipped_table_in_short() -> None:
    async with StageBench(route()) as bench:
        text = bench.exchange(body("auto", "messages"), dialect="messages").target
        image = bench.exchange(body("auto", "messages", image=True), dialect="messages").target
    assert (text.upstream.name, text.model.name) == ("text", "small")
    assert (image.upstream.name, image.model.name) == ("images", "eyes")


@pytest.mark.anyio
async def test_an_image_in_an_old_tool_result_counts() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": [IMAGES["messages"]]}
    turns = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "see", "input": {}}]},
        {"role": "user", "content": [result]},
    ]
    async with StageBench(route(), models=models()) as bench:
        exchange = bench.exchange({"model": "text", "messages": turns}, dialect="messages")
        assert exchange.target.model.name == "eyes"
        exchange.edit(2, None, "aged")
        assert exchange.target.model.name == "text"


@pytest.mark.anyio
async def test_a_request_that_needs_no_change_leaves_as_it_came() -> None:
    raw = b'{ "messages":[ {"role":"user","content":"hi"} ], "model" : "t\\u0065xt" ,"x":1.0}'
    async with StageBench(route(), models=models()) as bench:
        exchange = bench.exchange(raw, dialect="messages")
        await bench.request(exchange)
    assert (exchange.conversation.render(), exchange.edits) == (raw, [])


async def routed(model: str, dialect: str = "chat", *, image: bool = False, **members: Any) -> Exchange:
    stage = route(thinking=members.pop("thinking_option")) if "thinking_option" in members else route()
    async with StageBench(stage, models=models()) as bench:
        exchange = bench.exchange(body(model, dialect, image=image, **members), dialect=dialect)
        await bench.request(exchange)
    return exchange


def told(exchange: Exchange) -> dict[str, Any]:
    return {
        edit.member or "": msgspec.json.decode(edit.after) for edit in exchange.edits if isinstance(edit.after, bytes)
    }


@pytest.mark.anyio
@pytest.mark.parametrize("model", ["text-openai", "deep-openai", "eyes"])
async def test_thinking_is_asked_for_where_it_may_and_nobody_spoke_of_it(model: str) -> None:
    exchange = await routed(model)
    assert StageBench.sent(exchange)["thinking"] == {"type": "enabled"}
    assert told(exchange)["thinking"] == {"type": "enabled"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("model", "members"),
    [
        ("text-openai", {"thinking": {"type": "disabled"}}),
        ("text-openai", {"thinking": None}),
        ("text-openai", {"reasoning_effort": "low"}),
        ("text-openai", {"thinking_option": False}),
        ("stern", {}),
        ("house", {}),
        ("new", {}),
    ],
)
async def test_thinking_is_not_asked_for_otherwise(model: str, members: dict[str, Any]) -> None:
    exchange = await routed(model, **members)
    assert "thinking" not in told(exchange)
    assert StageBench.sent(exchange).get("thinking") == members.get("thinking")


@pytest.mark.anyio
async def test_the_messages_endpoint_is_not_asked_to_think() -> None:
    exchange = await routed("text", "messages")
    assert (exchange.conversation.model, exchange.edits) == ("text", [])


@pytest.mark.anyio
async def test_what_an_upstream_or_a_model_refuses_is_dropped_and_named() -> None:
    exchange = await routed("stern", store=True, user="u", temperature=0.5, top_p=0.9)
    sent = StageBench.sent(exchange)
    assert sent.keys() & {"store", "user", "temperature", "top_p"} == {"top_p"}
    assert exchange.dropped == ["store", "user", "temperature"]
    assert [edit.member for edit in exchange.edits] == ["store", "user", "temperature"]
    assert (await routed("text", "messages", metadata={"user_id": "u"})).dropped == ["metadata"]
    assert (await routed("new")).dropped == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("members", "sent"),
    [
        ({"stream": True}, {"include_usage": True}),
        ({"stream": True, "stream_options": None}, {"include_usage": True}),
        ({"stream": True, "stream_options": {"x": 1}}, {"x": 1, "include_usage": True}),
        ({"stream": True, "stream_options": {"include_usage": False}}, {"include_usage": True}),
        ({"stream": True, "stream_options": {"include_usage": True}}, {"include_usage": True}),
        ({"stream": True, "stream_options": "odd"}, "odd"),
        ({"stream": False}, None),
        ({}, None),
    ],
)
async def test_usage_is_asked_for_in_streams(members: dict[str, Any], sent: Any) -> None:
    exchange = await routed("house", **members)
    assert StageBench.sent(exchange).get("stream_options") == sent
    assert ("stream_options" in told(exchange)) is (sent != members.get("stream_options"))


@pytest.mark.anyio
async def test_usage_is_not_asked_for_where_it_comes_by_itself() -> None:
    assert "stream_options" not in told(await routed("text-openai", stream=True))


@pytest.mark.anyio
async def test_edits_stand_in_the_ledger_in_one_order_with_their_reasons() -> None:
    exchange = await routed("auto-openai", store=True)
    assert [(edit.stage, edit.member, edit.reason) for edit in exchange.edits] == [
        ("route", "model", "served by upstream 'plan-chat'"),
        ("route", "thinking", "route.thinking"),
        ("route", "store", "refused by upstream 'plan-chat'"),
    ]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("members", "asks"),
    [
        ({}, True),
        ({"output_config": {"format": None}}, True),
        ({"output_config": {"effort": "low"}}, False),
        ({"thinking": {"type": "disabled"}}, False),
        ({"reasoning": {"effort": "low"}}, False),
    ],
)
async def test_a_body_that_has_to_be_translated_asks_for_thought_and_gets_nothing_else(
    members: dict[str, Any], *, asks: bool
) -> None:
    exchange = await routed("auto-openai", "messages", metadata={"user_id": "u"}, **members)
    assert exchange.target.dialect == "chat"
    assert [edit.member for edit in exchange.edits] == ["model", *(["thinking"] if asks else [])]


@pytest.mark.anyio
async def test_a_request_to_summarise_is_routed_too() -> None:
    async with StageBench(route(), models=models()) as bench:
        exchange = bench.exchange(body("auto-openai", "chat"), headers={"x-request-compaction": "true"})
        await bench.request(exchange)
    assert exchange.compaction
    assert exchange.conversation.model == "text"


class Renames(Stage[StageOptions]):
    """A third party's stage that asks for another model."""

    name = "renames"

    def __init__(self, model: str) -> None:
        super().__init__(StageOptions())
        self.model = model

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        exchange.set_member("model", self.model, "cheaper")
        return None


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("model", "to"),
    [("house", ("local", "house")), ("text-openai", ("plan-chat", "text")), ("auto", ("plan-messages", "text"))],
)
async def test_a_model_that_an_earlier_stage_chose_is_asked_for(model: str, to: tuple[str, str]) -> None:
    async with StageBench(Renames(model), route(), models=models()) as bench:
        exchange = bench.exchange(body("deep", "chat"))
        await bench.request(exchange)
        target = exchange.target
    assert (target.upstream.name, target.model.name) == to
    assert bench.sent(exchange)["model"] == to[1]


class Router(Stage[StageOptions]):
    """A third party's router."""

    name = "router"
    models: ModelTable

    @hookimpl
    async def start(self, services: Services) -> None:
        self.models = services.models

    @hookimpl
    def target(self, exchange: Exchange) -> Target | None:
        if exchange.conversation.model == "deep":
            return None
        return Target(self.models.upstreams["local"], self.models.model("house"))


@pytest.mark.anyio
async def test_a_third_partys_router_is_obeyed_by_all() -> None:
    async with StageBench(Router(StageOptions()), route(), models=models()) as bench:
        exchange = bench.exchange(body("text", "chat", stream=True))
        await bench.request(exchange)
        assert (exchange.target.upstream.name, bench.sent(exchange)["model"]) == ("local", "house")
        assert bench.sent(exchange)["stream_options"] == {"include_usage": True}
        passed = bench.exchange(body("deep", "chat"))
        await bench.request(passed)
        assert passed.target.upstream.name == "plan-messages"


@pytest.mark.anyio
async def test_without_route_the_table_decides() -> None:
    async with StageBench(models=models()) as bench:
        for model, image, to in (
            ("auto", False, ("plan-messages", "text")),
            ("auto", True, ("plan-chat", "eyes")),
            ("new", False, ("plan-messages", "new")),
        ):
            target = bench.exchange(body(model, "messages", image=image), dialect="messages").target
            assert (target.upstream.name, target.model.name) == to


@pytest.mark.anyio
async def test_a_dialect_that_nobody_speaks_is_translated_for_ones_own_upstream() -> None:
    alone = ModelTable({"local": BLIND["local"]}, {})
    async with StageBench(route(), models=alone) as bench:
        exchange = bench.exchange(body("new", "messages"), dialect="messages")
        await bench.request(exchange)
        assert (exchange.target.upstream.name, exchange.target.dialect) == ("local", "chat")


@pytest.mark.anyio
async def test_a_dialect_that_nobody_speaks_is_said() -> None:
    shipped = ModelTable({"local": msgspec.structs.replace(BLIND["local"], shipped=True)}, {})
    async with StageBench(route(), models=shipped) as bench:
        exchange = bench.exchange(body("new", "messages"), dialect="messages")
        with pytest.raises(BadRequest, match="no upstream speaks messages"):
            await bench.request(exchange)


def test_an_endpoint_that_does_not_exist_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="text-endpoint"):
        msgspec.convert({"text-endpoint": "chat"}, RouteOptions)
