# mypy: disable-error-code="import-not-found"
"""What clip cuts, and what it leaves alone."""

import asyncio
from typing import Any

from trimtab_clip import Clip, ClipOptions

from trimtab.testing import StageBench, conform

CALL = {"id": "c1", "type": "function", "function": {"name": "read", "arguments": "{}"}}


def body(result: str) -> dict[str, Any]:
    """A request of the chat dialect in which a tool has answered."""
    return {
        "model": "small",
        "messages": [
            {"role": "user", "content": "read the file " * 10},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": result},
        ],
    }


async def sent(request: dict[str, Any], limit: int) -> Any:
    async with StageBench(Clip(ClipOptions(limit=limit))) as bench:
        exchange = bench.exchange(request)
        await bench.request(exchange)
        return bench.sent(exchange)


def test_a_long_result_keeps_its_ends() -> None:
    request = body("a" * 50 + "b" * 50)
    expected = body("aaaa\n[92 characters left out]\nbbbb")
    assert asyncio.run(sent(request, limit=8)) == expected


def test_a_short_result_and_other_texts_stay() -> None:
    request = body("a" * 8)
    assert asyncio.run(sent(request, limit=8)) == request


def test_it_keeps_the_laws() -> None:
    report = asyncio.run(conform(lambda: Clip(ClipOptions(limit=200)), append_only=True))
    assert report.edited > 0
