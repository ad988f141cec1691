"""The address of an upstream's operation, from a base URL in whatever spelling people write it."""

import ipaddress
import re
from functools import lru_cache
from typing import Literal
from urllib.parse import SplitResult, urlsplit, urlunsplit

from trimtab.conversation import DialectName

Operation = Literal["generate", "count", "models"]

_PATHS: dict[tuple[DialectName, Operation], str] = {
    ("chat", "generate"): "/chat/completions",
    ("chat", "models"): "/models",
    ("messages", "generate"): "/messages",
    ("messages", "count"): "/messages/count_tokens",
    ("messages", "models"): "/models",
}
_KNOWN = sorted({*_PATHS.values(), "/completions", "/responses"}, key=len, reverse=True)
_VERSION = re.compile(r"/v\d+[a-z0-9]*(?=/|$)")
_LAST = re.compile(_VERSION.pattern + "$")
_SLIP = re.compile(r"(https?)(?::?/+|:(?=[^0-9/]))", re.IGNORECASE)
"""`http//x`, `http:/x`, `https:x`."""
_DOUBLED = re.compile(rf"({_VERSION.pattern})(?:{_VERSION.pattern})+$")


@lru_cache(maxsize=256)
def endpoint(base_url: str, dialect: DialectName, operation: Operation = "generate") -> str:
    """The final URL of an operation. Raises ValueError, with the remedy, where there is none.

    The base may end in a slash, lack or double its `/v1`, or be the full address of any operation. A chat base with a
    version anywhere in its path gets no `/v1` (z.ai's ends in `/v4`), nor does a full address without one: some
    vendors have none. The Messages API has its version right before the operation at every vendor we know.
    """
    if (dialect, operation) not in _PATHS:
        raise ValueError(f"an upstream of the dialect '{dialect}' has no operation '{operation}'")
    parts = _split(base_url)
    path, full = _bare(parts.path)
    versioned = (_VERSION if dialect == "chat" else _LAST).search(path)
    if not versioned and not (full and dialect == "chat"):
        path += "/v1"
    return urlunsplit((parts.scheme, parts.netloc, path + _PATHS[dialect, operation], parts.query, ""))


@lru_cache(maxsize=256)
def host(base_url: str) -> str:
    """The host of a base URL, lower case; empty where there is none."""
    try:
        return urlsplit(base_url.strip()).hostname or ""
    except ValueError:
        return ""


def shown(base_url: str) -> str:
    """A base URL as it may be shown: without the values of its query, which may be keys, and without a password."""
    try:
        parts = urlsplit(base_url.strip())
    except ValueError:
        return "no address"
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, place, parts.path, "***" if parts.query else "", ""))


def _split(base_url: str) -> SplitResult:
    text = base_url.strip()
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or "://" not in text:
        raise ValueError(f"is no http or https address{_meant(text)}")
    if not parts.hostname:
        raise ValueError("names no host")
    if "@" in parts.netloc:
        raise ValueError("holds a user or password, write the key into the option 'key' or 'headers'")
    _ = parts.port  # raises ValueError for a port that is no number
    return parts


def _meant(text: str) -> str:
    """`, did you mean ...?` for an address whose scheme is missing or miswritten; nothing for another scheme."""
    slip = _SLIP.match(text)
    if slip is None and "://" in text:
        return ""
    rest = text[slip.end() :] if slip else text.lstrip(":/")
    try:
        name = urlsplit(f"//{rest}").hostname
    except ValueError:
        name = None
    if not name or "@" in rest:
        return ""
    scheme = slip[1].lower() if slip else "http" if _local(name) else "https"
    return f", did you mean '{scheme}://{rest}'?"


def _local(name: str) -> bool:
    """Whether a host is of this machine or network: those seldom have a certificate."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith((".local", ".localhost", ".internal", ".lan"))
    return address.is_private


def _bare(path: str) -> tuple[str, bool]:
    """The path without slashes at its end, operations and repeated versions; and whether it named an operation."""
    path = re.sub(r"/{2,}", "/", path).rstrip("/")
    full = False
    while ending := next((known for known in _KNOWN if path.endswith(known)), None):
        full = True
        path = path.removesuffix(ending).rstrip("/")
    return _DOUBLED.sub(r"\1", path), full
