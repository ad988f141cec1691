"""What tests may ask of the echo."""

import asyncio

import pytest

from trimtab.echo import Echo, EchoOptions, Recorded

pytestmark = pytest.mark.anyio


async def test_until_wakes_at_every_change() -> None:
    echo = Echo()
    waiting = asyncio.create_task(echo.until(lambda: len(echo.requests) == 2))
    for done in (False, True):
        echo.record(Recorded("GET", "/", "", {}, b""))
        for _ in range(3):
            await asyncio.sleep(0)
        assert waiting.done() is done
    await waiting


async def test_until_returns_at_once_where_it_holds_already() -> None:
    await Echo().wait_aborted(0)


def test_options_stand_for_themselves() -> None:
    options = EchoOptions()
    assert (options.block, options.tool_turns, options.keep, options.window) == (128, 2, 1000, None)
    assert Echo(options).options is options
    assert Echo().options == options
