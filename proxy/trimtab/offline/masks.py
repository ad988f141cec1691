"""Keys and secrets out of what is shown: those of the configuration, and what looks like one in a prompt."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from trimtab.check import is_secret
from trimtab.config import Config, leaves

HIDDEN = "***"
SHORTEST = 6
"""Characters of a configured key that is looked for; a shorter one would hide words."""

_SHAPES = re.compile(
    r"""
    -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)   # PEM
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*              # JSON web tokens
    | \b(?:sk|pk|rk|tt|ck)-[A-Za-z0-9_-]{12,}                                # model providers, our own
    | \b(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|npm_|hf_|AIza|ya29\.)[A-Za-z0-9_-]{10,}
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b                                          # AWS
    | \b[0-9a-f]{32}\.[A-Za-z0-9]{12,}\b                                     # z.ai
    """,
    re.VERBOSE | re.DOTALL,
)
_NAMED = re.compile(
    r"""((?:api[_-]?key|secret(?:[_-]?key)?|access[_-]?key|auth[_-]?token|access[_-]?token|token|passw(?:or)?d|pwd)
    ["']?\s*(?:=|:=?|=>)\s*["']?)([^\s"',;]{6,})""",
    re.IGNORECASE | re.VERBOSE,
)
_SENT = re.compile(
    r"((?:authorization|bearer|basic|x-api-key)\b[\"']?[:=\s]+(?:bearer\s+|basic\s+)?)([^\s\"',;]{6,})", re.IGNORECASE
)
_USERINFO = re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+@")


class Mask:
    """Replaces what must not be shown."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        words = sorted({word for word in known if len(word) >= SHORTEST}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, words))) if words else None

    def __call__(self, text: str) -> str:
        """The text without keys."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        text = _SHAPES.sub(HIDDEN, text)
        text = _NAMED.sub(rf"\g<1>{HIDDEN}", text)
        text = _SENT.sub(rf"\g<1>{HIDDEN}", text)
        return _USERINFO.sub(f"{HIDDEN}@", text)


def secrets_of(config: Config, headers: Mapping[str, str] | None = None) -> list[str]:
    """The keys of a configuration and of a request's headers."""
    structs: list[Any] = [spec.options for spec in config.stages.values()]
    structs += [*config.models.upstreams.values(), config.store]
    found = [value for struct in structs for path, value in leaves(struct) if is_secret(path[-1])]
    for name, text in (headers or {}).items():
        if is_secret(name) or name in ("authorization", "cookie"):
            found += text.split()
    return [word for value in found for word in _words(value)]


def _words(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Mapping):
        return [str(text) for text in value.values()]
    return [str(text) for text in value] if isinstance(value, tuple | list) else ()
