"""docs/configuration.md names every option and header, and its examples and tables hold."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from docs.pages import blocks, page, pages, rows, section, shipped, tables
from trimtab import headers
from trimtab.api import Cache, Credentials, Model, ModelTable, Prices, Refused, Upstream
from trimtab.config import CoreOptions, RetryOptions, ServeOptions, StoreOptions, load
from trimtab.settings import settings
from trimtab.testing import StageBench
from trimtab_stages.auth import Auth, AuthOptions

PAGE = "configuration.md"
SECTIONS = {"[serve]": ServeOptions, "[core]": CoreOptions, "[store]": StoreOptions, "[retry]": RetryOptions}
ROWS = {"[upstream.NAME]": Upstream, "[model.NAME]": Model}


def table(title: str) -> dict[str, list[str]]:
    """The rows of the table whose first head is `title`, by their first cell."""
    [found] = [rows for head, *rows in tables(page(PAGE)) if head[0] == f"`{title}`"]
    return {cells[0].strip("`"): cells for cells in found}


@pytest.mark.parametrize("title", [*SECTIONS, *ROWS])
def test_every_option_has_a_row_with_its_default(title: str) -> None:
    kind: Any = {**SECTIONS, **ROWS}[title]
    fields = [field for field in msgspec.structs.fields(kind) if field.name != "name"]
    found = table(title)
    assert [field.encode_name for field in fields if field.encode_name not in found] == []
    assert [name for name in found if name not in {field.encode_name for field in fields}] == []
    for field in fields:
        told = found[field.encode_name][1].strip("`")
        if field.required:
            assert told == "must be set"
        elif field.encode_name != "display-name":
            assert told == spelt(field.default), field.encode_name


def spelt(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple) and value:
        return ", ".join(map(str, value))
    return "none" if value in (None, (), {}, Cache()) or value is msgspec.NODEFAULT else str(value)


def test_every_field_of_prices_is_there() -> None:
    told = table("[model.NAME]")["prices"][2]
    assert [name for name in Prices.__struct_fields__ if f"`{name}`" not in told] == []


def test_every_field_of_a_cache_is_there() -> None:
    assert set(table("cache")) == {field.encode_name for field in msgspec.structs.fields(Cache)}


def test_every_environment_name_of_the_core_is_there() -> None:
    heads = ("serve.", "core.", "store.", "upstream.", "model.")
    names = [each for row in settings() if (row.option or "").startswith(heads) for each in row.names]
    assert [name for name in (*names, "TRIMTAB_PIPELINES") if f"`{name}`" not in page(PAGE)] == []
    for title in SECTIONS:
        for row in settings():
            if (row.option or "").startswith(f"{title.strip('[]')}."):
                assert table(title)[str(row.option).split(".")[1]][2] == f"`{row.names[0]}`"


def test_the_packaged_chain_is_the_one_told() -> None:
    chain = ", ".join(f"`{label}`" for label in shipped().pipelines["default"])
    assert f"The packaged one has the chain {chain}." in page(PAGE)


def test_every_header_is_there() -> None:
    told = section(PAGE, "Headers")
    names = [
        *headers.TO_UPSTREAM,
        *headers.TO_UPSTREAM_PREFIXES,
        *headers.TO_CLIENT,
        *headers.TO_CLIENT_PREFIXES,
        "x-trimtab-dropped",
        "x-trimtab-mended",
        "server-timing",
        "x-request-id",
    ]
    assert [name for name in names if f"`{name}`" not in told] == []


TOML = [(name, at) for name in pages() if name != "tutorial-stage.md" for at in range(len(blocks(name, "toml")))]


@pytest.mark.parametrize(("name", "at"), TOML)
def test_every_toml_block_is_a_configuration(
    name: str, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = blocks(name, "toml")[at]
    if "[pipeline." not in text:
        text = f"[pipeline.default]\nstages = {[*shipped().pipelines['default']]}\n\n" + text
    path = tmp_path / "pipelines.toml"
    path.write_text(text)
    config = load(path, {"SERVER_API_KEY": "sk-x"})
    assert not [note for note in config.notes if "no effect" in note]


def check(folder: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trimtab", "check"]
    clean = {"PATH": os.environ["PATH"], **environ}
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=False)


def test_check_prints_what_the_page_shows(tmp_path: Path) -> None:
    (tmp_path / "pipelines.toml").write_text(blocks(PAGE, "toml")[0])
    *shown, fault = blocks(PAGE, "text")
    told = check(tmp_path, {"PORT": "8000"})
    assert (told.returncode, [block for block in shown if block not in told.stdout]) == (0, [])
    line = next(block for block in blocks(PAGE, "sh") if block.endswith("trimtab check\n"))
    environ = dict(word.split("=") for word in line.split()[:-2])
    told = check(tmp_path, environ)
    assert (told.returncode, told.stdout) == (2, "")
    assert fault in told.stderr


KEYS = rows(section(PAGE, "Keys"))
SENT = {
    "nothing": {},
    "its own key": {"authorization": "Bearer sk-own"},
    "a client key": {"x-api-key": "ck-client"},
    "a client key, `x-upstream-key`": {"x-api-key": "ck-client", "x-upstream-key": "sk-apart"},
}
GOT = {"its own key": "sk-own", "no key": None, "the server key": "sk-server", "the `x-upstream-key`": "sk-apart"}
PEERS = {"this machine": ["127.0.0.1"], "elsewhere": ["203.0.113.9"], "anywhere": ["127.0.0.1", "203.0.113.9"]}


@pytest.mark.anyio
@pytest.mark.parametrize("cells", KEYS, ids=" ".join)
async def test_the_table_of_keys_holds(cells: list[str]) -> None:
    client_keys, server_key, forward, sends, where, gets = cells
    options = AuthOptions(
        client_keys=("ck-client",) if client_keys == "set" else (),
        server_key="sk-server" if server_key == "set" else None,
        forward_client_key=forward == "true",
    )
    models = ModelTable({"a": Upstream(dialect="chat", base_url="http://a.test")}, {"small": Model()})
    async with StageBench(Auth(options), models=models) as bench:
        for peer in PEERS[where]:
            body = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
            exchange = bench.exchange(body, headers=SENT[sends], peer=peer)
            if gets == "401":
                with pytest.raises(Refused):
                    await bench.request(exchange)
            else:
                await bench.request(exchange)
                assert exchange.need(Credentials).key == GOT[gets]
