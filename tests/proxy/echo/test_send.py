"""Sending: pauses, and clients that leave."""

import asyncio
from typing import Any

import pytest

from proxy.echo.client import Client

pytestmark = pytest.mark.anyio

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "say something long"}]}
STREAM = {**BODY, "stream": True}
FOREVER = 10_000.0


@pytest.mark.parametrize("spec_version", ["2.1", "2.4"])
async def test_a_hang_up_ends_the_stream(spec_version: str) -> None:
    client = Client(text_chunk=1)
    answer = await client.call("POST", "/v1/messages", STREAM, hang_up_after=3, spec_version=spec_version)
    await client.echo.wait_aborted()
    assert 3 <= len(answer.messages) <= 5
    assert (client.echo.aborted, client.echo.open_streams) == (1, 0)


@pytest.mark.parametrize("body", [BODY, STREAM])
async def test_a_client_may_leave_before_the_first_byte(body: dict[str, Any]) -> None:
    client = Client(delay=FOREVER)
    answer = await client.call("POST", "/v1/messages", body, hang_up_after=0)
    assert answer.messages == []
    assert client.echo.aborted == 1


async def test_a_client_may_leave_between_two_events() -> None:
    client = Client(chunk_delay=FOREVER)
    answer = await client.call("POST", "/v1/chat/completions", STREAM, hang_up_after=2)
    assert len(answer.messages) == 2
    assert client.echo.aborted == 1


async def test_a_finished_reply_is_not_an_aborted_one() -> None:
    client = Client()
    await client.post("/v1/messages", BODY)
    await client.post("/v1/messages", STREAM)
    assert (client.echo.aborted, client.echo.open_streams) == (0, 0)


async def test_open_streams_are_counted_and_a_cancelled_one_is_aborted() -> None:
    client = Client(chunk_delay=FOREVER)
    calls = [asyncio.create_task(client.post("/v1/messages", STREAM)) for _ in range(3)]
    await client.echo.until(lambda: client.echo.open_streams == 3)
    waiting = asyncio.create_task(client.echo.wait_aborted(3))
    for call in calls:
        call.cancel()
    await waiting
    await asyncio.gather(*calls, return_exceptions=True)
    assert (client.echo.aborted, client.echo.open_streams) == (3, 0)


async def test_each_event_is_one_message_and_pauses_lie_between(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", noted)
    answer = await Client(delay=5.0, chunk_delay=2.0).post("/v1/messages", STREAM)
    events = [message["body"] for message in answer.messages[1:-1]]
    assert all(event.count(b"\n\n") == 1 for event in events)
    assert pauses == [5.0, 0.0] + [2.0] * (len(events) - 1)
