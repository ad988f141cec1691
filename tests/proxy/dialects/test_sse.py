"""Frames out of bytes."""

import pytest

from trimtab.dialects import sse
from trimtab.dialects.sse import Fields, Framer, parse, write
from trimtab.errors import UpstreamError

EVENT = b"event: ping\ndata: {}\n\n"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_ends_a_frame(end: bytes) -> None:
    wire = b"data: a" + end * 2 + b"data: b" + end * 2
    frames = Framer().feed(wire)
    assert b"".join(frames) == wire
    assert [parse(frame).data for frame in frames] == [b"a", b"b"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_frames_are_the_same_however_bytes_were_split(end: bytes) -> None:
    wire = ("event: é\ndata: 🚢\n\n: comment\n\ndata: x\ndata: y\n\n".encode()).replace(b"\n", end)
    whole = Framer().feed(wire)
    assert len(whole) == 3
    for cut in range(len(wire) + 1):
        framer = Framer()
        assert [*framer.feed(wire[:cut]), *framer.feed(wire[cut:])] == whole
    framer = Framer()
    assert [frame for byte in wire for frame in framer.feed(bytes([byte]))] == whole


def test_a_frame_waits_for_its_end() -> None:
    framer = Framer()
    assert framer.feed(b"data: a\n") == []
    assert framer.rest == b"data: a\n"
    assert framer.feed(b"\nda") == [b"data: a\n\n"]
    assert framer.rest == b"da"


def test_half_of_a_line_end_waits_for_the_other() -> None:
    framer = Framer()
    assert framer.feed(b"data: a\r\n\r") == []
    assert framer.feed(b"\ndata: b\r\n\r\n") == [b"data: a\r\n\r\n", b"data: b\r\n\r\n"]


def test_a_frame_without_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_FRAME", 10)
    with pytest.raises(UpstreamError, match="over 10 bytes"):
        Framer().feed(b"data: 0123456789")


@pytest.mark.parametrize(
    ("frame", "event", "data"),
    [
        (b"data: a\n\n", b"", b"a"),
        (b"data:a\n\n", b"", b"a"),
        (b"data:  a\n\n", b"", b" a"),
        (b"data\n\n", b"", b""),
        (b"data: a\ndata: b\n\n", b"", b"a\nb"),
        (b"event: x\ndata: a\n\n", b"x", b"a"),
        (b"event: x\r\ndata: a\r\n\r\n", b"x", b"a"),
        (b"data: a\nevent:x\n\n", b"x", b"a"),
        (b"id: 1\nretry: 2\ndata: a\n\n", b"", b"a"),
        (b"\xef\xbb\xbfdata: a\n\n", b"", b"a"),
        (b": keep-alive\n\n", b"", None),
        (b"event: x\n\n", b"x", None),
    ],
)
def test_fields(frame: bytes, event: bytes, data: bytes | None) -> None:
    assert parse(frame) == Fields(event, data)


def test_write() -> None:
    assert write(b"{}") == b"data: {}\n\n"
    assert write(b"{}", "ping") == EVENT
    assert parse(EVENT) == Fields(b"ping", b"{}")


def test_a_chunk_that_is_one_frame_needs_no_cutting() -> None:
    framer = Framer()
    assert framer.alone(b"data: a\n\n")
    for chunk in (b"data: a\n\ndata: b\n\n", b"data: a\n", b"data: a\r\n\r\n", b"", b"data: a\r\ndata: b\n\n"):
        assert not framer.alone(chunk)
    assert framer.feed(b"data: ") == []
    assert not framer.alone(b"a\n\n")
    assert framer.feed(b"a\n\n") == [b"data: a\n\n"]
    assert framer.alone(b"data: b\n\n")
