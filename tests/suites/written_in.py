"""A plugin for the openai SDK's own tests of Responses: what their requests lack to be served is written in.

Its tests take every parameter for optional, so they send requests that OpenAI's own API refuses: without a model,
without an input, or with the id of a response that nobody has. Loaded by `pytest -p written_in`.
"""

from typing import Any

from openai import _base_client


def complete(path: str, body: Any) -> Any:
    """The body with a model and an input, and without the id of a response."""
    if path != "/responses" or not isinstance(body, dict):
        return body
    kept = {name: value for name, value in body.items() if name != "previous_response_id"}
    for name, value in (("model", "gpt-5"), ("input", "hi")):
        if not isinstance(kept.get(name), str | list):
            kept[name] = value
    return kept


def _completing(post: Any) -> Any:
    def completed(self: Any, path: str, *, body: Any = None, **more: Any) -> Any:
        return post(self, path, body=complete(path, body), **more)

    return completed


for client in (_base_client.SyncAPIClient, _base_client.AsyncAPIClient):
    client.post = _completing(client.post)  # type: ignore[method-assign]  # that is the point
