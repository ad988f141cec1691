"""Made conversations of coding agents, to try stages on: the same ones for the same seed."""

import base64
import random
from collections.abc import Iterator, Mapping
from struct import pack
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from trimtab.corpus_forms import varied

MARK = {"type": "ephemeral"}
WORDS = (
    "the", "parser", "fails", "on", "line", "40", "of", "src/a.py", "because", "café", "\U0001f600", "<b>", "\\",
    '"quoted"', "```code```", "is", "never", "closed",
)  # fmt: skip
REMINDERS = (
    "You have not created a todo list yet.\n",
    "====\n\nREMINDERS\n\n| 1 | build | Pending |\n\nIMPORTANT: keep it.\n",
)


Name = Literal["chat", "messages", "responses"]
NAMES: tuple[Name, ...] = get_args(Name)


class Session(NamedTuple):
    """The messages of a conversation in one dialect; of `responses` its items."""

    dialect: Name
    messages: list[dict[str, Any]]
    marked: bool
    """Whether the client sets cache marks on its last two messages, so that they move from request to request."""

    def bodies(self, **more: Any) -> Iterator[bytes]:
        """The body of each request: the messages up to each turn of the user."""
        for index, message in enumerate(self.messages):
            last = index + 1 == len(self.messages) or _answers(self.messages[index + 1])
            if not _answers(message) and last:
                messages = self.messages[: index + 1]
                yield msgspec.json.encode({**self._body(_marked(messages) if self.marked else messages), **more})

    def _body(self, messages: list[dict[str, Any]]) -> Mapping[str, Any]:
        if self.dialect == "responses":
            return {"model": "small", "input": messages}
        return {"model": "small", "max_tokens": 16, "messages": messages}


def sessions(number: int, seed: int = 0) -> Iterator[Session]:
    """So many conversations, in all dialects by turns, of 1 to 12 requests; every other three of them are `varied`."""
    return (numbered(index, seed) for index in range(number))


def numbered(index: int, seed: int = 0) -> Session:
    """One of `sessions`."""
    dialect = NAMES[index % len(NAMES)]
    made = session(random.Random(f"{seed}:{index}"), dialect)
    if not index // len(NAMES) % 2:
        return made
    dice = random.Random(f"{seed}:{index}:varied")
    return made._replace(messages=varied(dice, dialect, made.messages, _Maker(dice).picture))


def session(dice: random.Random, dialect: Name) -> Session:
    """One conversation."""
    maker = _MAKERS[dialect](dice)
    messages: list[dict[str, Any]] = [{"role": "system", "content": maker.text(40)}] if dialect == "chat" else []
    calls: list[str] = []
    for turn in range(dice.choice((1, 2, 4, 8, 12))):
        messages += maker.user(turn, calls)
        calls = [f"call_{turn}_{n}" for n in range(dice.choice((0, 0, 1, 1, 1, 3)))]
        messages += maker.assistant(calls)
    # Responses knows no cache marks.
    return Session(dialect, messages, dice.random() < 0.5 and dialect != "responses")


class _Maker:
    """What the dialects have in common."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice

    def user(self, turn: int, calls: list[str]) -> list[dict[str, Any]]:
        """A turn of the user: results of calls, and what is said."""
        raise NotImplementedError

    def assistant(self, calls: list[str]) -> list[dict[str, Any]]:
        """A turn of the assistant, with calls."""
        raise NotImplementedError

    def text(self, most: int) -> str:
        return " ".join(self.dice.choice(WORDS) for _ in range(self.dice.randint(1, most)))

    def output(self) -> str:
        """What a tool prints: mostly short, now and then very long, now and then what it printed before."""
        kind = self.dice.random()
        if kind < 0.2:
            return "1 | import os\n" * 100
        return self.text(1_000 if kind > 0.9 else 40)

    def picture(self) -> tuple[str, str]:
        size = self.dice.randint(8, 2_000)
        head = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + pack(">II", size, size // 2 + 8)
        return "image/png", base64.b64encode(head + self.dice.randbytes(self.dice.choice((40, 3_000)))).decode()

    def environment(self, turn: int) -> str:
        parts = [
            f"# VSCode Open Tabs\n{self.dice.choice('abc') * 90}.py",
            f"# Current Time\n2026-01-01T00:00:{turn:02}Z",
        ]
        if self.dice.random() < 0.3:
            parts.append(f"# Recently Modified Files\n{self.dice.choice('abc')}.py")
        if turn == 0:
            parts.append("# Current Workspace Directory (/w) Files\na.py\nb.py")
        parts.append(self.dice.choice(REMINDERS))
        return "<environment_details>\n" + "\n\n".join(parts) + "</environment_details>"

    def said(self, turn: int) -> list[str]:
        """The texts of a user's turn."""
        texts = [self.text(30)] if self.dice.random() < 0.7 else []
        return [*texts, self.environment(turn)] if self.dice.random() < 0.6 or not texts else texts


class _Messages(_Maker):
    """Anthropic's dialect."""

    def user(self, turn: int, calls: list[str]) -> list[dict[str, Any]]:
        parts = [
            {"type": "tool_result", "tool_use_id": call, "content": self._result(), **self._failed()} for call in calls
        ]
        parts += [{"type": "text", "text": text} for text in self.said(turn)] if not calls or turn % 3 else []
        if self.dice.random() < 0.15:
            parts.insert(len(calls), self._image())
        if not calls and len(parts) == 1 and self.dice.random() < 0.5 and parts[0]["type"] == "text":
            return [{"role": "user", "content": parts[0]["text"]}]
        return [{"role": "user", "content": parts}]

    def assistant(self, calls: list[str]) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        if self.dice.random() < 0.3:
            parts.append({"type": "thinking", "thinking": self.text(20), "signature": "c2ln"})
        parts.append({"type": "text", "text": self.text(60)})
        parts += [{"type": "tool_use", "id": call, "name": "read", "input": {"path": self.text(3)}} for call in calls]
        return [{"role": "assistant", "content": parts}]

    def _result(self) -> Any:
        if self.dice.random() < 0.5:
            return self.output()
        parts: list[dict[str, Any]] = [{"type": "text", "text": self.output()}]
        return [*parts, self._image()] if self.dice.random() < 0.2 else parts

    def _failed(self) -> dict[str, Any]:
        return {"is_error": True} if self.dice.random() < 0.1 else {}

    def _image(self) -> dict[str, Any]:
        media, data = self.picture()
        return {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}


class _Chat(_Maker):
    """OpenAI's dialect."""

    def user(self, turn: int, calls: list[str]) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = [
            {"role": "tool", "tool_call_id": call, "content": self.output()} for call in calls
        ]
        if calls and self.dice.random() < 0.3:
            # As Roo does for z.ai: the block ends what the last tool says.
            messages[-1]["content"] += f"\n\n{self.environment(turn)}"
            return messages
        parts: list[dict[str, Any]] = [{"type": "text", "text": text} for text in self.said(turn)]
        if self.dice.random() < 0.15:
            media, data = self.picture()
            parts.insert(0, {"type": "image_url", "image_url": {"url": f"data:{media};base64,{data}"}})
        content: Any = parts[0]["text"] if len(parts) == 1 and "text" in parts[0] else parts
        return [*messages, {"role": "user", "content": content}]

    def assistant(self, calls: list[str]) -> list[dict[str, Any]]:
        message: dict[str, Any] = {"role": "assistant", "content": self.text(60)}
        if calls:
            arguments = msgspec.json.encode({"path": self.text(3)}).decode()
            function = {"name": "read", "arguments": arguments}
            message["tool_calls"] = [{"id": call, "type": "function", "function": function} for call in calls]
        return [message]


class _Responses(_Maker):
    """OpenAI's newer dialect: thoughts, calls and results are items of their own."""

    def user(self, turn: int, calls: list[str]) -> list[dict[str, Any]]:
        items = [{"type": "function_call_output", "call_id": call, "output": self.output()} for call in calls]
        if calls and self.dice.random() < 0.3:
            return items
        parts = [{"type": "input_text", "text": text} for text in self.said(turn)]
        if self.dice.random() < 0.15:
            media, data = self.picture()
            parts.insert(0, {"type": "input_image", "image_url": f"data:{media};base64,{data}"})
        if len(parts) == 1 and "text" in parts[0] and self.dice.random() < 0.5:
            return [*items, {"role": "user", "content": parts[0]["text"]}]
        return [*items, {"type": "message", "role": "user", "content": parts}]

    def assistant(self, calls: list[str]) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        if self.dice.random() < 0.3:
            thought = [{"type": "summary_text", "text": self.text(20)}]
            name = f"rs_{self.dice.randrange(1_000)}"
            items.append({"type": "reasoning", "id": name, "summary": thought, "encrypted_content": "Z0FB"})
        text = [{"type": "output_text", "text": self.text(60), "annotations": []}]
        items.append({"type": "message", "role": "assistant", "content": text})
        for call in calls:
            arguments = msgspec.json.encode({"path": self.text(3)}).decode()
            items.append({"type": "function_call", "call_id": call, "name": "read", "arguments": arguments})
        return items


_MAKERS: Mapping[Name, type[_Maker]] = {"chat": _Chat, "messages": _Messages, "responses": _Responses}


def _answers(message: Mapping[str, Any]) -> bool:
    """Whether the assistant says it; an item of Responses may have no role."""
    return message.get("role") == "assistant" or message.get("type") in _ANSWERS


_ANSWERS = ("function_call", "reasoning", "web_search_call")


def _marked(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with cache marks on the last part of the last two of the user."""
    marked = list(messages)
    for index in [index for index, message in enumerate(messages) if message["role"] == "user"][-2:]:
        content = messages[index]["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        marked[index] = {**messages[index], "content": [*parts[:-1], {**parts[-1], "cache_control": MARK}]}
    return marked
