"""Compacts a Responses conversation for its client: one question to the conversation's own model, one sealed summary.

The client sends the sealed item back in place of what it stands for; `dialects/responses_request.py` unpacks it. What
the user said is added word for word, by no model (context.md, rung `conversation_summary`).
"""

from collections.abc import Iterator, Sequence

import msgspec

from trimtab.conversation import Block, Conversation, Image, Message, Text, ToolResult, ToolUse
from trimtab.dialects.base import Prompt
from trimtab.dialects.responses_blob import Sealed, seal
from trimtab.dialects.responses_request import SUMMARY
from trimtab.errors import UpstreamError
from trimtab.events import Finished, Opaque, Started, StopReason
from trimtab.exchange import Answer, Exchange
from trimtab.hookspecs import Reply

SECONDS = 120.0
"""How long the model may take."""
LONGEST = 4096
"""Tokens of a summary at most."""
WINDOW = 128_000
"""Tokens that a model is taken to read of which nothing is known."""
PER_TOKEN = 3
"""Characters taken for a token; few, so that what is sent fits."""
RESULT = 2000
"""Characters that are read of one tool's output: the first 60 and the last 40 of a hundred."""
VERBATIM = 80_000
"""Characters of the user's own words that are kept at most, the newest first."""

WORDS = "## What the user said, word for word"
"""The heading over them."""
_BETWEEN = "\n\n> "
_CUT = (StopReason.LENGTH, StopReason.CONTEXT, StopReason.REFUSAL)

TEMPLATE = """You write the summary with which a coding agent goes on after its context was cleared. Below is a record \
of its work. Write facts only, from the record only, under these headings, and leave none out; write "none" where \
there is nothing:

## Goal
What the user wants in the end.
## Constraints
What the user demanded or forbade, in the user's own words.
## Decisions
What was decided, and why.
## Files
Each file that was created, changed or read for a reason: its path, and what was done to it and how.
## Commands and errors
What was run that matters, its outcome, and the text of errors that were seen, solved or not.
## Open work
What is not done yet, in its order.
## Next step
The very next thing to do.

Keep paths, names, numbers and error texts exactly as they are. Do not address the user and do not go on \
with the work."""


async def compact(exchange: Exchange) -> Reply:
    """The answer to a request to compact: one item. Raises UpstreamError when no summary came, or a part of one."""
    conversation, model = exchange.received, exchange.target.model
    room = ((model.window or WINDOW) - LONGEST) * PER_TOKEN - len(TEMPLATE)
    content = (Text(text=transcript(conversation.messages, room)),)
    prompt = Prompt(system=TEMPLATE, content=content, max_tokens=LONGEST, temperature=0.0)
    answer = await exchange.ask(model.name, prompt, seconds=SECONDS)
    blob = seal("compaction", Sealed(_kept(_whole(answer), conversation)))
    item = {"type": "compaction", "id": f"cmp_{exchange.id.removeprefix('req_')[:40]}", "encrypted_content": blob}
    events = (
        Started(),
        Opaque(msgspec.json.encode(item), "compaction", "responses"),
        Finished(StopReason.END, answer.usage, None, "compaction"),
    )
    return Reply(events)


def _whole(answer: Answer) -> str:
    """The summary. Raises UpstreamError where the client would lose its conversation for nothing."""
    # The section of the user's words is ours; a model may repeat the one it read.
    summary = answer.text.partition(WORDS)[0].strip()
    if answer.stop in _CUT:
        raise UpstreamError(f"the summary is not whole: the model stopped with '{answer.stop}'; try again", own=True)
    if not summary:
        raise UpstreamError("the model wrote no summary; try again", own=True)
    return summary


def _kept(summary: str, conversation: Conversation) -> str:
    told = _BETWEEN.join(verbatim(conversation.messages))
    return f"{summary}\n\n{WORDS}\n> {told}" if told else summary


def verbatim(messages: Sequence[Message]) -> list[str]:
    """The user's own texts in their order, of too many the newest."""
    texts: list[str] = []
    room = VERBATIM
    for text in _words(messages):
        # One text does not push out all the others.
        kept = text if len(text) <= VERBATIM else _clipped(text, VERBATIM // 2)
        if len(kept) > room:
            if room >= RESULT:
                texts.append(_clipped(kept, room))
            break
        room -= len(kept)
        texts.append(kept)
    return texts[::-1]


def _words(messages: Sequence[Message]) -> Iterator[str]:
    """What the user said, the newest first; out of an earlier summary what it holds of that."""
    for message in reversed(messages):
        for block in reversed(message.blocks if message.role == "user" else ()):
            if not isinstance(block, Text) or not block.text.strip():
                continue
            if block.text.startswith(SUMMARY):
                _, _, held = block.text.partition(f"{WORDS}\n> ")
                yield from reversed(held.split(_BETWEEN) if held else ())
            else:
                yield block.text


def transcript(messages: Sequence[Message], room: int) -> str:
    """The conversation as text of at most about `room` characters: of too many parts the oldest but the first go."""
    parts = [part for message in messages for part in _parts(message)]
    left = room - len(parts[0]) if parts else room
    kept: list[str] = []
    for part in reversed(parts[1:]):
        left -= len(part) + 2
        if left < 0:
            break
        kept.append(part)
    gone = len(parts) - 1 - len(kept)
    gap = [f"[{gone} parts left out]"] if gone > 0 else []
    return "\n\n".join([*parts[:1], *gap, *reversed(kept)])


def _parts(message: Message) -> Iterator[str]:
    for block in message.blocks:
        said = _said(block)
        if said:
            yield f"[{message.role}] {said}"


def _said(block: Block) -> str:
    match block:
        case Text(text=text):
            return text
        case ToolUse(name=name, input=given):
            return f"called {name} with {_clipped(given.decode('utf-8', 'replace'))}"
        case ToolResult(content=content):
            return _clipped("\n".join(filter(None, map(_said, content))))
        case Image():
            return "(an image)"
    return ""


def _clipped(text: str, longest: int = RESULT) -> str:
    """A long text without its middle."""
    if len(text) <= longest:
        return text
    head, tail = longest * 6 // 10, longest * 4 // 10
    return f"{text[:head]}\n[{len(text) - head - tail} characters left out]\n{text[-tail:]}"
