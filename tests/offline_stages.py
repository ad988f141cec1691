"""Stages that edit in ways of their own, and a configuration of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fake_stages import install
from trimtab.api import Cause, Exchange, Prompt, Refused, Reply, Services, Stage, StageOptions, Text, hookimpl
from trimtab.config import Config, load

Options = StageOptions


class Cut(Stage[Options]):
    """Takes the word "again" out of every message but the assistant's."""

    name = "cut"

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        for index, message in enumerate(exchange.conversation.messages):
            if message.role == "user" and b"again" in message.raw:
                exchange.edit(index, type(message)(message.codec, "user", message.raw.replace(b" again", b"")), "said")
        return None


class Count(Stage[Options]):
    """Writes the number of messages into the first one, a new prefix with every request, and keeps a record of it."""

    name = "count"

    @hookimpl
    async def start(self, services: Services) -> None:
        self.store = services.store

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        first, number = exchange.conversation.messages[0], len(exchange.conversation.messages)
        exchange.edit(0, first.with_blocks([Text(text=f"request {number}")]), "numbered")
        if number > 5:
            await self.store.add("epoch", "t", str(number).encode(), b"{}")
        return None


class Ask(Stage[Options]):
    """Asks a model, now and later; goes on without it."""

    name = "ask"
    optional = True

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        async def later() -> None:
            await exchange.ask("m", Prompt(content=(Text(text="?"),)))

        exchange.later(later)
        await later()
        return None


class Guard(Stage[Options]):
    """Lets nobody in."""

    name = "guard"

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        raise Refused("show a key", cause=Cause.AUTHENTICATION)


class Full(Stage[Options]):
    """Says that everything is too long."""

    name = "full"

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        raise Refused("too long", cause=Cause.OVERFLOW)


class Broken(Stage[Options]):
    """Cannot start."""

    name = "broken"

    @hookimpl
    async def start(self, services: Services) -> None:
        raise RuntimeError("no disk")


STAGES: Mapping[str, Any] = {stage.name: stage for stage in (Cut, Count, Ask, Guard, Full, Broken)}


def configured(monkeypatch: pytest.MonkeyPatch, folder: Path, *stages: str, more: str = "") -> Config:
    """A configuration with one pipeline of these stages, and an upstream that nobody listens at."""
    install(monkeypatch, **STAGES)
    monkeypatch.chdir(folder)
    path = folder / "pipelines.toml"
    path.write_text(f"[pipeline.default]\nstages = {msgspec.json.encode(stages).decode()}\n{more}")
    return load(path, environ={})
