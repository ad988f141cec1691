"""Parsers take any bytes: they answer or refuse in their own words, and never raise anything else."""

import base64
import json

from hypothesis import example, given
from hypothesis import strategies as st

from trimtab.dialects.sse import Framer, parse
from trimtab.errors import BadRequest
from trimtab.image_size import size_in, size_of
from trimtab.shape import deeper
from trimtab.splice import scan
from trimtab_stages.env_blocks import Tags, find

TURN = {"role": "user", "content": [{"type": "text"}]}
BODY = json.dumps({"model": "m", "system": "s", "tools": [{"name": "t"}], "messages": [TURN]}).encode()
PIECES = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"\\ud800", b"\\u", b"\x00", b"\xff", b"null", b"1e9", b" ",
     b"\n", b'"messages"']
)  # fmt: skip
"""What JSON is made of, and what breaks it."""

PNG, WEBP = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"RIFF\0\0\0\0WEBPVP8 "
MAGIC = st.sampled_from([PNG, WEBP, b"\xff\xd8\xff\xc0", b"\xff\xd8\xff\xe0", b"GIF89a"])


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A body with some bytes put in and some taken out."""
    raw = BODY
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(PIECES | st.binary(max_size=4)) + raw[at + draw(st.integers(0, 9)) :]
    return raw


@given(broken() | st.binary(max_size=200))
def test_a_json_body_is_cut_or_refused(body: bytes) -> None:
    try:
        scanned = scan(body, ("messages", "tools?"))
    except BadRequest:
        return
    try:
        value = json.loads(scanned.raw.decode())
    except UnicodeDecodeError:
        # Refused a step later, by the dialect, which knows what is new in a body.
        return
    assert set(scanned.members) == set(value)
    for name, (start, end) in scanned.members.items():
        assert json.loads(scanned.raw[start:end]) == value[name] or name in scanned.repeated


LINES = st.sampled_from([b"data: {}\n\n", b"\r\n", b":\n\n", b"event: x\r", b"\n"])


@given(st.lists(st.binary(max_size=60) | LINES, max_size=8))
def test_a_stream_of_any_bytes_is_framed_without_loss(pieces: list[bytes]) -> None:
    framer = Framer()
    frames = [frame for piece in pieces for frame in framer.feed(piece)]
    assert b"".join(frames) + framer.rest == b"".join(pieces)
    for frame in frames:
        parse(frame)


@given(MAGIC, st.binary(max_size=300))
@example(b"\xff\xd8", b"\xff" * 300)
@example(b"\xff\xd8", b"\xff\xe0\x00\x00" * 70)
def test_an_image_of_any_bytes_has_a_size_or_none(magic: bytes, rest: bytes) -> None:
    for raw in (magic + rest, magic[:3] + rest, rest):
        found = size_in(raw)
        assert found is None or min(found) > 0
        assert size_of(base64.b64encode(raw).decode()) == found


@given(st.text(max_size=80))
def test_a_picture_of_any_text_has_a_size_or_none(text: str) -> None:
    found = size_of(text)
    assert found is None or min(found) > 0


@given(st.binary(max_size=200), st.integers(1, 5))
def test_any_bytes_have_a_depth(raw: bytes, limit: int) -> None:
    assert deeper(raw, limit) in (True, False)


TAGS = (Tags("<environment_details>", "</environment_details>"),)
WORDS = st.sampled_from(
    ["<environment_details>", "</environment_details>", "\n", "# A", "```", "x: 1", " ", "\n\n# B\n"]
)


@given(st.lists(WORDS | st.text(max_size=5), max_size=30).map("".join))
def test_a_block_in_any_text_is_found_whole_or_not(text: str) -> None:
    found = find(text, TAGS)
    if found is not None:
        assert 0 <= found.start < found.end <= len(text)
        assert text[found.start :].startswith(TAGS[0].open)
