"""The client key that the proxy makes for itself, in a file that only its user can read."""

import os
import secrets

from loguru import logger

from trimtab.api import ConfigError

SHORTEST = 24
"""Characters of a key that cannot be guessed."""


def own_key(path: str) -> str:
    """The client key in the file `path`; made, kept there and printed this once when there is none."""
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        made = None if os.path.exists(path) else f"tt-{secrets.token_urlsafe(24)}"
        if made is not None:
            _create(path, made)
        os.chmod(path, 0o600)
        with open(path, encoding="ascii", errors="replace") as file:
            held = file.read().strip()
    except OSError as error:
        raise ConfigError(
            f"cannot keep the client key in {path} ({error.strerror}): make the folder writable, "
            "set auth.client-keys, or `auth.open = true`"
        ) from error
    if not (held.startswith("tt-") and len(held) >= SHORTEST):
        raise ConfigError(f"{path} holds no client key: delete the file, and a new key is made")
    if held == made:
        logger.warning("made a client key, shown this once and kept in {}: {}", path, held)
    return held


def _create(path: str, text: str) -> None:
    """Write a file whole or not at all; where another worker was first, its file stays."""
    draft = f"{path}.{secrets.token_hex(4)}"
    with open(draft, "x", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text + "\n")
    try:
        os.link(draft, path)
    except FileExistsError:
        os.unlink(draft)
    except OSError:
        # A file system without hard links.
        os.replace(draft, path)
    else:
        os.unlink(draft)
