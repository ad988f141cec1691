"""The text of a freeform tool out of the JSON around it, `{"input": "..."}`, piece by piece as the model writes it."""

import re

import msgspec

_HEAD = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_TOKEN = re.compile(r'[^"\\]+|\\u[0-9a-fA-F]{4}|\\["\\/bfnrt]')
_HIGH = re.compile(r"\\u[dD][89abAB]")
_CONTROL = re.compile(r"[\x00-\x1f]")


class Unwrapper:
    """Reads one call."""

    def __init__(self) -> None:
        self._raw: list[str] = []
        self._rest = ""
        self._inside = False
        self._over = False
        self._told: list[str] = []

    def feed(self, json: str) -> str:
        """The text that a piece of the JSON adds; nothing while it is not known to be the text."""
        self._raw.append(json)
        if self._over:
            return ""
        self._rest += json
        if not self._inside:
            head = _HEAD.match(self._rest)
            if head is None:
                return ""
            self._inside, self._rest = True, self._rest[head.end() :]
        text = self._read()
        self._told.append(text)
        return text

    def _read(self) -> str:
        """Whole characters off the start of what is left; half an escape stays."""
        tokens: list[str] = []
        at = 0
        while found := _TOKEN.match(self._rest, at):
            tokens.append(found.group())
            at = found.end()
        if self._rest[at : at + 1] == '"':
            self._over = True
        elif tokens and _HIGH.fullmatch(tokens[-1][:4]) and len(tokens[-1]) == 6:
            # The first half of a pair.
            at -= len(tokens.pop())
        self._rest = self._rest[at:]
        return _text("".join(tokens))

    def end(self) -> tuple[str, str]:
        """What was not told yet, and the whole text; what is no such JSON is the text itself."""
        whole, told = "".join(self._raw), "".join(self._told)
        try:
            found = msgspec.json.decode(whole)
        except (msgspec.DecodeError, RecursionError):
            found = None
        if isinstance(found, dict) and isinstance(found.get("input"), str):
            text: str = found["input"]
        else:
            text = told or whole
        if not text.startswith(told):
            text = told
        return text[len(told) :], text


def _text(escaped: str) -> str:
    # Some models write line ends as they are.
    escaped = _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", escaped)
    try:
        return str(msgspec.json.decode(f'"{escaped}"'))
    except msgspec.DecodeError:
        # Half a surrogate pair that has no other half.
        return escaped
