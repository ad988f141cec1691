import base64
import json
from typing import Any

import pytest

from trimtab.conversation import Image
from trimtab.translate.media import chat_document, chat_image, messages_document, messages_image
from trimtab.translate.piece import Kind


@pytest.mark.parametrize(
    ("image", "url"),
    [
        (Image(media_type="image/png", data="aGk="), "data:image/png;base64,aGk="),
        (Image(data="aGk="), "data:image/png;base64,aGk="),
        (Image(url="https://h/a.png"), "https://h/a.png"),
        (Image(), None),
    ],
)
def test_an_image_for_chat(image: Image, url: str | None) -> None:
    made = chat_image(image)
    assert (None if made is None else json.loads(made)["image_url"]["url"]) == url


@pytest.mark.parametrize(
    ("image", "source"),
    [
        (Image(url="http://h/a.png"), {"type": "url", "url": "http://h/a.png"}),
        (Image(url="file:///a.png"), None),
        (Image(media_type="image/JPG", data="_-8"), {"type": "base64", "media_type": "image/jpeg", "data": "/+8="}),
        (Image(data="R0lGODlh\n"), {"type": "base64", "media_type": "image/gif", "data": "R0lGODlh"}),
        (Image(data="aGk="), {"type": "base64", "media_type": "image/png", "data": "aGk="}),
    ],
)
def test_an_image_for_messages(image: Image, source: dict[str, str] | None) -> None:
    made = messages_image(image)
    assert (None if made is None else json.loads(made)["source"]) == source


def document(source: Any, **more: Any) -> list[tuple[Kind, Any]]:
    made = chat_document(json.dumps({"type": "document", "source": source, **more}).encode())
    return [(p.kind, json.loads(p.body) if p.kind is Kind.FILE else p.body.decode()) for p in made]


def test_a_document_for_chat() -> None:
    [(kind, found)] = document({"type": "base64", "media_type": "application/pdf", "data": "JVBE"}, title="plan")
    assert kind is Kind.FILE
    assert found["file"] == {"filename": "plan.pdf", "file_data": "data:application/pdf;base64,JVBE"}
    assert document({"type": "text", "data": "t"}, title="notes.txt") == [(Kind.TEXT, "notes.txt\\n\\nt")]
    inner = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    found = document({"type": "content", "content": inner})
    assert found == [(Kind.TEXT, "document\\n\\na\\nb"), (Kind.LOST, "image")]
    assert document({"type": "content", "content": "c"}) == [(Kind.TEXT, "document\\n\\nc")]
    for source in ({"type": "file", "file_id": "f"}, None, "x"):
        assert [kind for kind, _ in document(source)] == [Kind.TEXT, Kind.LOST]


def file(**members: Any) -> list[tuple[Kind, Any]]:
    made = messages_document(json.dumps({"type": "file", "file": members}).encode())
    return [(p.kind, json.loads(p.body) if p.kind is Kind.FILE else p.body.decode()) for p in made]


def test_a_file_for_messages() -> None:
    [(kind, found)] = file(filename="a.pdf", file_data="data:application/pdf;base64,JVBE")
    assert (kind, found["title"], found["source"]["data"]) == (Kind.FILE, "a.pdf", "JVBE")
    told = base64.b64encode("né".encode()).decode()
    assert file(filename="n", file_data=f"data:text/plain;base64,{told}") == [(Kind.TEXT, "n\\n\\nné")]
    for members in ({"file_id": "f"}, {"file_data": "data:text/plain;base64,a"}, {"file_data": "data:x/y;base64,aGk="}):
        assert [kind for kind, _ in file(**members)] == [Kind.TEXT, Kind.LOST]
