"""The limit of output that a `messages` request must give: refused without one, or given one where that is configured.

Anthropic's own API refuses such a request (protocol.md 2.1), and other upstreams take limits of their own in silence.
"""

from trimtab.conversation import Conversation
from trimtab.errors import BadRequest
from trimtab.exchange import Exchange

MEMBER = "max_tokens"


def check(exchange: Exchange, default: int) -> None:
    """Raise BadRequest for a request without a limit where there is no default (0)."""
    if not default and _lacks(exchange, exchange.received):
        told = f"'{MEMBER}' is missing: say how many tokens the answer may have, or set core.default-max-tokens"
        raise BadRequest(told, param=MEMBER)


def fill(exchange: Exchange, default: int) -> None:
    """Write the default where a request gives no limit."""
    if default and _lacks(exchange, exchange.conversation):
        exchange.stage = "core"
        exchange.set_member(MEMBER, default, "no limit was given: core.default-max-tokens")


def _lacks(exchange: Exchange, conversation: Conversation) -> bool:
    asks = exchange.dialect == "messages" and exchange.operation == "generate"
    return asks and MEMBER not in conversation.head.scanned.members
