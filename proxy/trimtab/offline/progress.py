"""A bar that shows how far long work is, on a terminal only."""

from typing import TextIO

WIDTH = 30


class Progress:
    """Draws on `stream` when that is a terminal, and nothing else."""

    def __init__(self, stream: TextIO, whole: int) -> None:
        self._stream = stream
        self._shown = stream.isatty() and whole > 0
        self._whole = whole
        self._done = 0
        self._line = ""

    def add(self, amount: int, text: str) -> None:
        """So much more of the whole is done; `text` names what is at work."""
        self._done = min(self._whole, self._done + amount)
        self.say(text)

    def say(self, text: str, more: float = 0.0) -> None:
        """Name what is at work; `more` of it is done too, and counted by `add` later."""
        if not self._shown:
            return
        share = min(1.0, (self._done + more) / self._whole)
        bar = "#" * round(WIDTH * share)
        line = f"[{bar:<{WIDTH}}] {share:4.0%} {text}"[:100]
        if line != self._line:
            self._stream.write(f"\r{line:<{len(self._line)}}")
            self._stream.flush()
            self._line = line

    def end(self) -> None:
        """Wipe the bar."""
        if self._shown and self._line:
            self._stream.write(f"\r{'':<{len(self._line)}}\r")
            self._stream.flush()
            self._line = ""
