"""The description of the HTTP surface, as OpenAPI 3.1 and as a page that needs no network."""

from functools import cache
from html import escape
from typing import Any

from trimtab import __version__

_MODEL_BODY = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": {"type": "string", "minLength": 1},
        "messages": {"type": "array", "items": {"type": "object", "required": ["role"]}},
        "stream": {"type": "boolean"},
        "tools": {"type": "array", "items": {"type": "object"}},
    },
    "additionalProperties": True,
}
_INPUT_BODY = {
    "type": "object",
    "required": ["model", "input"],
    "properties": {
        "model": {"type": "string", "minLength": 1},
        "input": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]},
        "stream": {"type": "boolean"},
        "tools": {"type": "array", "items": {"type": "object"}},
    },
    "additionalProperties": True,
}
_ERRORS = {
    "400": "the body cannot be read",
    "401": "a key is missing or wrong",
    "402": "the account upstream has no credit",
    "403": "the key may not use this model",
    "404": "no such pipeline or model",
    "405": "the path does not take this method",
    "413": "the body is too large",
    "429": "too many requests, see retry-after",
    "500": "the proxy failed, its log says why",
    "501": "nobody in the chain or upstream can do this",
    "502": "the upstream failed",
    "503": "the upstream is overloaded",
    "504": "the upstream took too long",
    "529": "the upstream is overloaded, in Anthropic's words",
}
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
    "/v1/responses/{id}": ("A stored response", "Always 404: nothing is stored."),
    "/health": ("Whether requests are taken", "`?verbose=1` adds counters and upstreams, with the key auth asks for."),
    "/": ("Name and version", "Agents probe it with HEAD."),
    "/openapi.json": ("This description", ""),
    "/docs": ("This description as a page", ""),
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
        paths[path] = {"get": _operation(summary, description)}
        if "{id}" in path:
            paths[path]["parameters"] = [_parameter("id")]
    info = {"title": "trimtab", "version": __version__, "summary": "A model endpoint for coding agents."}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": _components()}


def _operation(summary: str, description: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "description": description,
        "security": [{"bearer": []}, {"key": []}, {}],
        "responses": {"200": {"description": description or summary}},
    }


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _components() -> dict[str, Any]:
    return {
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        }
    }


@cache
def page() -> str:
    """The document as plain HTML, complete in itself."""
    rows = "".join(
        f"<tr><td>{method.upper()}</td><td><code>{escape(path)}</code></td>"
        f"<td>{escape(operation['summary'])}</td><td>{escape(operation['description'])}</td></tr>"
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
        if method in ("get", "post")
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>trimtab</title>'
        "<style>body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem}"
        "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;padding:.4rem;text-align:left;"
        "vertical-align:top}code{font-size:.9em}</style>"
        f"<h1>trimtab {escape(__version__)}</h1><p>A model endpoint for coding agents. Machine-readable: "
        '<a href="/openapi.json">/openapi.json</a>.</p>'
        f"<table><tr><th>method<th>path<th>what<th>notes</tr>{rows}</table></html>"
    )
