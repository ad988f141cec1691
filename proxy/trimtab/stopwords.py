"""Ends a reply at a stop word that its upstream was not told, as the client asked (protocol.md P04).

Some upstreams take one stop word, some none of white space. The others are looked for here, in the visible text of a
block, wherever it was cut into pieces.
"""

from collections.abc import Sequence

from trimtab.events import BlockStop, Event, Finished, StopReason, TextDelta, replace


class StopWords:
    """A filter of one reply's events. Nothing may follow what it gives once `cut` is set."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)
        self._held = ""
        self._index = 0
        self.cut = False

    def __call__(self, events: Sequence[Event]) -> Sequence[Event]:
        """The events up to a stop word; the very same sequence where nothing is held back or cut off."""
        out: list[Event] = []
        for at, event in enumerate(events):
            if self.cut:
                break
            if isinstance(event, TextDelta):
                self._text(event, out, events[at + 1 :])
            else:
                self._release(out)
                out.append(event)
        same = len(out) == len(events) and all(a is b for a, b in zip(out, events, strict=True))
        return events if same else out

    def _text(self, event: TextDelta, out: list[Event], rest: Sequence[Event]) -> None:
        if event.index != self._index:
            self._release(out)
        text, self._index, held = self._held + event.text, event.index, self._held
        found = min(((at, word) for word in self._words if (at := text.find(word)) >= 0), default=None)
        if found is not None:
            self._end(text[: found[0]], found[1], out, rest)
            return
        keep = self._open(text)
        self._held = text[len(text) - keep :]
        if not held and not keep:
            out.append(event)
        elif shown := text[: len(text) - keep]:
            out.append(replace(event, text=shown))

    def _open(self, text: str) -> int:
        """Characters at the end of a text with which a stop word may begin."""
        longest = max(len(word) for word in self._words) - 1
        for size in range(min(longest, len(text)), 0, -1):
            if any(word.startswith(text[-size:]) for word in self._words):
                return size
        return 0

    def _release(self, out: list[Event]) -> None:
        if self._held:
            out.append(TextDelta(self._held, self._index))
            self._held = ""

    def _end(self, shown: str, word: str, out: list[Event], rest: Sequence[Event]) -> None:
        """The end in the upstream's place, with its usage where that is known already."""
        self.cut, self._held = True, ""
        if shown:
            out.append(TextDelta(shown, self._index))
        usage = next((event.usage for event in rest if isinstance(event, Finished)), None)
        out += [BlockStop(self._index), Finished(StopReason.STOP_SEQUENCE, usage, word, "stop_sequence")]
