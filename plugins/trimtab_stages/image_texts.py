"""What is said of an image that is no longer sent: the question to the model, the key of its answer, the text."""

import hashlib
import re
from collections.abc import Sequence

import msgspec

from trimtab.api import Block, Image, Message, Prompt, Text, Thinking, ToolResult, ToolUse, picture_of, replace
from trimtab_stages.condense_ranges import said

VERSION = 2
"""Of the question; another one asks anew."""
LONGEST = 2_000
"""Characters of a description at most."""
CONTEXT = 4_000
"""Characters of each message before the image that are shown beside it."""
UNDESCRIBED = "no description at hand"

DEFAULT = "[Image {width}x{height} shown earlier: {description}]"
_FIELDS = re.compile(r"\{(\w*)\}")
KNOWN = ("width", "height", "description", "descriptions")

_ASKED = (
    "You describe images for a coding agent that will not see them again. Say in at most 150 words what the image "
    "shows, and quote word for word the text in it that matters: error messages, labels, numbers, file names, code. "
    "Plain text, no introduction."
)


def check(template: str) -> None:
    """Raise ValueError for a template with fields that do not exist."""
    unknown = [name for name in _FIELDS.findall(template) if name not in KNOWN]
    if unknown:
        names = ", ".join(f"{{{name}}}" for name in KNOWN)
        raise ValueError(f"text has no field {{{unknown[0]}}}: there are {names}")
    if not template.strip():
        raise ValueError("text must not be empty: something has to stand where an image was")


def text_for(template: str, image: Image, description: str | None) -> str:
    """What stands in an image's place; the size of an image of which only the address is known reads `?`."""
    picture = picture_of(image)
    fields = {
        "width": str(picture.width or "?"),
        "height": str(picture.height or "?"),
        "description": description or UNDESCRIBED,
    }
    fields["descriptions"] = fields["description"]
    return _FIELDS.sub(lambda field: fields[field.group(1)], template)


class Told:
    """How many texts of a template stand in a message: images that a pass before this one took.

    None can be told where the template begins with a field.
    """

    def __init__(self, template: str) -> None:
        self._opens, *self._parts = _FIELDS.split(template)[::2]
        self._note = f"images told: {template}"

    def __call__(self, message: Message) -> int:
        """The number, found once per message."""
        found: int | None = message.notes.get(self._note)
        if found is None:
            found = message.notes[self._note] = self._count(message.blocks) if self._opens.strip() else 0
        return found

    def _count(self, blocks: Sequence[Block]) -> int:
        count = 0
        for block in blocks:
            if isinstance(block, Text):
                count += self._fits(block.text)
            elif isinstance(block, ToolResult):
                count += self._count(block.content)
        return count

    def _fits(self, text: str) -> bool:
        """Whether a text is the template with something in its fields. An expression took the cube of its length."""
        if not self._parts or not text.startswith(self._opens):
            return text == self._opens
        at, (*inner, last) = len(self._opens), self._parts
        for part in inner:
            at = text.find(part, at)
            if at < 0:
                return False
            at += len(part)
        return text.endswith(last) and len(text) - len(last) >= at


def key_of(image: Image, before: Sequence[Message], beside: Message, model: str) -> bytes:
    """The name of a description: the image itself, what was said before and beside it, who describes it, the question.

    All that the question shows, so that no description is taken for one that another question got.
    """
    parts = (
        image.data.encode() or image.url.encode(),
        *(msgspec.json.encode(canonical(message)) for message in before),
        msgspec.json.encode(spoken(beside)),
        model.encode(),
        str(VERSION).encode(),
    )
    key = hashlib.sha256()
    for part in parts:
        key.update(len(part).to_bytes(8, "big"))
        key.update(part)
    return key.digest()


def canonical(message: Message) -> list[str]:
    """What a message says, however it is spelled: role, texts, calls and results, without marks and images."""
    found: list[str] | None = message.notes.get("canonical")
    if found is None:
        found = message.notes["canonical"] = [message.role, *_said(message.blocks)]
    return found


def spoken(beside: Message) -> list[str]:
    """What is said in an image's own message: by tools, and by the user.

    Without environment blocks and reminders, which some clients leave out with the next turn.
    """
    results = [block.content for block in beside.blocks if isinstance(block, ToolResult)]
    return [*(text for content in results for text in _said(content)), *said(beside)]


def _said(blocks: Sequence[Block]) -> list[str]:
    found: list[str] = []
    for block in blocks:
        match block:
            case Text():
                found.append(block.text)
            case ToolUse():
                found.append(f"{block.name} {block.input.decode(errors='replace')}")
            case ToolResult():
                found += _said(block.content)
            case Image():
                found.append("[image]")
            case Thinking():
                pass
            case _:
                found.append(type(block).__name__)
    return found


def question(image: Image, before: Sequence[Message], beside: Message) -> Prompt:
    """What the model is asked: the image, and what was said before it and beside it."""
    told = [(message.role, canonical(message)[1:]) for message in before] + [(beside.role, spoken(beside))]
    context = "\n\n".join(f"{role}:\n" + "\n".join(texts)[-CONTEXT:] for role, texts in told)
    asked = Text(text=f"The conversation up to the image:\n\n{context}\n\nDescribe this image:")
    return Prompt(system=_ASKED, content=(asked, replace(image, raw=b"")), max_tokens=2_000, temperature=0.0)


def checked(answer: str) -> str | None:
    """A model's answer as a description: one paragraph of at most LONGEST characters; None where it says nothing."""
    text = " ".join(answer.split())
    if len(re.sub(r"\W", "", text)) < 3:
        return None
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
