"""Pairs of tags that a user writes into the options."""

from trimtab_stages.env_blocks import Tags

FORM = "write `<open>.*?</open>`, the texts around a block with .*? between, or `<open>|</open>`"
_REGEX = frozenset("\\.*+?()[]{}^$|")
SHORTEST = 3


def tags_of(pattern: str) -> Tags:
    """The pair of tags of a pattern. Raises ValueError that names the form."""
    parts = pattern.split(".*?") if ".*?" in pattern else pattern.split("|")
    if len(parts) != 2:
        raise ValueError(f"pattern '{pattern}' is no pair of tags: {FORM}")
    opened, closed = (_literal(part, pattern) for part in parts)
    if min(len(opened), len(closed)) < SHORTEST or opened == closed:
        raise ValueError(f"pattern '{pattern}' needs two different tags of {SHORTEST} characters or more: {FORM}")
    return Tags(opened, closed, whole=True)


def _literal(part: str, pattern: str) -> str:
    """The text that a part of a pattern matches, where it matches one text only."""
    text, escaped = "", False
    for char in part.strip():
        if escaped:
            if char.isalnum():
                raise ValueError(f"pattern '{pattern}' is more than two literal texts: {FORM}")
            text, escaped = text + char, False
        elif char == "\\":
            escaped = True
        elif char in _REGEX:
            raise ValueError(f"pattern '{pattern}' is more than two literal texts: {FORM}")
        else:
            text += char
    if escaped:
        raise ValueError(f"pattern '{pattern}' ends in a backslash: {FORM}")
    return text
