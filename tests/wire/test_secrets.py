"""Keys and prompts in every place where one can stand; then everything that the process wrote is searched for them."""

import asyncio
import json
import os
import re
import signal
import stat
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from wire.harness import PATIENCE, exchange, post, proxying
from wire.scripted import Link, Sent, plain, playing

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform == "win32", reason="a signal ends it")]

PATHS = ("/v1/messages", "/v1/chat/completions", "/v1/messages/count_tokens")
LISTENS = re.compile(rb"trimtab listens on (http://127\.0\.0\.1:\d+)")

# Each is planted in one place, and looks like no key that a pattern would find.
SERVER, ROW, ROW_HEADER = "planted-server-a1", "planted-row-b2", "planted-rowheader-c3"
CLIENT, NAMED, OWN, APART = "planted-client-d4", "planted-named-e5", "planted-own-f6", "planted-apart-g7"
COOKIE, PROXY, QUERY, WRONG = "planted-cookie-h8", "planted-proxy-i9", "planted-query-j1", "planted-wrong-k2"
REDIRECT, THEIRS, STORE = "planted-redirect-l3", "sk-planted-theirs-m4", "planted-store-n5"
IGNORED = "planted-ignored-o6"
PROMPT, ANSWER, MEMBER, TOOL = "planted-prompt-p7", "planted-answer-q8", "planted-member-r9", "planted-tool-s1"
OURS = (SERVER, ROW, ROW_HEADER, CLIENT, NAMED, STORE)
BROUGHT = (OWN, APART, COOKIE, PROXY, QUERY, WRONG, IGNORED)
SECRETS = (*OURS, *BROUGHT, REDIRECT, THEIRS)
PRIVATE = (PROMPT, ANSWER, MEMBER, TOOL)

FILE = f"""
[pipeline.default]
stages = ["auth", "env-dedup", "token-count", "risk-assess", "route", "scale", "log"]

[serve]
port = 0
debug = true

[retry]
breaker = 0

[upstream.zai-messages]
key = "{ROW}"
headers = {{ x-row = "{ROW_HEADER}" }}

[stage.auth.clients.alice]
key = "{NAMED}"
"""


def body(**more: Any) -> bytes:
    messages = [{"role": "user", "content": PROMPT}]
    head = {"model": "claude-x", "max_tokens": 9, "metadata": {"user_id": MEMBER}}
    tools = [{"name": "t", "description": TOOL, "input_schema": {"type": "object"}}]
    return json.dumps({**head, "messages": messages, "tools": tools, **more}).encode()


async def wicked(sent: Sent, link: Link) -> None:
    """Say everything back, in errors of every form, in redirects, and in broken replies."""
    turn = int(sent.headers.get("x-stainless-turn", "0"))
    said = json.dumps({"error": {"type": "api_error", "message": f"refused Bearer {OWN} and {THEIRS} of {PROMPT}"}})
    match turn:
        case 1:
            await link.json(said.encode(), "401 Unauthorized")
        case 2:
            await link.json(f"<html>{THEIRS} {OWN}".encode(), "502 Bad Gateway", "text/html")
        case 3:
            await link.json(b"", "307 Temporary Redirect", extra=f"location: http://127.0.0.1:9/{REDIRECT}\r\n")
        case 4:
            await link.json(f'{{"broken": "{ANSWER}'.encode())
        case 5:
            await link.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {" + ANSWER.encode())
            link.abort()
        case 6:
            link.abort()
        case 8:
            quoted = f"no such key: {sent.headers.get('x-api-key') or sent.headers.get('authorization')}"
            words = f"{quoted} {sent.headers.get('x-row', '')}"
            await link.json(
                json.dumps({"type": "error", "error": {"type": "api_error", "message": words}}).encode(), "401 No"
            )
        case 7:
            await link.json(b"{}", extra=f"set-cookie: session={COOKIE}\r\nx-api-key: {OWN}\r\n")
        case _:
            await plain(sent, link)


HEADERS = {
    "x-api-key": CLIENT,
    "x-upstream-key": APART,
    "authorization": f"Bearer {IGNORED}",
    "cookie": f"session={COOKIE}",
    "proxy-authorization": f"Basic {PROXY}",
}


async def provoke(url: str) -> list[bytes]:
    """Good and bad requests of every kind; all that came back."""
    told = []
    for path in PATHS:
        for turn in range(9):
            fields = {**HEADERS, "x-stainless-turn": str(turn)}
            told.append(await post(url, f"{path}?key={QUERY}", body(), fields))
            told.append(await post(url, f"{path}?key={QUERY}", body(stream=True), fields))
        told.append(await post(url, path, body(), {"x-api-key": WRONG}))
        told.append(await post(url, path, body(), {"authorization": f"Bearer {WRONG}"}))
        told.append(await post(url, path, body(), {"x-api-key": NAMED}))
        told.append(await post(url, path, body()[:-9], HEADERS))
        told.append(await post(url, path, body(model=[MEMBER]), HEADERS))
        told.append(await post(url, path, body(messages=[{"role": PROMPT, "content": [{"type": TOOL}]}]), HEADERS))
        told.append(await post(url, f"/p/nowhere{path}?key={QUERY}", body(), HEADERS))
    for path in ("/health", "/health?verbose=1", "/v1/models", "/", "/docs", "/openapi.json", "/metrics"):
        told += [await exchange(url, "GET", path, headers=HEADERS), await exchange(url, "GET", path)]
    return [str(answer.headers).encode() + answer.body for answer in told]


async def run(folder: Path, upstream: str) -> tuple[list[bytes], bytes]:
    """Answers, and what the process wrote to stdout and stderr from start to end."""
    (folder / "pipelines.toml").write_text(FILE)
    (folder / ".env").write_text(f"SERVER_API_KEY={SERVER}\n")
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "PYTHONPATH") if name in os.environ}
    given = {"UPSTREAM_BASE": upstream, "OPENAI_UPSTREAM_BASE": f"{upstream}/v1", "PROXY_API_KEYS": CLIENT}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "trimtab", "serve",
        cwd=folder, env={**kept, **given}, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    assert process.stdout is not None
    written = b""
    async with asyncio.timeout(3 * PATIENCE):
        while not (found := LISTENS.search(written)):
            line = await process.stderr.readline()
            assert line, written
            written += line
        rest = asyncio.create_task(process.stderr.read())
        answers = await provoke(found.group(1).decode())
        (folder / "pipelines.toml").write_text(FILE + f'\n[upstream.x]\nkey = "{STORE}"\nbase-url = 5\n')
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        written += await rest + await process.stdout.read()
        await process.wait()
    return answers, written


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (".env", "pipelines.toml")
    }


def found_in(texts: list[bytes], words: tuple[str, ...]) -> list[str]:
    return [word for word in words if any(word.encode() in text for text in texts)]


async def test_no_key_and_no_prompt_is_written_anywhere(tmp_path: Path) -> None:
    async with playing(wicked) as upstream:
        answers, written = await run(tmp_path, upstream.url)
        sent = upstream.sent
    kept = files(tmp_path)
    assert found_in([written, *kept.values()], SECRETS) == []
    assert found_in([written, *kept.values()], PRIVATE) == []
    # A client may read what its own upstream said to it, but no key of anybody.
    assert found_in(answers, SECRETS) == []
    # Upstream go the key that was meant for it, and what its row adds; and nothing else of a key.
    gone = [str(request.headers).encode() + request.line.encode() for request in sent]
    assert set(found_in(gone, SECRETS)) == {APART, SERVER, ROW, ROW_HEADER, QUERY}
    assert len(sent) > 20
    loose = [path.name for path in (tmp_path / "cache").rglob("*") if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert loose == []


async def test_no_address_in_a_request_is_fetched_and_no_redirect_followed(tmp_path: Path) -> None:
    async with playing() as elsewhere, playing() as upstream:
        (tmp_path / "home").mkdir()
        url = f"{elsewhere.url}/picture.png"
        contents: list[Any] = [
            {"type": "image", "source": {"type": "url", "url": url}},
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "document", "source": {"type": "url", "url": url}},
        ]
        answers = []
        async with proxying(tmp_path / "home", upstream.url) as proxy:
            for content in contents:
                raw = body(messages=[{"role": "user", "content": [content]}])
                answers += [await post(proxy.url, path, raw) for path in PATHS]

            async def redirects(sent: Sent, link: Link) -> None:
                await link.json(b"", "307 Temporary Redirect", extra=f"location: {elsewhere.url}/v1/messages\r\n")

            upstream.script = redirects
            answers.append(await post(proxy.url, "/v1/messages", body(), {"x-api-key": OWN}))
        assert answers[-1].status >= 400
        assert elsewhere.sent == []
