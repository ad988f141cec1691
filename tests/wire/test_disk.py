"""What a session asks of the store: nothing on the way of a request, once its first turns are over."""

import json
from pathlib import Path
from typing import Any

import pytest

from condensing import requests, session
from trimtab.store import MemoryStore
from wire.harness import echoing, post, proxying

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("path", "model"), [("/v1/messages", "glm-4.6"), ("/v1/messages", "glm-4.6-openai")])
async def test_a_turn_waits_for_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, model: str) -> None:
    calls: list[str] = []

    def noting(name: str) -> None:
        before = getattr(MemoryStore, name)

        async def call(self: MemoryStore, kind: str, *arguments: Any, **named: Any) -> Any:
            calls.append(f"{name} {kind}")
            return await before(self, kind, *arguments, **named)

        monkeypatch.setattr(MemoryStore, name, call)

    for name in ("get", "put", "add"):
        noting(name)
    made = [*requests(session(24, "messages", size=2_000))]
    told: list[list[str]] = []
    async with echoing() as (url, _), proxying(tmp_path, url) as proxy:
        for messages in made:
            body = {"model": model, "max_tokens": 64, "stream": False, "messages": messages}
            answer = await post(proxy.url, path, json.dumps(body).encode())
            assert answer.status == 200
            await proxy.runtime.settled()
            told.append(calls[:])
            calls.clear()
    assert told[0], "the first turn looks at what was learnt before"
    assert sum(map(len, told[4:])) <= 3, told
    assert not [call for turn in told[4:] for call in turn if call.startswith("get")], told
