"""What only the stages themselves know of a configuration: whether they can start, and where requests go."""

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import msgspec
from loguru import logger

from trimtab.config import Config
from trimtab.dialects import DIALECTS
from trimtab.errors import ProxyError
from trimtab.exchange import Exchange, Incoming
from trimtab.memo import MessageTable
from trimtab.pipeline import Pipeline
from trimtab.runtime import StageSet
from trimtab.store import MemoryStore

from .chain import RunClock, trial

_DATA = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_IMAGES: Mapping[str, Any] = {
    "chat": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_DATA}"}},
    "messages": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": _DATA}},
}
"""A picture of one dot, in the dialects that clients speak to any upstream."""


class Checked(NamedTuple):
    """What a trial showed."""

    said: tuple[str, ...]
    """Warnings of the stages while they started."""
    places: Mapping[str, tuple[str, str]]
    """By model: where its requests go, without images and with them."""


def check(config: Config) -> Checked:
    """Start all stages for a moment, on an empty store. Raises ConfigError with everything that keeps them from it."""
    with _warnings() as said:
        places = asyncio.run(_check(config))
    return Checked(tuple(dict.fromkeys(said)), places)


async def _check(config: Config) -> dict[str, tuple[str, str]]:
    clock = RunClock()
    with tempfile.TemporaryDirectory(prefix="trimtab-") as folder:
        stages = StageSet(config, trial(config, folder, clock, MemoryStore(clock)))
        await stages.start()
        try:
            pipeline = stages.pipelines["default"]
            return {
                name: (_places(pipeline, name, images=False), _places(pipeline, name, images=True))
                for name in config.models.models
            }
        finally:
            await stages.stop()


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """The warnings that are logged meanwhile; they go nowhere else."""
    said: list[str] = []
    with suppress(ValueError):
        logger.remove(0)  # loguru's own, which would print them in its own way
    sink = logger.add(lambda message: said.append(message.record["message"]), level="WARNING")
    try:
        yield said
    finally:
        logger.remove(sink)


def _places(pipeline: Pipeline, model: str, *, images: bool) -> str:
    """Where requests for a model go: one place, or one for each dialect."""
    found = {dialect: _place(pipeline, model, dialect, images=images) for dialect in _IMAGES}
    if len(set(found.values())) == 1:
        return found["chat"]
    return ", ".join(f"{dialect}: {place}" for dialect, place in found.items())


def _place(pipeline: Pipeline, model: str, dialect: str, *, images: bool) -> str:
    content = [{"type": "text", "text": "hi"}, *([_IMAGES[dialect]] if images else [])]
    body = msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": content}]})
    exchange = Exchange(
        id="check",
        operation="count",
        incoming=Incoming("POST", f"/v1/{dialect}", peer="127.0.0.1"),
        conversation=DIALECTS[dialect].parse(body, MessageTable(1_000_000)),
        pipeline=pipeline.name,
        resolve=pipeline.target,
    )
    try:
        target = exchange.target
    except ProxyError as error:
        return f"nowhere ({error.message})"
    return target.upstream.name + ("" if target.model.name == model else f" as {target.model.name}")
