"""The upstream log: whole bodies, both ways, as JSON lines in a file of its own. It holds prompts: mode 600.

Loguru's file sink writes and rotates it. The records carry the lowest level there is, so that no sink of the program
shows them (one added with `level=0` would).
"""

import base64
import errno
import glob
import gzip
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

import msgspec
from loguru import logger

from trimtab.api import Clock, ConfigError, Conversation, Event, StageOptions
from trimtab_stages.log_reply import reply_of

try:
    import fcntl
except ImportError:  # Windows: one process alone
    fcntl = None  # type: ignore[assignment]  # Windows has none

LEVEL = 1
DAY = 86400.0
_STAMP = r"\.\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_\d{6}(?:\.\d+)?"


class UpstreamLog(StageOptions, frozen=True, kw_only=True):
    """Options of the upstream log."""

    file: str | None = None
    """Where bodies go; nothing is written without it."""
    received: bool = False
    """Whether a request that stages changed is written as it came, too: `trimtab replay` needs it."""
    rotate: bool = True
    """Whether a new file is begun when one is full."""
    max_mb: float = 50
    """Megabytes of a full file."""
    keep: int = 10
    """Full files kept; 0 is all."""
    compress: bool = True
    """Whether full files are packed with gzip."""
    compress_at_once: bool = True
    """Whether that is done as soon as a file is full, or at the next cleanup."""
    days: float = 30
    """Days a full file is kept; 0 is for good."""
    cleanup_hours: float = 24
    """Hours between two cleanups; 0 cleans up when a file is full only."""
    log: bool = True
    """Whether packing and removing files is told in the log."""

    def __post_init__(self) -> None:
        if self.max_mb <= 0:
            raise ValueError("upstream.max-mb must be more than 0; `rotate = false` is one file without an end")
        if min(self.keep, self.days, self.cleanup_hours) < 0:
            raise ValueError("upstream.keep, .days and .cleanup-hours must be 0 or more")


class Body(msgspec.Struct, kw_only=True):
    """One body on its way to the file; a conversation is rendered, and a reply put together, by the writer's thread."""

    time: float
    id: str
    direction: str
    upstream: str | None
    model: str | None
    dialect: str
    content: Conversation | list[Event] | bytes


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class Bodies:
    """The file of bodies. All but `open` and `close` runs in the writer's thread."""

    def __init__(self, options: UpstreamLog, clock: Clock) -> None:
        self.options = options
        self.path = os.path.abspath(options.file or "")
        self._clock = clock
        self._sink: int | None = None
        self._said: list[str] = []
        self._logger = logger.bind(bodies=self).opt(raw=True)

    def open(self) -> None:
        """Open the file. Raises ConfigError when that cannot be."""
        full, options = self._full, self.options
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            os.close(_private(self.path, os.O_WRONLY | os.O_CREAT))
            os.chmod(self.path, 0o600)
            self._sink = logger.add(
                self.path.replace("{", "{{").replace("}", "}}"),
                level=LEVEL,
                filter=lambda record: record["extra"].get("bodies") is self,
                rotation=full if options.rotate else None,
                retention=self._retain if options.rotate else None,
                compression=self._pack if options.rotate and options.compress and options.compress_at_once else None,
                # Another worker, or the stages of before a reload, may have rotated the file.
                watch=True,
                # Loguru would print a record that it cannot write, prompt and all, to stderr.
                catch=False,
                opener=_private,
            )
        except OSError as error:
            raise self._unwritable(error) from error

    def check(self) -> None:
        """Raise ConfigError when the file could not be opened; nothing is made."""
        place = self.path
        while not os.path.exists(place) and place != os.path.dirname(place):
            place = os.path.dirname(place)
        if place == self.path and not os.path.isfile(place):
            raise self._unwritable(IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
        if place != self.path and not os.path.isdir(place):
            raise self._unwritable(NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
        if not os.access(place, os.W_OK):
            raise self._unwritable(PermissionError(errno.EACCES, os.strerror(errno.EACCES)))

    def _unwritable(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"log.upstream.file: cannot write {self.options.file} ({error.strerror}): name a file in a writable folder"
        )

    def close(self) -> None:
        """Close the file."""
        if self._sink is not None:
            logger.remove(self._sink)
            self._sink = None

    def write(self, body: Body) -> None:
        """Write one body as one line."""
        line = json_line(body)
        with self._alone():
            self._logger.log(LEVEL, line)
        self._tell()

    def cleanup(self) -> None:
        """Pack what lies about unpacked, remove what is old or too many."""
        with self._alone():
            if self.options.compress:
                for path in self._rotated():
                    if not path.endswith(".gz"):
                        with suppress(OSError):
                            self._pack(path)
            self._retain([])
        self._tell()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep the others that write this file out (workers, the stages of before a reload).

        One that rotates and packs a full file would lose the line that another is just writing to it.
        """
        if fcntl is None or not self.options.rotate:
            yield
            return
        descriptor = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _tell(self) -> None:
        # Said after the sink let go of its lock; loguru refuses to be called from within a sink.
        said, self._said = self._said, []
        if self.options.log:
            for sentence in said:
                logger.info("upstream log: {}", sentence)

    def _full(self, message: str, file: TextIO) -> bool:
        at = file.seek(0, os.SEEK_END)
        return at > 0 and at + len(message) > self.options.max_mb * 1024 * 1024

    def _pack(self, path: str) -> None:
        packed, status = f"{path}.gz", os.stat(path)
        with open(path, "rb") as source, open(packed, "wb", opener=_private) as raw, gzip.open(raw, "wb") as file:
            shutil.copyfileobj(source, file, 1024 * 1024)
        os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.unlink(path)
        self._said.append(f"packed {os.path.basename(packed)}")

    def _retain(self, _files: list[str]) -> None:
        """Remove old files. Loguru's list is not used: its pattern also fits files that are not ours."""
        keep, days = self.options.keep, self.options.days
        oldest = self._clock.now() - days * DAY if days else 0.0
        found = sorted(self._rotated(), key=_modified, reverse=True)
        for position, path in enumerate(found):
            if (keep and position >= keep) or _modified(path) < oldest:
                with suppress(OSError):
                    os.unlink(path)
                    self._said.append(f"removed {os.path.basename(path)}")

    def _rotated(self) -> Iterator[str]:
        root, extension = os.path.splitext(self.path)
        ours = re.compile(re.escape(root) + _STAMP + re.escape(extension) + r"(?:\.gz)?")
        return (path for path in glob.glob(f"{glob.escape(root)}.*") if ours.fullmatch(path))


def _modified(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def json_line(body: Body) -> str:
    """The JSON line of a body."""
    content = body.content
    if isinstance(content, Conversation):
        content = content.render()
    elif isinstance(content, list):
        content = msgspec.json.encode(reply_of(content))
    head = {
        "time": body.time,
        "id": body.id,
        "direction": body.direction,
        "upstream": body.upstream,
        "model": body.model,
        "dialect": body.dialect,
    }
    text = _json_text(content)
    tail = {"base64": base64.b64encode(content).decode()} if text is None else {"body": msgspec.Raw(text)}
    return msgspec.json.encode({**head, **tail}).decode() + "\n"


def _json_text(content: bytes) -> bytes | None:
    """A body that can stand in a line as it is; None when it is no JSON text."""
    try:
        content.decode()
        msgspec.json.decode(content, type=msgspec.Raw)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return None
    # In valid JSON a line end stands between two tokens only, where a space says the same.
    return content.replace(b"\r", b" ").replace(b"\n", b" ")
