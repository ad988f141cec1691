"""Does any body block the event loop for more than 50 ms? Each is extreme in one way, the proxy has its whole chain.

python -m benchmarks.extremes [--only WORD]; exit code 1 on a block of more than 50 ms, by a thread of ours that holds
the interpreter's lock too, or an answer that is a 5xx of our making.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

from .fuzz import BLOCK_MS, answer
from .lab.talk import read_answer, watched

PATIENCE = 30.0
HUGE = 20e6
"""Bytes up to which nothing may block longer. One string is read in one step: beyond, a step takes more."""
PER_MB = 2.5
"""Milliseconds that a block may take for each MB of a body that is larger."""
TABLE_WITHIN = 1.5
"""Seconds in which the table of tokens is loaded behind the first request, once in a process: a block of 0.1 s."""
PIPELINES = """[pipeline.default]
stages = ["auth", "env-dedup", "image-aging", "token-count", "risk-assess", "condense", "route", "scale", "log"]
[serve]
body-timeout = 100
[stage.log]
level = "ERROR"
"""
PATHS = {"messages": "/v1/messages", "chat": "/v1/chat/completions", "responses": "/v1/responses"}
MANY = 51_000
MOST = 19_000
"""Messages that come near `serve.max-messages`."""
_JSON = json.JSONEncoder(separators=(",", ":")).encode


def user(content: Any) -> dict[str, Any]:
    """A message of the user."""
    return {"role": "user", "content": content}


def messages(said: list[Any], **more: Any) -> bytes:
    """A body of the dialect `messages`; chat takes it too."""
    return _JSON({"model": "glm-5.2", "max_tokens": 9, "messages": said, **more}).encode()


def pairs(count: int) -> list[Any]:
    """Calls of a tool and their results."""
    said: list[Any] = [user("go")]
    for n in range(count):
        use = {"type": "tool_use", "id": f"t{n}", "name": "read", "input": {"p": n}}
        said.append({"role": "assistant", "content": [use]})
        said.append(user([{"type": "tool_result", "tool_use_id": f"t{n}", "content": f"r{n}"}]))
    return said


def bodies() -> Iterator[tuple[str, str, bytes]]:
    """Name, dialect and body of each."""
    rng, mega = Random(3), 1_000_000
    base64 = "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", k=4096))
    turns = [user("a") if n % 2 == 0 else {"role": "assistant", "content": "b"} for n in range(MANY)]
    for dialect in ("messages", "chat"):
        yield f"{MANY} messages", dialect, messages(turns)
        yield f"{MOST} messages", dialect, messages(turns[:MOST])
        yield f"{MOST} texts in a message", dialect, messages([user([{"type": "text", "text": "a"}] * MOST)])
        yield "200,000 messages", dialect, messages(turns * 4)
        yield f"{MANY} texts in a message", dialect, messages([user([{"type": "text", "text": "a"}] * MANY)])
        yield "2,000,000 numbers for messages", dialect, messages([1] * 2_000_000)
        yield "2,000,000 numbers for a content", dialect, messages([user([1] * 2_000_000)])
        tool: dict[str, Any] = {"name": "t", "input_schema": {"type": "object"}}
        if dialect == "chat":
            tool = {"type": "function", "function": {"name": "t", "parameters": {"type": "object"}}}
        yield "100,000 tools", dialect, messages([user("a")], tools=[tool] * 100_000)
        yield "1,000 tools", dialect, messages([user("a")], tools=[tool] * 1_000)
        yield "90,000 numbers for stops", dialect, messages([user("a")], stop_sequences=[1] * 90_000)
        yield "90,000 numbers for tools", dialect, messages([user("a")], tools=[1] * 90_000)
        yield "90,000 members of metadata", dialect, messages([user("a")], metadata={f"k{n}": n for n in range(90_000)})
        yield "2,000,000 numbers for tools", dialect, messages([user("a")], tools=[1] * 2_000_000)
        yield (
            "100,000 members of metadata",
            dialect,
            messages([user("a")], metadata={f"k{n}": n for n in range(100_000)}),
        )
        yield "2,000,000 numbers for stops", dialect, messages([user("a")], stop_sequences=[1] * 2_000_000)
    yield "20,000 calls and results", "messages", messages(pairs(20_000))
    items = [{"type": "message", "role": "user", "content": "a"}] * MANY
    tools = [{"type": "function", "name": f"t{n}", "parameters": {"type": "object"}} for n in range(100_000)]
    yield "9,000 calls and results", "messages", messages(pairs(9_000))
    yield f"{MOST // 2} items", "responses", _JSON({"model": "glm-5.2", "input": items[: MOST // 2]}).encode()
    yield "1,000 tools", "responses", _JSON({"model": "glm-5.2", "input": "a", "tools": tools[:1_000]}).encode()
    yield f"{MANY} items", "responses", _JSON({"model": "glm-5.2", "input": items}).encode()
    yield "100,000 tools", "responses", _JSON({"model": "glm-5.2", "input": "a", "tools": tools}).encode()
    yield "2,000,000 numbers for input", "responses", _JSON({"model": "glm-5.2", "input": [1] * 2_000_000}).encode()
    for name, text in {
        "a letter": "a", "spaces": " ", "brackets": "[", "quotes": '"', "line ends": "\n", "backslashes": "\\",
        "a control": "\x01", "emoji": "\U0001f600", "base64": base64, "tags": "<environment_details>",
        "blocks": "<environment_details>\n# Current Time\n1\n</environment_details>\n", "headings": "# a\n",
        "data URLs": "data:image/png;base64,", "commas": ",",
    }.items():  # fmt: skip
        yield f"1 MB of {name}", "messages", messages([user(text * (mega // len(text)))])
        yield f"1 MB of {name}, chat", "chat", messages([user(text * (mega // len(text)))])
    for size in (1, 20, 60):
        picture = {"type": "base64", "media_type": "image/png", "data": base64 * (size * mega // 4096)}
        yield f"an image of {size} MB", "messages", messages([user([{"type": "image", "source": picture}])])
    yield "a text of 20 MB", "messages", messages([user("word " * 4_000_000)])
    yield "nested 190 deep, 2,000 times", "messages", messages([user("a")], metadata=[_nest(90)] * 10_000)
    yield "nested 90 deep, 1,000 times", "messages", messages([user("a")], metadata=[_nest(90)] * 1_000)
    yield "1,000,000 brackets", "messages", b'{"model":"m","messages":' + b"[" * mega
    yield "1,000,000 objects, nested", "messages", b'{"model":"m","messages":[' + b'{"a":' * mega
    yield "5 MB of surrogates", "messages", messages([user("a")])[:-3] + b"\\ud800" * 800_000 + b'"}]}'
    yield "5 MB of spaces outside", "messages", messages([user("a")])[:-1] + b" " * 5_000_000 + b"}"
    yield "1,000,000 commas", "messages", messages([user("a")])[:-1] + b"," * mega + b"}"


def _nest(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


async def main(only: str) -> int:
    """Send each body; 1 on any violation."""
    upstream = await asyncio.start_server(answer, "127.0.0.1", 0, limit=2**24)
    base = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}"
    told: list[tuple[str, int, int, str, float, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pipelines.toml").write_text(PIPELINES)
        environ = {"UPSTREAM_BASE": base, "OPENAI_UPSTREAM_BASE": f"{base}/v1", "CACHE_DIR": str(folder / "cache")}
        async with watched(folder, environ) as proxy:
            await ask(proxy.port, "messages", messages([user("warm up " * 5000)]))
            await asyncio.sleep(TABLE_WITHIN)
            for name, dialect, body in bodies():
                if only in name:
                    for turn in ("first", "again"):
                        begun = monotonic()
                        said = await ask(proxy.port, dialect, body)
                        shown = f"{name} ({len(body) / 1e6:.1f} MB, {dialect}, {turn})"
                        told.append((shown, len(body), *said, begun, monotonic()))
                        await asyncio.sleep(0.05)
    upstream.close()
    return report(told, proxy.report)


async def ask(port: int, dialect: str, body: bytes) -> tuple[int, str]:
    """The status of the answer, 0 where there is none, and its body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    head = b"POST %s HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n" % (PATHS[dialect].encode(), len(body))
    said = None
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            writer.write(head + body)
            said = await read_answer(reader)
    writer.close()
    return (0, "") if said is None else (said.status, said.body.decode(errors="replace")[:160])


def report(told: list[Any], found: dict[str, Any]) -> int:
    """Print a line for each request: status, the longest block by CPU of the loop and at most, and seconds in all."""
    wrong = 0
    for name, size, status, text, begun, ended in told:
        held = [(cpu, most) for when, cpu, most in found.get("held", []) if begun <= when <= ended + 0.05]
        cpu, most = (max((1000 * pair[at] for pair in held), default=0.0) for at in (0, 1))
        allowed = BLOCK_MS if size <= 1.01 * HUGE else PER_MB * size / 1e6
        bad = most > allowed or status == 0 or (status >= 500 and status != 501)
        wrong += bad
        mark = "VIOLATION" if bad else "ok       "
        said = text if status != 200 else ""
        print(f"{mark} {status} {cpu:6.0f} {most:6.0f} ms, {ended - begun:5.1f} s  {name}  {said}")
    for line in found.get("errors", ["no report: it crashed"]):
        print(f"VIOLATION in the log: {line[:300]}")
        wrong += 1
    for place in found.get("places", []):
        print(place[:1200])
    return 1 if wrong else 0


def arguments(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extremes")
    parser.add_argument("--only", default="", help="bodies with this word in their names")
    return parser.parse_args(words)


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main(arguments(sys.argv[1:]).only)))
