"""Agents that know what they must be answered, for chaos.py."""

import asyncio
import json
import random
from collections import Counter
from contextlib import suppress
from time import perf_counter

from .flapping import encoded
from .talk import Said, read_answer

HANGS_AFTER = 30.0
"""Seconds after which a request hangs: more than all waits and retries of the proxy together."""


class Clients:
    """The agents: each asks again and again, and judges what it gets."""

    def __init__(self, port: int, until: float) -> None:
        self._port = port
        self._until = until
        self.kills: list[float] = []
        """When a worker was killed: what was under way in it is cut."""
        self.ends: Counter[str] = Counter()
        self.violations: list[str] = []
        self.slowest = 0.0

    async def one(self, name: int) -> None:
        """One client."""
        rng, link, turn = random.Random(name), None, 0
        while perf_counter() < self._until:
            turn += 1
            word = f"client {name} turn {turn} " + "x" * rng.randrange(200)
            chat, stream = rng.random() < 0.5, rng.random() < 0.6
            begun = perf_counter()
            try:
                async with asyncio.timeout(HANGS_AFTER):
                    if link is None:
                        link = await asyncio.open_connection("127.0.0.1", self._port, limit=2**22)
                    said = await self._ask(link, word, chat, stream)
            except TimeoutError:
                self._wrong("hangs", f"{word[:30]} chat={chat} stream={stream}")
                said = None
            except OSError as error:
                if not self._killed(begun):
                    self._wrong("connection", repr(error))
                said = None
            self.slowest = max(self.slowest, perf_counter() - begun)
            if (said is None or not said.whole) and self._killed(begun):
                self.ends["cut with its worker"] += 1
            else:
                self._judge(said, word, chat, stream)
            if link is not None and (said is None or not said.whole or b"connection: close" in said.head.lower()):
                link[1].close()
                link = None
            await asyncio.sleep(rng.random() * 0.2)
        if link is not None:
            link[1].close()

    def _killed(self, begun: float) -> bool:
        """Whether a worker was killed while a request was under way, or just before on a connection of its own."""
        return any(kill >= begun - 1 for kill in self.kills)

    async def _ask(
        self, link: tuple[asyncio.StreamReader, asyncio.StreamWriter], word: str, chat: bool, stream: bool
    ) -> Said | None:
        reader, writer = link
        body = encoded(
            {
                "model": "glm-4.6",
                "max_tokens": 9,
                "stream": stream,
                "messages": [*_history(word), {"role": "user", "content": word}],
            }
        )
        path = "/v1/chat/completions" if chat else "/v1/messages"
        fields = f"host: 127.0.0.1\r\nauthorization: Bearer k\r\ncontent-length: {len(body)}\r\n"
        writer.write(f"POST {path} HTTP/1.1\r\n{fields}\r\n".encode() + body)
        return await read_answer(reader)

    def _judge(self, said: Said | None, word: str, chat: bool, stream: bool) -> None:
        if said is None:
            self._wrong("no answer", word[:30])
        elif said.status != 200:
            self._error(said, chat)
        elif stream:
            self._streamed(said, word, chat)
        elif not said.whole or word not in _text(said.body, chat):
            self._wrong("a wrong reply", f"{word[:30]}: {said.body[:200]!r}")
        else:
            self.ends["reply"] += 1

    def _error(self, said: Said, chat: bool) -> None:
        try:
            found = json.loads(said.body)
            right = isinstance(found["error"]["message"], str) and (chat or found["type"] == "error")
        except (ValueError, KeyError, TypeError):
            right = False
        if right and said.whole:
            self.ends[f"error {said.status}"] += 1
        else:
            self._wrong("a wrong error", f"{said.status} {said.body[:200]!r}")

    def _streamed(self, said: Said, word: str, chat: bool) -> None:
        done = said.body.rstrip().endswith(b"data: [DONE]") if chat else b"event: message_stop\n" in said.body
        failed = b'"error"' in said.body
        if done and not failed and _spoken(said.body, chat) == word:
            self.ends["stream"] += 1
        elif failed and not done and said.whole and word.startswith(_spoken(said.body, chat)):
            self.ends["error in stream"] += 1
        else:
            self._wrong("a wrong stream", f"{word[:30]} done={done} failed={failed}: {said.body[-300:]!r}")

    def _wrong(self, kind: str, what: str) -> None:
        self.ends[f"VIOLATION: {kind}"] += 1
        if len(self.violations) < 20:
            self.violations.append(f"{kind}: {what}")


def _history(word: str) -> list[dict[str, str]]:
    """Earlier turns with environment blocks, so that the chain edits, and asks and fills the cache."""
    name = word.split(" turn ", 1)[0]
    turns = []
    for turn in range(8):
        block = f"<environment_details>\n# Time\n{turn}\n# Files\n{'src/a.py ' * 80}\n</environment_details>"
        turns += [
            {"role": "user", "content": f"{name} asks {turn}\n{block}"},
            {"role": "assistant", "content": f"answer {turn}"},
        ]
    return turns


def _text(body: bytes, chat: bool) -> str:
    try:
        found = json.loads(body)
        return str(found["choices"][0]["message"]["content"] if chat else found["content"][0]["text"])
    except (ValueError, KeyError, IndexError, TypeError):
        return ""


def _spoken(body: bytes, chat: bool) -> str:
    """The text in a stream."""
    text = ""
    for line in body.splitlines():
        with suppress(ValueError, KeyError, IndexError, TypeError):
            found = json.loads(line.removeprefix(b"data: "))
            delta = found["choices"][0]["delta"] if chat else found["delta"]
            text += delta.get("content" if chat else "text") or ""
    return text
