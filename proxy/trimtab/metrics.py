"""The counters of /health in the text form that Prometheus reads (exposition format 0.0.4).

Labels are words of the code and of the configuration: dialects, causes, stages, upstreams. Nothing that a client sends
becomes one.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

TYPE = "text/plain; version=0.0.4; charset=utf-8"
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "requests": ("dialect", "operation"),
    "failed": ("cause",),
    "refused": ("cause",),
    "stage_undone": ("stage",),
    "stage_failed": ("stage",),
}
"""Counters whose names end in what Prometheus calls labels."""
MEMO = ("messages", "bytes", "max_bytes", "bodies_bytes", "counts")
"""Of the tables, what goes up and down; the rest only grows."""


class Sample(NamedTuple):
    """One line."""

    labels: tuple[tuple[str, str], ...]
    value: float


def text(state: Mapping[str, Any], under_way: int) -> str:
    """The page, from what `/health?verbose=1` shows and the number of requests under way.

    Of several workers each counts for itself: then every sample says which of them told it.
    """
    lines: list[str] = []
    worker = state.get("worker", {})
    one = (("worker", str(worker["number"])),) if worker.get("of", 1) > 1 else ()
    info = [Sample((("version", str(state["version"])),), 1)]
    lines += _family("trimtab_info", "gauge", info, one)
    lines += _family("trimtab_requests_under_way", "gauge", [Sample((), under_way)], one)
    for name, samples in _counters(state["counters"]).items():
        lines += _family(f"trimtab_{name}_total", "counter", samples, one)
    for name, value in state["memo"].items():
        kind = "gauge" if name in MEMO else "counter"
        lines += _family(f"trimtab_memo_{name}{'' if kind == 'gauge' else '_total'}", kind, [Sample((), value)], one)
    for name, samples in _upstreams(state["upstreams"]).items():
        lines += _family(f"trimtab_upstream_{name}", "gauge", samples, one)
    return "\n".join(lines) + "\n"


def _family(name: str, kind: str, samples: list[Sample], more: tuple[tuple[str, str], ...] = ()) -> Iterator[str]:
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        told = ",".join(f'{label}="{_escaped(word)}"' for label, word in (*labels, *more))
        yield f"{name}{{{told}}} {value:.17g}" if told else f"{name} {value:.17g}"


def _counters(counters: Mapping[str, int]) -> dict[str, list[Sample]]:
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for path, value in counters.items():
        family, _, rest = path.partition(".")
        labels = FAMILIES.get(family)
        words = rest.split(".", len(labels) - 1) if labels else []
        if labels is None or len(words) != len(labels) or not rest:
            family, words, labels = re.sub(r"[^A-Za-z0-9_]", "_", path), [], ()
        key = tuple(zip(labels, words, strict=True))
        samples = found.setdefault(family, {})
        samples[key] = samples.get(key, 0) + value
    return {family: [Sample(*item) for item in samples.items()] for family, samples in found.items()}


def _upstreams(upstreams: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {}
    for name, state in upstreams.items():
        for member, value in state.items():
            if isinstance(value, int | float):
                found.setdefault(member, []).append(Sample((("upstream", name),), value))
    return found


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
