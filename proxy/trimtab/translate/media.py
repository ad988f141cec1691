"""Pictures and files, from the parts of one dialect into those of the other."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import msgspec

from trimtab.conversation import Image
from trimtab.dialects.parts import data_url
from trimtab.translate.piece import Kind, Piece, gone, left_out, text

_MAGIC = {"iVBOR": "image/png", "/9j/": "image/jpeg", "R0lGOD": "image/gif", "UklGR": "image/webp"}
_PDF = "application/pdf"
_URL_SAFE = str.maketrans("-_", "+/", " \t\r\n")


def chat_image(image: Image) -> bytes | None:
    """An image as a part of a chat message; None for one that only its own vendor can find."""
    url = image.url or (f"data:{image.media_type or 'image/png'};base64,{image.data}" if image.data else "")
    return msgspec.json.encode({"type": "image_url", "image_url": {"url": url}}) if url else None


def messages_image(image: Image) -> bytes | None:
    """An image as a block of a message; None for one that is neither inline nor to be fetched over HTTP."""
    if image.data:
        source = {"type": "base64", "media_type": _media_type(image), "data": _plain(image.data)}
    elif image.url.startswith(("http://", "https://")):
        source = {"type": "url", "url": image.url}
    else:
        return None
    return msgspec.json.encode({"type": "image", "source": source})


def _media_type(image: Image) -> str:
    given = image.media_type.strip().lower().replace("image/jpg", "image/jpeg")
    return given or next((name for start, name in _MAGIC.items() if image.data.startswith(start)), "image/png")


def _plain(data: str) -> str:
    """Base64 in the standard letters, without white space and with its padding."""
    if not (data.isascii() and data.replace("+", "").replace("/", "").rstrip("=").isalnum()):
        data = data.translate(_URL_SAFE)
    return data + "=" * (-len(data) % 4)


def chat_document(raw: bytes) -> Sequence[Piece]:
    """A document of a message: a PDF stays a file, plain text becomes text with a line for its title."""
    block = msgspec.json.decode(raw)
    source = block.get("source")
    source = source if isinstance(source, dict) else {}
    title = str(block.get("title") or "document")
    data = source.get("data")
    match source.get("type"):
        case "base64" if isinstance(data, str):
            kind = source.get("media_type") or _PDF
            name = title if "." in title else f"{title}.pdf"
            file = {"filename": name, "file_data": f"data:{kind};base64,{data}"}
            return (Piece("user", Kind.FILE, msgspec.json.encode({"type": "file", "file": file})),)
        case "text" if isinstance(data, str):
            return (text("user", f"{title}\n\n{data}"),)
        case "content":
            content = source.get("content")
            told = text("user", f"{title}\n\n{plain_text(content)}")
            kinds = (
                [part.get("type") for part in content if isinstance(part, dict)] if isinstance(content, list) else []
            )
            return (told, *(gone("user", str(kind)) for kind in kinds if kind != "text"))
    return left_out("user", "document")


def plain_text(content: Any) -> str:
    """The text in a string or in a list of blocks."""
    if isinstance(content, str):
        return content
    found = content if isinstance(content, list) else []
    return "\n".join(part["text"] for part in found if isinstance(part, dict) and isinstance(part.get("text"), str))


def messages_document(raw: bytes) -> Sequence[Piece]:
    """A file of a chat message: what is inline becomes a document."""
    file = msgspec.json.decode(raw).get("file")
    file = file if isinstance(file, dict) else {}
    found = data_url(str(file.get("file_data") or ""))
    name = str(file.get("filename") or "document")
    if found.data and found.media_type == _PDF:
        source = {"type": "base64", "media_type": _PDF, "data": _plain(found.data)}
        block = {"type": "document", "source": source, "title": name}
        return (Piece("user", Kind.FILE, msgspec.json.encode(block)),)
    if found.data and found.media_type.startswith("text/"):
        try:
            return (text("user", f"{name}\n\n{base64.b64decode(found.data).decode('utf-8', 'replace')}"),)
        except binascii.Error:
            pass
    return left_out("user", "file")
