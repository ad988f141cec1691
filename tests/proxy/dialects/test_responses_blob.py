"""What the proxy seals for a client to keep."""

import base64
import hashlib

import pytest

from trimtab.dialects.responses_blob import Sealed, seal, unseal


def test_what_was_sealed_is_read_again() -> None:
    for sealed in (Sealed("a thought: é 🚢", "c2ln"), Sealed("")):
        assert unseal("reasoning", seal("reasoning", sealed)) == sealed


def test_a_blob_is_the_same_for_the_same_text_and_base64() -> None:
    blob = seal("compaction", Sealed("x"))
    assert blob == seal("compaction", Sealed("x"))
    assert base64.b64decode(blob, validate=True).startswith(b"trimtab\x01")


@pytest.mark.parametrize("blob", [None, 7, "", "gAAAAABpM0Yj-...=", "é", base64.b64encode(b"other").decode()])
def test_foreign_ones_are_none_of_ours(blob: object) -> None:
    assert unseal("compaction", blob) is None


def test_a_damaged_one_and_one_of_another_kind_are_not_read() -> None:
    raw = bytearray(base64.b64decode(seal("compaction", Sealed("a summary"))))
    assert unseal("reasoning", base64.b64encode(raw).decode()) is None
    raw[-3] ^= 1
    assert unseal("compaction", base64.b64encode(raw).decode()) is None


def test_one_that_is_nested_without_end_is_foreign() -> None:
    mark, body = b"trimtab\x01c", b'{"text":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    blob = base64.b64encode(mark + hashlib.sha256(mark + body).digest()[:8] + body).decode()
    assert unseal("compaction", blob) is None
