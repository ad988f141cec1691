"""What leaves a body of the upstream's own dialect: thoughts that it would refuse because it did not sign them."""

from trimtab.conversation import Conversation, Message, Thinking
from trimtab.dialects.messages_encode import OWN_SIGNATURE
from trimtab.models import Target

_NOTE = "signed"


def fitted(conversation: Conversation, target: Target, dropped: dict[str, None]) -> Conversation:
    """The conversation without thoughts that nobody signed, or we did; the same one where the target does not look."""
    if target.upstream.signatures != "checked" or conversation.dialect != "messages":
        return conversation
    messages = conversation.messages
    for at in range(len(messages) - 1, -1, -1):
        kept = _signed(messages[at])
        if kept is not messages[at]:
            conversation = conversation.with_message(at, kept)
            dropped["thinking"] = None
    return conversation


def _signed(message: Message) -> Message | None:
    """The message without unsigned thoughts, None where nothing is left of it; found once per message."""
    if message.role != "assistant" or b"thinking" not in message.raw:
        return message
    if _NOTE not in message.notes:
        blocks = [block for block in message.blocks if not (isinstance(block, Thinking) and _foreign(block))]
        same = len(blocks) == len(message.blocks)
        # Not the message itself: a note that holds its own message is never freed before the collector runs.
        message.notes[_NOTE] = (message.with_blocks(blocks) if blocks else None) if not same else _NOTE
    kept: Message | str | None = message.notes[_NOTE]
    return message if isinstance(kept, str) else kept


def _foreign(block: Thinking) -> bool:
    return not block.redacted and (not block.signature or block.signature.startswith(OWN_SIGNATURE))
