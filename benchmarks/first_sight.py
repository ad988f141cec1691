"""What does a conversation cost that was never seen? Its first request and its second, and /health meanwhile.

python -m benchmarks.first_sight [--quick] [--json]
"""

import asyncio
import json
import os
import sys
from random import Random
from time import perf_counter

from .lab.bodies import PATHS, _code
from .lab.load import Connection
from .lab.script import Result, connect, main, post
from .lab.targets import Target, delayed, spent

HEAD = ("body", "KB", "first ms", "CPU ms", "second ms", "CPU ms ", "/health max ms", "on a core", "asked")
ROOMY = "glm-5.2"
"""A model whose window holds every body; that of glm-4.6 does not, and `condense` makes the one it gets fit."""
_HEALTH = [b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"]


async def measure(targets: dict[str, Target], quick: bool) -> Result:
    """Each body is sent twice over one connection, while another asks for /health without a pause."""
    target = targets["trimtab"]
    asking, watching = await connect(target), await connect(target)
    await asking.ask(post(PATHS["messages"], _body(["warm up"])))
    rows: list[tuple[str | float, ...]] = []
    for name, body in _bodies(quick).items():
        times: list[tuple[float, float]] = []
        watch = asyncio.create_task(_watch(watching, target.pid or 0, times))
        turns = [await _timed(target, asking, body) for _ in range(2)]
        watch.cancel()
        await asyncio.wait((watch,))
        watching.transport.close()
        watching = await connect(target)
        rows.append((name, len(body) / 1000, *turns[0], *turns[1], *map(max, zip(*times, strict=True)), len(times)))
    return Result(HEAD, rows)


async def _timed(target: Target, connection: Connection, body: bytes) -> tuple[float, float]:
    before, begun = spent(target.pid or 0), perf_counter()
    await connection.ask(post(PATHS["messages"], body))
    return (perf_counter() - begun) * 1000, (spent(target.pid or 0) - before) * 1000


async def _watch(connection: Connection, pid: int, times: list[tuple[float, float]]) -> None:
    """Milliseconds of each answer, and without those in which other programs had the cores of both ends."""
    while True:
        begun, before = perf_counter(), delayed(pid) + delayed(os.getpid())
        await connection.ask(_HEALTH)
        took, waited = perf_counter() - begun, delayed(pid) + delayed(os.getpid()) - before
        times.append((took * 1000, max(0.0, took - waited) * 1000))
        await asyncio.sleep(0.001)


def _bodies(quick: bool) -> dict[str, bytes]:
    rng, size = Random(3), 100_000 if quick else 1_000_000
    base64 = "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", k=4096))
    found = {
        "400 messages": _body([_code(rng, size // 400 - 40) for _ in range(400)]),
        "400, too many": _body([_code(rng, size // 400 - 40) for _ in range(400)], "glm-4.6"),
        "one letter": _body(["a" * size]),
        "spaces": _body([" " * size]),
        "brackets": _body(["[" * size]),
        "base64": _body([base64 * (size // 4096)]),
    }
    picture = {"type": "base64", "media_type": "image/png", "data": base64 * (20 * size // 4096)}
    return found | {"an image": _body([[{"type": "image", "source": picture}]])}


def _body(contents: list[object], model: str = ROOMY) -> bytes:
    messages = [
        {"role": "assistant" if number % 2 else "user", "content": content} for number, content in enumerate(contents)
    ]
    if len(messages) % 2 == 0:
        messages.pop()
    return json.dumps({"model": model, "max_tokens": 64, "stream": False, "messages": messages}).encode()


if __name__ == "__main__":
    sys.exit(main("first_sight", __doc__ or "", measure))
