"""Made conversations with what else agents send: other clients' environment blocks, reminders, parts nobody knows."""

import random
from collections.abc import Callable, Mapping
from typing import Any

Message = dict[str, Any]
Picture = Callable[[], tuple[str, str]]
"""Gives the media type and the base64 of a picture."""

OPEN, CLOSE = "<environment_details>", "</environment_details>"
REMINDER = "<system-reminder>\nThe list of things to do is empty.\n</system-reminder>"
WRITTEN = "[read_file for 'src/a.py'] Result:"
_MODIFIED = (
    "These files have been modified since you last accessed them (file was just edited so you may need to re-read it "
    "before editing):"
)


def varied(dice: random.Random, dialect: str, messages: list[Message], picture: Picture) -> list[Message]:
    """The messages with the blocks of another client, and with what only some agents send."""
    block = dice.choice(_BLOCKS)
    found: list[Message] = []
    for number, message in enumerate(messages):
        new = _renamed(message, lambda: block(dice, number))  # noqa: B023  # used before the next round
        found += _MORE[dialect](dice, new, picture) if dice.random() < 0.5 else [new]
    return found


def _renamed(value: Any, block: Callable[[], str]) -> Any:
    """A message with another block in the place of each."""
    if isinstance(value, dict):
        return {name: _renamed(each, block) for name, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, block) for each in value]
    if isinstance(value, str) and value.endswith(CLOSE):
        return value[: value.rindex(OPEN)] + block()
    return value


def _cline(dice: random.Random, number: int) -> str:
    parts = [
        f"# Visual Studio Code Visible Files\nsrc/{dice.choice('ab')}.ts",
        f"# Visual Studio Code Open Tabs\n{dice.choice('abc') * 60}.ts",
    ]
    if dice.random() < 0.4:
        output = dice.choice(("ready", "# a title\n\n# Current Cost\n$9.00", f"{OPEN}\n\n# Git Status\nmine\n{CLOSE}"))
        parts.append(f"# Actively Running Terminals\n## Original command: `npm run dev`\n### New Output\n{output}")
    if dice.random() < 0.4:
        parts.append(f"# Recently Modified Files\n{_MODIFIED}\nsrc/{dice.choice('ab')}.ts")
    parts.append(f"# Current Time\n6/11/2026, 1:02:{number:02} PM (Europe/Paris, UTC+2:00)")
    if number < 2:
        parts += ["# Workspace Configuration\n{}", "# Detected CLI Tools\ngit"]
    parts += [f"# Context Window Usage\n{number}3,456 / 200K tokens used", f"# Current Mode\n{dice.choice('AP')} MODE"]
    return f"{OPEN}\n" + "\n\n".join(parts) + f"\n{CLOSE}"


def _kilo(dice: random.Random, number: int) -> str:
    tabs = "\n".join(f"  {name}.py" for name in dice.choice(("a", "ab", "abc")))
    lines = (
        f"Message time: 2026-01-01T10:00:{number:02}Z", "Working directory: /w", f"Active file: {dice.choice('ab')}.py",
        f"Visible files:\n{tabs}", "Shell: bash",
    )  # fmt: skip
    return f"{OPEN}\n" + "\n".join(lines) + f"\n{CLOSE}"


def _fenced(dice: random.Random, number: int) -> str:
    fence = dice.choice(("```", "~~~"))
    tabs = f"# VSCode Open Tabs\n{dice.choice('abc') * 60}.py"
    return f"{fence}environment\n{tabs}\n\n# Current Time\n{number}\n\n# Something New\n{dice.choice('ab')}\n{fence}"


def _windows(dice: random.Random, number: int) -> str:
    return _cline(dice, number).replace("\n", "\r\n")


_BLOCKS = (_cline, _kilo, _fenced, _windows)


def _messages(dice: random.Random, message: Message, _picture: Picture) -> list[Message]:
    """Anthropic's: calls that the server makes, thoughts without text, documents, a system message in the middle."""
    content = message["content"]
    if not isinstance(content, list):
        return [message]
    if message["role"] == "assistant":
        name = f"srvtoolu_{dice.randrange(1_000)}"
        found = [{"type": "web_search_result", "url": "https://example.org", "title": "a"}]
        thought: list[Message] = [{"type": "redacted_thinking", "data": "c2ln"}]
        search: list[Message] = [
            {"type": "server_tool_use", "id": name, "name": "web_search", "input": {"query": "a"}},
            {"type": "web_search_tool_result", "tool_use_id": name, "content": found},
        ]
        more = dice.choice((thought, search))
        return [{**message, "content": [*more, *content]}]
    results = sum(part["type"] == "tool_result" for part in content)
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a page"}}
    beside: list[Message] = dice.choice((
        [document], [{"type": "container_upload", "file_id": "file_1"}], [{"type": "text", "text": REMINDER}],
        [{"type": "text", "text": WRITTEN}, {"type": "text", "text": "1 | import os\n" * dice.choice((1, 60))}],
        [{"type": "text", "text": "as in the screenshot"}],
    ))  # fmt: skip
    said = {**message, "content": [*content[:results], *beside, *content[results:]]}
    return [said, {"role": "system", "content": "be brief"}] if dice.random() < 0.1 else [said]


def _chat(dice: random.Random, message: Message, picture: Picture) -> list[Message]:
    """OpenAI's: thoughts beside the text, reminders in what tools say, their images in a message behind them."""
    if message["role"] == "assistant":
        return [{**message, "reasoning_content": "so it is", "provider_specific_fields": {"a": None}}]
    if message["role"] == "tool" and not message["content"].endswith((CLOSE, "```", "~~~")):
        return [{**message, "content": f"{message['content']}\n\n{REMINDER}"}]
    if message["role"] == "user" and isinstance(message["content"], str) and dice.random() < 0.3:
        media, data = picture()
        image = {"type": "image_url", "image_url": {"url": f"data:{media};base64,{data}"}}
        return [{"role": "user", "content": [{"type": "text", "text": "(see attached image)"}, image]}, message]
    if message["role"] == "user" and isinstance(message["content"], list):
        audio = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
        written = {"type": "text", "text": f"{WRITTEN}\n" + "1 | import os\n" * dice.choice((1, 60))}
        more = dice.choice((audio, written, {"type": "text", "text": "the photo again"}))
        return [{**message, "content": [more, *message["content"]]}]
    return [message]


def _responses(dice: random.Random, message: Message, picture: Picture) -> list[Message]:
    """OpenAI's newer one: searches of the server, instructions in the middle, images in what tools say."""
    if message.get("type") == "function_call_output" and dice.random() < 0.5:
        media, data = picture()
        image = {"type": "input_image", "image_url": f"data:{media};base64,{data}"}
        return [{**message, "output": [{"type": "input_text", "text": message["output"]}, image]}]
    if message.get("role") == "assistant":
        search = {"type": "web_search_call", "id": f"ws_{dice.randrange(1_000)}", "status": "completed"}
        return [search, message]
    if message.get("role") == "user" and dice.random() < 0.3:
        return [{"type": "message", "role": "developer", "content": REMINDER}, message]
    return [message]


_MORE: Mapping[str, Callable[[random.Random, Message, Picture], list[Message]]] = {
    "chat": _chat,
    "messages": _messages,
    "responses": _responses,
}
