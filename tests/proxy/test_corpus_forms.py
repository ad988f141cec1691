"""What the varied half of the made conversations holds."""

import random
from typing import Any

import pytest

from trimtab.api import Document, Opaque, Thinking
from trimtab.corpus import NAMES, Name, sessions
from trimtab.corpus_forms import varied
from trimtab.invariants import faults
from trimtab.testing import StageBench

HELD = {
    "cline": b"Visual Studio Code Open Tabs",
    "kilo": b"Message time: ",
    "fence": b"```environment",
    "tildes": b"~~~environment",
    "windows": b"\\r\\n# Current Time",
    "nested": b"New Output\\n<environment_details>",
    "reminder": b"<system-reminder>",
    "written result": b"[read_file for 'src/a.py'] Result:",
    "words about an image": b"the photo again",
    "thoughts beside the text": b'"reasoning_content"',
    "a part nobody knows": b'"input_audio"',
    "an upload": b'"container_upload"',
    "a call of the server": b'"web_search_tool_result"',
    "a thought without text": b'"redacted_thinking"',
    "a search": b'"web_search_call"',
    "a system message in the middle": b'"role":"system","content":"be brief"',
    "an image of a tool beside its results": b"(see attached image)",
    "an image in a result": b'"output":[{"type":"input_text"',
}


def test_they_are_sound_and_hold_what_only_some_agents_send() -> None:
    held: set[str] = set()
    kinds: set[Any] = set()
    for made in sessions(240):
        for body in made.bodies():
            held |= {name for name, text in HELD.items() if text in body}
        conversation = StageBench().exchange(body, dialect=made.dialect).conversation
        assert faults(conversation) == []
        kinds |= {kind for kind in (Document, Opaque) if conversation.has(kind)}
        for message in conversation.messages:
            kinds |= {"redacted" for block in message.blocks if isinstance(block, Thinking) and block.redacted}
    assert held == {*HELD}
    assert kinds == {Document, Opaque, "redacted"}


@pytest.mark.parametrize("dialect", NAMES)
def test_the_same_dice_make_the_same_ones(dialect: Name) -> None:
    plain = next(made for made in sessions(6) if made.dialect == dialect).messages
    one, two = (varied(random.Random(1), dialect, plain, lambda: ("image/png", "AAAA")) for _ in range(2))
    assert one == two != plain
