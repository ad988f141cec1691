"""Which clients compact by themselves when they are told, in their words, that a prompt is too long (context.md 3)."""

import re

from trimtab.api import Exchange, Text

_AGENTS = re.compile(r"claude-cli/|claude-code|^cline|roo-?code|kilo-?code|opencode|codex", re.IGNORECASE)
"""User agents as recorded (claude-cli, Kilo-Code, codex) and as their sources write them."""
_OPENINGS = ("You are Cline", "You are Roo", "You are Kilo", "You are opencode", "operating inside pi, a coding agent")
"""How their system prompts begin, for those that come with the user agent of a library."""
_BLOCK = b"<environment_details>"
LOOK = 400
"""Characters of a system prompt that are looked at."""


def recovers(exchange: Exchange) -> bool:
    """Whether the client is known to compact and go on after an overflow error."""
    if _AGENTS.search(exchange.incoming.headers.get("user-agent", "")):
        return True
    opening = _opening(exchange)
    if any(words in opening for words in _OPENINGS):
        return True
    # Forks of Cline and Roo Code keep their form and their handling of errors.
    return any(_BLOCK in message.raw for message in exchange.received.messages[:3] if message.role == "user")


def _opening(exchange: Exchange) -> str:
    blocks = exchange.received.system
    first = exchange.received.messages[:1]
    if not blocks and first and first[0].role in ("system", "developer"):
        blocks = first[0].blocks
    return "\n".join(block.text[:LOOK] for block in blocks if isinstance(block, Text))[: 2 * LOOK]
