"""Orders and times that work, and seldom as they are meant: each is a note."""

from collections.abc import Container, Iterable, Sequence

from .draft import Draft, header

_EDITORS = ("env-dedup", "image-aging")
"""Built-in stages that edit messages and do not count anew; `condense` does."""


def check_order(draft: Draft, pipeline: str, uses: Sequence[str]) -> None:
    """Note what stands at an odd place in a pipeline; `uses` are its stages' names, in the order of the file."""
    place = f"{draft.name}: {header(('pipeline', pipeline))}"
    if "auth" in uses[1:] and uses[0] != "auth":
        before = _names(uses[: uses.index("auth")])
        draft.notes.append(f"{place} 'auth' is not first: {before} work for whoever calls; move 'auth' to the front")
    if "token-count" in uses:
        late = [use for use in uses[uses.index("token-count") :] if use in _EDITORS]
        if late:
            remedy = f"move 'token-count' behind {_names(late)}"
            draft.notes.append(f"{place} 'token-count' counts what {_names(late)} then edit: {remedy}")
    if "log" in uses:
        behind = [use for use in uses[uses.index("log") :] if use != "log"]
        if behind:
            told = f"it hears replies as {_names(behind)} leave them"
            draft.notes.append(f"{place} 'log' is not last: {told}, not the upstream's own; move 'log' to the end")


def check_timeouts(draft: Draft, timeouts: Iterable[str], labels: Container[str]) -> None:
    """Note labels of `core.stage-timeouts` that no pipeline has."""
    idle = [label for label in timeouts if label not in labels]
    if idle:
        draft.notes.append(f"core.stage-timeouts has no effect on {', '.join(idle)}: no pipeline has such a stage")


def _names(uses: Sequence[str]) -> str:
    return ", ".join(f"'{use}'" for use in dict.fromkeys(uses))
