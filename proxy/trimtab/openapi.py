"""The description of the HTTP surface, as OpenAPI 3.1; docs_page.py makes a page of it."""

from functools import cache
from typing import Any

from trimtab import __version__

_ANYTHING = {
    "model": {"type": "string", "minLength": 1},
    "stream": {"type": "boolean"},
    "tools": {"type": ["array", "null"]},
}
_PART = {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}}
_CONTENT = {"oneOf": [{"type": "string"}, {"type": "array", "items": _PART}, {"type": "null"}]}
_MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {"role": {"type": "string"}, "content": _CONTENT},
}
_MODEL_BODY = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {**_ANYTHING, "messages": {"type": "array", "minItems": 1, "items": _MESSAGE}},
    "additionalProperties": True,
}
_INPUT_BODY = {
    "type": "object",
    "required": ["model", "input"],
    "properties": {
        **_ANYTHING,
        "input": {
            "oneOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": ["string", "object"]}}]
        },
    },
    "additionalProperties": True,
}
_ERRORS = {
    "400": "the body cannot be read",
    "401": "a key is missing or wrong",
    "402": "the account upstream has no credit",
    "403": "the key may not use this model",
    "404": "no such pipeline or model",
    "408": "the head or the body did not come in time",
    "405": "the path does not take this method",
    "413": "the body is too large",
    "421": "the host that the request names is not ours",
    "429": "too many requests, see retry-after",
    "431": "the headers are too large",
    "500": "the proxy failed, its log says why",
    "501": "nobody in the chain or upstream can do this",
    "502": "the upstream failed",
    "503": "the upstream is overloaded",
    "504": "the upstream took too long",
    "529": "the upstream is overloaded, in Anthropic's words",
}
_STORED = "/v1/responses/{id}"
_POSTS = {
    "/v1/chat/completions": ("OpenAI Chat Completions", "An answer, or a stream of chunks when `stream` is true."),
    "/v1/messages": ("Anthropic Messages", "An answer, or a stream of events when `stream` is true."),
    "/v1/responses": (
        "OpenAI Responses",
        "A response, or a stream of events when `stream` is true; nothing is stored.",
    ),
    "/v1/responses/compact": ("Summary of a Responses conversation", "One item that stands for the input."),
    "/v1/responses/input_tokens": ("OpenAI token counting", "The size of the prompt as it would be sent upstream."),
    "/v1/messages/count_tokens": ("Anthropic token counting", "The size of the prompt as it would be sent upstream."),
}
_GETS = {
    "/v1/models": ("The model table", "Anthropic's form when `anthropic-version` is sent, else OpenAI's."),
    "/v1/models/{id}": ("One model", "404 names the nearest one we know."),
    _STORED: ("A stored response", "Always 404: nothing is stored."),
    "/health": ("Whether requests are taken", "`?verbose=1` adds counters and upstreams, with the key auth asks for."),
    "/metrics": ("Counters for Prometheus", "Those of `/health?verbose=1`, with the key auth asks for."),
    "/": ("Name and version", "Agents probe it with HEAD."),
    "/openapi.json": ("This description", ""),
    "/docs": ("The same as a page", "With examples, and the pipelines in force."),
}


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    paths: dict[str, Any] = {}
    for path, (summary, description) in _POSTS.items():
        operation = _operation(summary, description)
        schema = _INPUT_BODY if "/responses" in path else _MODEL_BODY
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        operation["responses"] |= {status: {"description": text} for status, text in _ERRORS.items()}
        paths[path] = {"post": operation}
        paths[f"/p/{{pipeline}}{path}"] = {"post": operation, "parameters": [_parameter("pipeline")]}
    for path, (summary, description) in _GETS.items():
        operation = _operation(summary, description)
        refused = (*_REFUSED, "404") if "{id}" in path else _REFUSED
        operation["responses"] |= {status: {"description": _ERRORS[status]} for status in refused}
        paths[path] = {"get": operation}
        if "{id}" in path:
            paths[path]["parameters"] = [_parameter("id")]
    paths[_STORED]["delete"] = paths[_STORED]["get"]
    info = {"title": "trimtab", "version": __version__, "summary": "A model endpoint for coding agents."}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": _components()}


_REFUSED = ("401", "421", "431", "503")
"""What every page may answer."""


def _operation(summary: str, description: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "description": description,
        "security": [{"bearer": []}, {"key": []}, {}],
        "responses": {"200": {"description": description or summary}},
    }


def _parameter(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "minLength": 1, **_KNOWN.get(name, {})}
    return {"name": name, "in": "path", "required": True, "schema": schema}


_KNOWN: dict[str, dict[str, Any]] = {"pipeline": {"examples": ["default"]}}


def _components() -> dict[str, Any]:
    return {
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        }
    }
