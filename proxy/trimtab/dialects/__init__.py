"""The dialects that clients and upstreams speak, sans-I/O, by name."""

from trimtab.dialects.base import Dialect
from trimtab.dialects.chat import CHAT
from trimtab.dialects.messages import MESSAGES
from trimtab.dialects.responses import RESPONSES

DIALECTS: dict[str, Dialect] = {"chat": CHAT, "messages": MESSAGES, "responses": RESPONSES}
"""Every dialect by the name that `Conversation.dialect` carries."""
