"""Recognises a client's own request to summarise its conversation; such a request is never edited (context.md 4.6)."""

from collections.abc import Mapping

from trimtab.conversation import Conversation, Message, Text
from trimtab.errors import BadRequest

LARGE = 1_000_000
"""Bytes of a message from which it costs more to search it than to read it."""

HEADERS = ("x-cc-compaction-request", "x-claude-code-compaction", "x-request-compaction")
"""Claude Code's two, and the generic one."""

PHRASES = (
    b"Your task is to create a detailed summary of the conversation so far",
    b"CRITICAL: This is a summarization-only request",
    b"Provide a detailed prompt for continuing our conversation above",
    b"Summarize the provided coding session into a concise continuation note",
    b"You have written a partial transcript for the initial task above",
)
"""What Claude Code, Roo, opencode, Cline 4 and Anthropic's default prompt say in the last user message."""

SYSTEM_PHRASES = (b"You are a helpful AI assistant tasked with summarizing conversations",)
"""What Roo says in the system prompt."""


def requested(conversation: Conversation, headers: Mapping[str, str]) -> bool:
    """Whether this request asks for a summary of the conversation itself."""
    if not headers.keys().isdisjoint(HEADERS) and any(_set(headers.get(name, "")) for name in HEADERS):
        return True
    if conversation.messages and _says(conversation.messages[-1], ("user",), PHRASES):
        return True
    head = conversation.head
    if SYSTEM_PHRASES not in head.notes:
        system = head.raw("system") or b""
        head.notes[SYSTEM_PHRASES] = any(phrase in system for phrase in SYSTEM_PHRASES)
    if head.notes[SYSTEM_PHRASES]:
        return True
    return bool(conversation.messages) and _says(conversation.messages[0], ("system", "developer"), SYSTEM_PHRASES)


def _set(value: str) -> bool:
    return value.lower() not in ("", "0", "false")


def _says(message: Message, roles: tuple[str, ...], phrases: tuple[bytes, ...]) -> bool:
    """Whether a message of one of the roles says a phrase itself; what a tool read, say this file, is no request."""
    if message.role not in roles:
        return False
    # In what is large, a picture say, only the texts are searched.
    large = len(message.raw) > LARGE
    found = [phrase.decode() for phrase in phrases if large or phrase in message.raw]
    if not found:
        return False
    try:
        texts = [_ends(block.text) for block in message.blocks if isinstance(block, Text)]
    except BadRequest:
        return False
    return any(phrase in text for phrase in found for text in texts)


def _ends(text: str) -> str:
    """What of a text is searched: a client's own words stand before or behind what it has summarised."""
    return text if len(text) <= LARGE else f"{text[: LARGE // 2]}\n{text[-LARGE // 2 :]}"
