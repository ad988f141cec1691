"""The page at /docs: what can be asked for, with examples, and the pipelines in force. It needs no network.

It stands open, so it names stages and no option, no upstream and no key.
"""

import inspect
from collections.abc import Iterator
from html import escape

from trimtab import __version__, openapi
from trimtab.config import Config

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;padding:.4rem;text-align:left;"
    "vertical-align:top}code,pre{font-size:.9em}pre{background:#f4f4f4;padding:.8rem;overflow-x:auto}"
    "@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}pre{background:#222}a{color:#8bf}}"
)
_SAY = '"messages":[{"role":"user","content":"Say hello."}]'
_EXAMPLES = {
    "/v1/chat/completions": ("authorization: Bearer $KEY", '{{"model":"{model}",{say}}}'),
    "/v1/messages": ("x-api-key: $KEY", '{{"model":"{model}","max_tokens":200,{say}}}'),
    "/v1/messages/count_tokens": ("x-api-key: $KEY", '{{"model":"{model}",{say}}}'),
    "/v1/responses": ("authorization: Bearer $KEY", '{{"model":"{model}","input":"Say hello."}}'),
}
"""By path: the key's header, and a body."""


def page(config: Config, host: str) -> str:
    """The page; `host` is what the reader's requests go to."""
    base = f"http://{host}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>trimtab</title><style>{_STYLE}</style>'
        f"<h1>trimtab {escape(__version__)}</h1><p>A model endpoint for coding agents. "
        '<a href="/openapi.json">OpenAPI</a> &middot; <a href="/v1/models">models</a> &middot; '
        '<a href="/health">health</a> &middot; <a href="/metrics">metrics</a></p>'
        f"<h2>Endpoints</h2>{_endpoints()}<h2>Examples</h2>{''.join(_examples(config, base))}"
        f"<h2>Agents</h2>{_agents(base)}<h2>Pipelines</h2>{''.join(_pipelines(config))}</html>"
    )


def _endpoints() -> str:
    rows = "".join(
        f"<tr><td>{method.upper()}</td><td><code>{escape(path)}</code></td>"
        f"<td>{escape(operation['summary'])}</td><td>{escape(operation['description'])}</td></tr>"
        for path, methods in openapi.document()["paths"].items()
        for method, operation in methods.items()
        if method in ("get", "post")
    )
    return f"<table><tr><th>method<th>path<th>what<th>notes</tr>{rows}</table>"


def _examples(config: Config, base: str) -> Iterator[str]:
    model = next(iter(config.models.models), "MODEL")
    for path, (key, body) in _EXAMPLES.items():
        if path in openapi.document()["paths"]:
            text = body.format(model=model, say=_SAY)
            yield _pre(f"curl {base}{path} -H \"{key}\" -H 'content-type: application/json' \\\n  -d '{text}'")


def _agents(base: str) -> str:
    return _pre(
        f"ANTHROPIC_BASE_URL={base} ANTHROPIC_AUTH_TOKEN=$KEY claude      # agents that speak Anthropic Messages\n"
        f"OPENAI_BASE_URL={base}/v1 OPENAI_API_KEY=$KEY ...               # agents that speak OpenAI's API"
    )


def _pre(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def _pipelines(config: Config) -> Iterator[str]:
    yield "<p>A request runs through the stages in this order, its reply through them in reverse.</p>"
    for name, labels in config.pipelines.items():
        address = "/v1" if name == "default" else f"/p/{name}/v1"
        rows = "".join(f"<tr><td>{escape(label)}</td><td>{escape(_about(config, label))}</td></tr>" for label in labels)
        yield f"<h3>{escape(name)}, at <code>{escape(address)}</code></h3>"
        yield f"<table><tr><th>stage<th>does</tr>{rows}</table>"


def _about(config: Config, label: str) -> str:
    spec = config.stages[label]
    told = (inspect.getdoc(spec.cls) or "").partition("\n")[0]
    return told if spec.use == label else f"{spec.use}: {told}"
