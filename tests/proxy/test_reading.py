"""A body as a conversation."""

import pytest

from trimtab.api import BadRequest, Text, read_request


def test_it_reads_the_dialect_it_is_told() -> None:
    body = b'{"model":"m","system":"s","messages":[{"role":"user","content":"hello"}]}'
    assert [len(read_request(body, dialect).system) for dialect in ("messages", "chat")] == [1, 0]
    assert read_request(body, "chat").messages[0].blocks == (Text(text="hello"),)


def test_what_cannot_be_understood_is_refused() -> None:
    with pytest.raises(BadRequest, match="messages"):
        read_request(b'{"model":"m"}', "chat")
