"""Two stages as a third party would ship them: a router and an editor."""

from trimtab.api import Exchange, Reply, Services, Stage, StageOptions, Target, Text, hookimpl, replace


class DetourOptions(StageOptions, frozen=True, kw_only=True):
    """The table `[stage.detour]`."""

    model: str
    """The model that answers instead."""


class Detour(Stage[DetourOptions]):
    """Sends everything to one model of the table, in the client's own dialect."""

    name = "detour"
    Options = DetourOptions
    shapes = True

    @hookimpl
    async def start(self, services: Services) -> None:
        self.models = services.models

    @hookimpl
    def target(self, exchange: Exchange) -> Target | None:
        model = self.models.model(self.options.model)
        return Target(self.models.upstream(model, exchange.dialect), model)


class ShortenOptions(StageOptions, frozen=True, kw_only=True):
    """The table `[stage.shorten]`."""

    limit: int = 100
    """Characters that a text of a user may have."""


class Shorten(Stage[ShortenOptions]):
    """Cuts the texts of users."""

    name = "shorten"
    Options = ShortenOptions
    shapes = True
    optional = True

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        for index, message in enumerate(exchange.conversation.messages):
            if message.role == "user":
                cut = [
                    replace(block, text=block.text[: self.options.limit]) if isinstance(block, Text) else block
                    for block in message.blocks
                ]
                if tuple(cut) != message.blocks:
                    exchange.edit(index, message.with_blocks(cut), "shortened")
        return None
