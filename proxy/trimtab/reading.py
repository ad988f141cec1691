"""A body that is only looked at, as a conversation."""

from trimtab.conversation import Conversation, DialectName
from trimtab.dialects import DIALECTS
from trimtab.memo import MessageTable

_LOOK = 1 << 20
"""Bytes of a table that is thrown away."""


def read_request(body: bytes, dialect: DialectName) -> Conversation:
    """A body as a conversation, apart from the table of messages: what is only looked at pushes out no session.

    Raises BadRequest when it cannot be understood.
    """
    return DIALECTS[dialect].parse(body, MessageTable(_LOOK))
