"""Mutated bodies and heads over real sockets: no 5xx of our making, no crash, no block of the loop, memory flat.

python -m benchmarks.fuzz [--count 100000] [--seed 1]; exit code 1 on any violation. Seeds are the recorded requests in
../shared/fixtures where they are at hand, and made ones.
"""

import argparse
import asyncio
import gzip
import json
import os
import random
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from .lab.talk import Said, read_answer, watched

FIXTURES = Path(__file__).parents[2] / "shared" / "fixtures"
LARGEST_SEED = 60_000
CLIENTS = 8
ANSWER_WITHIN = 20.0
BLOCK_MS = 50.0
PATHS = ("/v1/messages", "/v1/chat/completions", "/v1/messages/count_tokens", "/v1/responses",
         "/v1/responses/input_tokens", "/v1/responses/compact", "/p/default/v1/messages")  # fmt: skip
CHAIN = 'stages = ["auth", "env-dedup", "token-count", "risk-assess", "route", "scale", "log"]'
# The tables of messages are small, so that they are full before half of the time and all that grows behind it shows.
LIMITS = "[core]\nmemo-mb = 8\nmemo-entries = 2000\n[serve]\nhead-timeout = 5\nbody-timeout = 5\n"
PIPELINES = f'[pipeline.default]\n{CHAIN}\n[stage.log]\nlevel = "ERROR"\n{LIMITS}'
JUDGED = 60_000
"""Requests from which on the memory is judged: the heap has its size after 30,000."""
GROWTH_MB = 10
"""What it may grow from the middle of the run to its end: a leak of 1 KB a request is 29 MB in JUDGED requests."""

PIECES = (
    b"\\ud800", b"\\udc00", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"[" * 300, b'{"a":' * 300, b"1e999", b"-0",
    b"9" * 400, b"null", b"true", b'""', b"{}", b"[]", b'"messages":[],', b'"model":5,', b"\\u0000",
    b"<environment_details>",
    b"</environment_details>", b"data:image/png;base64,", b"iVBORw0KGgo", b"\xf0\x9f\x98\x80", b'"stream":true,',
    b"\r\n\r\n",
)  # fmt: skip
STRANGE: tuple[Any, ...] = (
    None, True, 0, -1, 10**30, 1.5e308, "", "\ud800", "x" * 3000, [], {}, [[]], {"": {"": []}}, ["a", None, {}],
    {"type": "text"}, {"type": "image_url", "image_url": {"url": "data:;base64,!"}}, {"role": "tool"},
    "data:image/gif;base64,R0lG",
    [{"type": "tool_result", "tool_use_id": "x", "content": [{"type": "image"}]}], [{"type": "tool_use", "id": 5}],
)  # fmt: skip
HEADERS = (
    b"x-request-id: %s", b"anthropic-version: %s", b"content-type: %s", b"authorization: Bearer %s", b"x-api-key: %s",
    b"origin: %s", b"accept: %s", b"cookie: %s", b"x-upstream-key: %s", b"content-encoding: %s", b"connection: %s",
    b"expect: %s", b"transfer-encoding: %s", b"content-length: %s", b"upgrade: %s", b"host: %s", b"anthropic-beta: %s",
    b"%s: a",
)  # fmt: skip
VALUES = (b"", b"a", b"\xff\xfe", b"chunked", b"100-continue", b"-1", b"99999999999999999999", b"x" * 5000, b"gzip",
          b"null",
          b"websocket", b"h2c", b"a\tb", b"a,b,,", b'"\\"', b"\x01", b"127.0.0.1", b"identity")  # fmt: skip


def seeds() -> list[bytes]:
    """Bodies to begin with."""
    tool = {
        "name": "read",
        "description": "d",
        "input_schema": {"type": "object", "properties": {"p": {"type": "string"}}},
    }
    text = "<environment_details>\n# Time\n1\n</environment_details>"
    turns: list[Any] = [
        {"role": "user", "content": [{"type": "text", "text": text}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "read", "input": {"p": "a"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "b"}]},
    ]
    call = {"id": "t1", "type": "function", "function": {"name": "read", "arguments": '{"p":"a"}'}}
    image: dict[str, Any] = {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"},
    }
    chat: list[Any] = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": text}, image]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t1", "content": "b"},
    ]
    function = {"type": "function", "function": {"name": "read", "parameters": tool["input_schema"]}}
    made = [
        {"model": "glm-4.6", "max_tokens": 9, "system": "s", "tools": [tool], "messages": turns, "stream": True},
        {"model": "auto", "tools": [function], "messages": chat, "temperature": 1.5, "stop": ["a"]},
        {
            "model": "glm-4.6-openai",
            "max_tokens": 1,
            "messages": turns,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        },
    ]
    made += asked_of_responses(text, image["image_url"]["url"], tool["input_schema"])
    found = [json.dumps(body, separators=(",", ":")).encode() for body in made]
    for file in sorted((FIXTURES / "clients").glob("*/*.json")):
        body = json.dumps(json.loads(file.read_text()).get("body"), separators=(",", ":")).encode()
        found += [body] if len(body) <= LARGEST_SEED else []
    for file in sorted((FIXTURES / "conversations").glob("*.json.gz")):
        record = json.loads(gzip.decompress(file.read_bytes()))
        body = json.dumps({"model": "glm-4.6", "max_tokens": 9, "messages": record["messages"][:6]}).encode()
        found += [body] if len(body) <= LARGEST_SEED else []
    return found


def asked_of_responses(text: str, image: str, schema: Any) -> list[dict[str, Any]]:
    """The same in the dialect `responses`."""
    said = [{"type": "input_text", "text": text}, {"type": "input_image", "image_url": image}]
    call = {"type": "function_call", "call_id": "t1", "name": "read", "arguments": '{"p":"a"}'}
    items: list[Any] = [
        {"type": "message", "role": "user", "content": said},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        call,
        {"type": "function_call_output", "call_id": "t1", "output": "b"},
        {"type": "custom_tool_call", "call_id": "t2", "name": "apply_patch", "input": "*** Begin Patch"},
        {"type": "custom_tool_call_output", "call_id": "t2", "output": "b"},
    ]
    tools = [{"type": "function", "name": "read", "parameters": schema}, {"type": "custom", "name": "apply_patch"}]
    head = {"instructions": "s", "store": False, "reasoning": {"effort": "low"}, "tools": tools}
    return [
        {"model": "gpt-5", "input": items, "stream": True, **head},
        {"model": "glm-4.6", "input": "hi", "max_output_tokens": 9, "text": {"format": {"type": "json_object"}}},
    ]


def mutated(body: bytes, rng: random.Random) -> bytes:
    """A body with a few changes: of its bytes, or of its values."""
    if rng.random() < 0.5:
        with suppress(ValueError, RecursionError):
            return strange(body, rng)
    raw = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(raw) + 1)
        match rng.randrange(6):
            case 0 if raw:
                raw[at % len(raw)] = rng.randrange(256)
            case 1:
                raw[at : at + rng.randint(1, 30)] = b""
            case 2:
                raw[at:at] = rng.choice(PIECES)
            case 3:
                raw[at:at] = raw[at : at + rng.randint(1, 200)]
            case 4:
                del raw[at:]
            case _:
                other = rng.randrange(len(raw) + 1)
                raw[at:at] = raw[other : other + rng.randint(1, 80)]
    return bytes(raw)


def strange(body: bytes, rng: random.Random) -> bytes:
    """A body in which some values have another type."""
    value = json.loads(body)
    for _ in range(rng.randint(1, 3)):
        inner: Any = value
        for _ in range(rng.randint(0, 6)):
            if not isinstance(inner, dict | list) or not inner:
                break
            key: Any = rng.choice(list(inner)) if isinstance(inner, dict) else rng.randrange(len(inner))
            if rng.random() < 0.35:
                inner[key] = rng.choice(STRANGE)
                break
            inner = inner[key]
    return json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


def request(body: bytes, rng: random.Random) -> tuple[bytes, bool]:
    """The bytes of a request, and whether its head is sound, so that it must be answered."""
    path = rng.choice(PATHS).encode()
    if rng.random() < 0.7:
        fields = b"host: 127.0.0.1\r\ncontent-length: %d\r\nauthorization: Bearer k\r\n" % len(body)
        return b"POST %s HTTP/1.1\r\n%s\r\n%s" % (path, fields, body), True
    lines = [b"host: 127.0.0.1", b"content-length: %d" % len(body)]
    for _ in range(rng.randint(1, 4)):
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(HEADERS) % rng.choice(VALUES))
    method = rng.choice((b"POST", b"POST", b"GET", b"HEAD", b"OPTIONS", b"\xff", b"PRI", b"post"))
    if rng.random() < 0.3:
        path = bytes(mutated(path, rng)).replace(b" ", b"") or b"/"
    version = rng.choice((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"X"))
    return b"%s %s %s\r\n%s\r\n\r\n%s" % (method, path, version, b"\r\n".join(lines), body), False


REPLIES = {
    b"messages": b'{"id":"m","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"ok"}],'
    b'"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":1}}',
    b"completions": b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,'
    b'"total_tokens":4}}',
    b"count_tokens": b'{"input_tokens":5}',
}


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The upstream: a good reply to everything."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            await reader.readexactly(length)
            path = head.split(b" ", 2)[1].partition(b"?")[0]
            body = next((reply for end, reply in REPLIES.items() if path.endswith(end)), b"{}")
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
    writer.close()


class Fuzzer:
    """Sends requests and judges the answers."""

    def __init__(self, port: int, count: int, seed: int) -> None:
        self._port = port
        self._left = count
        self._rng = random.Random(seed)
        self._seeds = seeds()
        self.statuses: Counter[str] = Counter()
        self.violations: list[str] = []

    async def client(self) -> None:
        """One connection after the other, until nothing is left to send."""
        link: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while self._left > 0:
            self._left -= 1
            raw, sound = request(mutated(self._rng.choice(self._seeds), self._rng), self._rng)
            if link is None:
                link = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
            said = await self._ask(link, raw, sound)
            if said is None or not sound or b"connection: close" in said.head.lower():
                link[1].close()
                link = None
        if link is not None:
            link[1].close()

    async def _ask(
        self, link: tuple[asyncio.StreamReader, asyncio.StreamWriter], raw: bytes, sound: bool
    ) -> Said | None:
        reader, writer = link
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                writer.write(raw)
                if not sound:
                    # A head that announces more than comes waits for it: our end of the connection ends that.
                    writer.write_eof()
                said = await read_answer(reader, bodiless=raw.startswith(b"HEAD "))
        except TimeoutError:
            self._wrong("no answer in time", raw)
            return None
        except OSError:
            said = None
        self._judge(said, raw, sound)
        return said

    def _judge(self, said: Said | None, raw: bytes, sound: bool) -> None:
        self.statuses["closed" if said is None else str(said.status)] += 1
        if said is None:
            if sound:
                self._wrong("closed without an answer", raw)
        elif said.status >= 500 and said.status != 501:
            self._wrong(f"{said.status} {said.body[:200]!r}", raw)
        elif sound and not said.whole:
            self._wrong("a broken answer", raw)

    def _wrong(self, what: str, raw: bytes) -> None:
        if len(self.violations) < 20:
            self.violations.append(f"{what}\n    {raw[:1500]!r}")


async def main(count: int, seed: int) -> int:
    """Run it; 1 on any violation."""
    upstream = await asyncio.start_server(answer, "127.0.0.1", 0, limit=2**24)
    base = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}"
    begun = perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pipelines.toml").write_text(PIPELINES)
        environ = {"UPSTREAM_BASE": base, "OPENAI_UPSTREAM_BASE": f"{base}/v1", "CACHE_DIR": str(folder / "cache")}
        async with watched(folder, environ) as proxy:
            fuzzer = Fuzzer(proxy.port, count, seed)
            await asyncio.gather(*(fuzzer.client() for _ in range(CLIENTS)))
        log = (folder / "proxy.log").read_text(errors="replace")
    upstream.close()
    violations, blocks = fuzzer.violations, proxy.report.get("blocks_ms", [])
    violations += [f"in the log: {line[:300]}" for line in proxy.report.get("errors", ["no report: it crashed"])]
    violations += [f"in the log: {line[:300]}" for line in log.splitlines() if " ERROR " in line][:20]
    violations += [f"the loop was blocked for {block} ms" for block in blocks if block > BLOCK_MS]
    print(f"{count} requests in {perf_counter() - begun:.0f} s, seed {seed}, {len(fuzzer._seeds)} seeds")
    print("answers: " + ", ".join(f"{status}: {n}" for status, n in sorted(fuzzer.statuses.items())))
    print(f"longest blocks of the loop (CPU ms): {blocks[:5]}")
    for place in proxy.report.get("places", []):
        print(f"blocked for {place}")
    start, middle, end, most = resident(proxy.report.get("memory", []))
    print(f"memory (MB): {start} at the start, {middle} in the middle, {end} at the end, {most} at most")
    if count >= JUDGED and end - middle > GROWTH_MB:
        violations.append(f"the memory grew by {end - middle} MB from the middle to the end")
    for violation in violations:
        print(f"VIOLATION {violation}")
    if violations:
        print(log[-3000:])
    return 1 if violations else 0


def resident(sizes: list[int]) -> tuple[int, int, int, int]:
    """The memory at the start, in the middle, at the end and at most, in MB, of its sizes by second."""
    taken = [round(size / 2**20) for size in sizes] or [0]
    return taken[0], taken[len(taken) // 2], taken[-1], max(taken)


def arguments(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    return parser.parse_args(words)


if __name__ == "__main__":
    given = arguments(sys.argv[1:])
    raise SystemExit(asyncio.run(main(given.count, given.seed)))
