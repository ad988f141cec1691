"""What holds for all pages: links lead somewhere, the index is complete, and JSON, Python and addresses are right."""

import ast
import json
import re
import tomllib

import anthropic
import openai
import pytest

from docs.pages import DOCS, ROOT, blocks, links, page, pages, rows, section, shipped
from trimtab.config import ServeOptions


@pytest.mark.parametrize("name", pages())
def test_every_link_leads_to_a_page_and_a_heading(name: str) -> None:
    folder = (DOCS / name).parent
    assert [target for target, _ in links(name) if target and not (folder / target).is_file()] == []
    for target, anchor in links(name):
        if anchor:
            path = (folder / target).resolve() if target else DOCS / name
            assert anchor in anchors(path.relative_to(DOCS).as_posix()), f"{target}#{anchor}"


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "benchmarks/README.md", "tests/README.md"])
def test_links_beside_the_docs_lead_to_files(name: str) -> None:
    found = [target for target, _ in links(f"../{name}") if target]
    assert [target for target in found if not ((ROOT / name).parent / target).exists()] == []


def test_the_readme_names_the_stages_of_the_chain_in_their_order() -> None:
    names = re.findall(r"^\| \[([\w-]+)\]", page("../README.md"), re.MULTILINE)
    assert names == list(shipped().pipelines["default"])


def test_every_benchmark_has_a_row() -> None:
    files = {path.name for path in (ROOT / "benchmarks").glob("*.py") if path.name != "__init__.py"}
    assert files <= {cells[0].strip("`") for cells in rows(page("../benchmarks/README.md"))}


def anchors(name: str) -> list[str]:
    """The anchors of a page's headings, as forges make them."""
    found = re.findall(r"^#+ (.*)$", page(name), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found]


def test_the_index_names_every_page() -> None:
    assert sorted({target for target, _ in links("README.md")}) == [name for name in pages() if name != "README.md"]


@pytest.mark.parametrize("name", pages())
def test_no_page_names_a_place_of_one_machine(name: str) -> None:
    assert re.findall(r"(?<![\w.])/(?:home|root|work|tmp|Users)/", page(name)) == []


@pytest.mark.parametrize("name", pages())
def test_json_and_python_can_be_read(name: str) -> None:
    for block in blocks(name, "json"):
        json.loads(block)
    for block in blocks(name, "python"):
        ast.parse(block)


def test_the_address_of_the_clients_is_the_default_one() -> None:
    serve = ServeOptions()
    found = set(re.findall(r"http://([\d.:]+)", page("clients.md")))
    assert found == {f"{serve.host}:{serve.port}"}


def test_the_models_of_the_clients_are_in_the_table() -> None:
    models = shipped().models.models
    names = set(re.findall(r"glm-[\w.]+(?:-openai)?", page("clients.md")))
    assert {name.removesuffix("-openai") for name in names} - {"glm"} <= models.keys()
    window = models["glm-4.6"].window
    assert set(re.findall(r'(?:window |"context(?:Window)?": )(\d+)', page("clients.md"))) == {str(window)}


def test_the_lines_for_the_sdks_work() -> None:
    lines = blocks("clients.md", "python")[0].splitlines()
    for line in lines:
        client = eval(line, {"openai": openai, "anthropic": anthropic})
        assert str(client.base_url).startswith("http://127.0.0.1:5000")
        client.close()


def test_every_client_of_the_table_has_a_section() -> None:
    text = page("clients.md")
    names = re.findall(r"^\| ([A-Z][\w ]+|[a-z][\w-]+) \| `?\w", text, re.MULTILINE)
    titles = re.findall(r"^## (.*?)(?: \(.*\))?$", text, re.MULTILINE)
    assert len(names) > 8
    assert [name for name in names if name not in titles] == ["client"]


def test_the_configuration_of_codex_can_be_read() -> None:
    [text] = blocks("clients.md", "ini")
    provider = tomllib.loads(text)["model_providers"]["trimtab"]
    assert (provider["base_url"], provider["wire_api"]) == ("http://127.0.0.1:5000/v1", "responses")
    assert f"export {provider['env_key']}=" in section("clients.md", "Codex")
