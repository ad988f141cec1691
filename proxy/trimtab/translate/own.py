"""What a body of the upstream's own dialect loses, by the model table: what its upstream is known to refuse.

Thoughts that it did not sign, numbers outside its limits, stop words beyond those it takes. A member that fits stays
byte for byte as it is.
"""

from typing import Any

import msgspec

from trimtab.conversation import Conversation, Message, Thinking
from trimtab.dialects.messages_encode import OWN_SIGNATURE
from trimtab.errors import BadRequest
from trimtab.models import Target
from trimtab.translate.draft import Draft

_NOTE = "signed"


def fitted(draft: Draft) -> Conversation:
    """The conversation as its target takes it; the very same one where nothing is known to be refused.

    Raises BadRequest for what would lose a part of the reply.
    """
    conversation, upstream = draft.conversation, draft.target.upstream
    for name, limits in (("temperature", upstream.temperature), ("top_p", upstream.top_p)):
        if limits is not None and name in conversation.head:
            conversation = _clipped(draft, conversation, name, limits)
    if upstream.stop_words is not None:
        conversation = _stopped(draft, conversation, upstream.stop_words)
    return _without_thoughts(conversation, draft.target, draft.dropped)


def _clipped(draft: Draft, conversation: Conversation, name: str, limits: tuple[float, float]) -> Conversation:
    value = conversation.head.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or limits[0] <= value <= limits[1]:
        return conversation
    draft.drop(name)
    return conversation.with_member(name, msgspec.json.encode(min(max(value, limits[0]), limits[1])))


def _stopped(draft: Draft, conversation: Conversation, most: int) -> Conversation:
    """The first words stay; the proxy itself looks for the others, in one answer. Raises BadRequest for several."""
    name = "stop" if conversation.dialect == "chat" else "stop_sequences"
    given: Any = conversation.head.get(name)
    listed = given if isinstance(given, list) else [given]
    words = [word for word in listed if isinstance(word, str) and word]
    if len(words) <= most:
        return conversation
    several = conversation.head.get("n") if conversation.dialect == "chat" else None
    if isinstance(several, int) and several > 1:
        # The end at a word is the end of the whole reply; the other answers would be lost.
        told = f"of stop words the upstream takes {most}, and the proxy looks for others in one answer only"
        raise BadRequest(f"{told}: send fewer of them, or n = 1", param=name)
    draft.watch(words[most:], name)
    return conversation.with_member(name, msgspec.json.encode(words[:most]) if most else None)


def _without_thoughts(conversation: Conversation, target: Target, dropped: dict[str, None]) -> Conversation:
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
