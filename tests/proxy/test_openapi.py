"""The description of the HTTP surface."""

import json
import re
from typing import Any

import pytest
from starlette.routing import Route

import trimtab
from asgi import NOWHERE, make_config, make_runtime, running
from trimtab.app import routes
from trimtab.openapi import document

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


def operations() -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """(path, method, operation, path item) of all operations."""
    return [
        (path, method, item[method], item)
        for path, item in document()["paths"].items()
        for method in item
        if method in METHODS
    ]


def test_it_is_openapi() -> None:
    told = document()
    assert told["openapi"].startswith("3.1.")
    assert told["info"]["title"] == "trimtab"
    assert told["info"]["version"] == trimtab.__version__
    assert json.loads(json.dumps(told)) == told
    for path, item in told["paths"].items():
        assert path.startswith("/")
        assert set(item) <= METHODS | {"parameters", "summary", "description", "servers"}


def test_every_operation_has_responses_with_descriptions() -> None:
    found = operations()
    assert len(found) > 10
    for path, method, operation, _ in found:
        assert operation["summary"], path
        assert "200" in operation["responses"]
        for status, response in operation["responses"].items():
            assert re.fullmatch("[1-5][0-9][0-9]", status)
            assert response["description"], (path, method, status)


def test_every_parameter_of_a_path_is_described() -> None:
    for path, _, operation, item in operations():
        parameters = [*item.get("parameters", []), *operation.get("parameters", [])]
        assert {row["name"] for row in parameters if row["in"] == "path"} == set(re.findall(r"{(\w+)}", path))
        assert all(row["required"] and row["schema"] for row in parameters if row["in"] == "path")


def test_every_named_security_exists() -> None:
    schemes = set(document()["components"]["securitySchemes"])
    for _, _, operation, _ in operations():
        assert {name for choice in operation["security"] for name in choice} <= schemes


def test_the_schema_of_a_body_asks_for_what_we_need_and_takes_more() -> None:
    for _, method, operation, _ in operations():
        assert ("requestBody" in operation) == (method == "post")
        if method == "post":
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            assert set(schema["required"]) <= set(schema["properties"])
            assert set(schema["required"]) in ({"model", "messages"}, {"model", "input"})
            assert schema["additionalProperties"] is True


def test_every_route_is_described_and_nothing_else() -> None:
    served = {
        re.sub(":path", "", route.path)
        for route in routes(make_runtime(make_config(NOWHERE)))
        if isinstance(route, Route) and route.path != "/{path:path}"
    }
    described = set(document()["paths"])
    assert described <= served
    # The lists of models of a named pipeline are those of the default one, and no pipeline stores a response.
    alike = {"/v1/models", "/v1/models/{id}", "/v1/responses/{id}"}
    assert served - described == {"/p/{pipeline}" + path for path in alike}


@pytest.mark.anyio
async def test_it_is_served() -> None:
    async with running() as proxy:
        told = await proxy.get("/openapi.json")
    assert (told.headers["content-type"], told.json) == ("application/json", document())
