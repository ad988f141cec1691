"""The dialects that clients and upstreams speak, sans-I/O, by name."""

from trimtab.dialects.base import Dialect
from trimtab.dialects.chat import CHAT
from trimtab.dialects.messages import MESSAGES

DIALECTS: dict[str, Dialect] = {"chat": CHAT, "messages": MESSAGES}
"""Every dialect by the name that `Conversation.dialect` carries."""
