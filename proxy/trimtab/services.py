"""What a stage may use beyond its exchange, given to it at start."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from trimtab.economics import Economics
from trimtab.epochs import Epochs
from trimtab.interfaces import Clock, Counters, Rates, Store
from trimtab.memo import FactTable
from trimtab.models import ModelTable


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """The proxy as a stage sees it."""

    models: ModelTable
    clock: Clock
    counters: Counters
    counts: FactTable[Any]
    """Token counts by digest, shared by all conversations."""
    store: Store
    epochs: Epochs
    """Records of edits that reach far back into a conversation."""
    economics: Economics
    """Whether an edit pays."""
    rates: Rates
    workers: int = 1
    """Processes that share the clients; a limit that each counts alone is divided by it."""
    directory: str = "."
    """The folder of the cache, for what a stage keeps in files of its own."""
    spawn: Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"] | None = None
    """Has work done beside the exchanges, which is cancelled at shutdown; None where nothing outlives an exchange."""
    loopback: bool = True
    """Whether only this machine can reach the proxy."""
    dry: bool = False
    """Whether this is a trial (`trimtab check`, `explain`, `replay`): a start hook checks and leaves nothing behind."""
