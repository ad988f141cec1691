"""A stage that cuts the middle out of long tool results."""

from trimtab.api import (
    Block,
    Exchange,
    Message,
    Reply,
    Services,
    Stage,
    StageOptions,
    Text,
    ToolResult,
    hookimpl,
    replace,
)

NOTE = "\n[{} characters left out]\n"
ROOM = 40
"""Characters by which a text may be longer, so that a text that was cut is not cut again."""


class ClipOptions(StageOptions, frozen=True, kw_only=True):
    """The table `[stage.clip]`."""

    limit: int = 20_000
    """Characters that a text in a tool result may have, but for ROOM."""

    def __post_init__(self) -> None:
        if self.limit < 2:
            raise ValueError("limit must be 2 or more")


class Clip(Stage[ClipOptions]):
    """Keeps the start and the end of what is too long."""

    name = "clip"
    Options = ClipOptions
    shapes = True
    optional = True

    @hookimpl
    async def start(self, services: Services) -> None:
        self.counters = services.counters
        self.note = f"{self.label}:{self.options.limit}"

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        for index, message in enumerate(exchange.conversation.messages):
            shorter = self.shorter(message)
            if shorter is not None and exchange.edit(index, shorter, "long tool result"):
                self.counters.add("clip.edits")
        return None

    def shorter(self, message: Message) -> Message | None:
        """The message to send instead, None where it stays; worked out once per message."""
        if self.note not in message.notes:
            blocks = tuple(self.cut(block) for block in message.blocks)
            message.notes[self.note] = None if blocks == message.blocks else message.with_blocks(blocks)
        found: Message | None = message.notes[self.note]
        return found

    def cut(self, block: Block) -> Block:
        if isinstance(block, ToolResult):
            return replace(block, content=tuple(self.clipped(part) for part in block.content))
        return block

    def clipped(self, part: Block) -> Block:
        if not isinstance(part, Text) or len(part.text) <= self.options.limit + ROOM:
            return part
        half = self.options.limit // 2
        gone = len(part.text) - 2 * half
        return replace(part, text=part.text[:half] + NOTE.format(gone) + part.text[-half:])
