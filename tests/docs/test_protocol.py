"""docs/protocol.md names every path, and tells errors as the proxy tells them."""

from pathlib import Path

import pytest
from starlette.routing import Route

from docs.pages import page, rows, section, shipped, tables
from trimtab.app import routes
from trimtab.config import ServeOptions
from trimtab.conversation import DialectName
from trimtab.dialects.problems import PROBLEMS
from trimtab.errors import Cause
from trimtab.overflow import words
from trimtab.runtime import Runtime
from trimtab.store import MemoryStore
from wire.harness import echoing, exchange, post, proxying
from wire.scripted import playing

PAGE = "protocol.md"


def test_the_table_of_errors_is_the_one_in_the_code() -> None:
    [[_, *found]] = [table for table in tables(section(PAGE, "Errors")) if table[0][0] == "cause"]
    told = {Cause(cells[0].strip("`")): [cell.strip("`") for cell in cells[2:]] for cells in found}
    assert told == {
        cause: [
            str(row.messages_status),
            row.messages_type,
            str(row.chat_status),
            row.chat_type,
            row.chat_code or "-",
            "yes" if row.retry else "no",
        ]
        for cause, row in PROBLEMS.items()
    }


@pytest.mark.anyio
async def test_every_path_is_on_the_page_and_no_other() -> None:
    runtime = Runtime(shipped(), store=MemoryStore())
    paths = {route.path.replace(":path", "") for route in routes(runtime) if isinstance(route, Route)}
    ours = {path for path in paths if not path.startswith("/p/{pipeline}")} - {"/{path}"}
    told = {name.strip("`") for cells in rows(section(PAGE, "Endpoints")) for name in cells[1].split(", ")}
    assert told == ours
    models = {path for path in ours if path.startswith("/v1/")}
    assert {path for path in paths if path.startswith("/p/")} == {"/p/{pipeline}" + path for path in models}


def test_the_seconds_of_pings_are_the_defaults() -> None:
    for seconds in (ServeOptions().first_ping, ServeOptions().ping_interval):
        assert f"seconds ({seconds:g})" in page(PAGE)


@pytest.mark.anyio
async def test_the_limits_are_those_of_this_version(tmp_path: Path) -> None:
    assert "`/v1/responses`" in section(PAGE, "Limits of this version")
    chat = b'{"model":"glm-4.6","messages":[{"role":"user","content":"hi"}]}'
    async with playing() as upstream, proxying(tmp_path, upstream.url) as proxy:
        for path in ("/v1/embeddings", "/v1/files", "/v1/messages/batches"):
            assert (await post(proxy.url, path, chat)).status == 404
        assert (await exchange(proxy.url, "HEAD", "/")).status == 200
        assert upstream.sent == []


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_replies_have_the_members_that_are_told(tmp_path: Path, path: str) -> None:
    rows_ = rows(section(PAGE, "What the proxy adds"))
    names = [name.strip("`") for cells in rows_ for name in cells[0].split(", ")]
    told = {where.split(".")[-1] for where in names if not where.startswith("usage.")}
    said = b'[{"role":"user","content":"hi"}]'
    body = b'{"model":"glm-4.6","max_tokens":9,"messages":' + said + b',"input":' + said + b"}"
    async with echoing() as (url, _), proxying(tmp_path, url) as proxy:
        plain = (await post(url, "/v1/messages", body)).json["usage"]
        reply = (await post(proxy.url, path, body)).json
    assert told == reply["context_info"].keys()
    usage = {name.removeprefix("usage.") for name in names if name.startswith("usage.")}
    assert usage <= reply["usage"].keys()
    assert path != "/v1/messages" or reply["usage"].keys() - plain.keys() == usage


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_the_words_of_an_overflow_are_the_ones_told(dialect: DialectName) -> None:
    assert f"| `{dialect}` | `{words(dialect, 210_000, 204_800)}`" in section(PAGE, "Errors")
    assert f"`{words(dialect, None, None)}`" in section(PAGE, "Errors")
