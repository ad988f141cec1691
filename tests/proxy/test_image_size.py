"""Sizes of pictures from their first bytes."""

import base64
from struct import pack

import pytest

from trimtab.api import Image
from trimtab.image_size import LOOK, Picture, picture_of, size_in, size_of


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + pack(">II", width, height) + b"\x08\x02\x00\x00\x00"


def gif(width: int, height: int, version: bytes = b"89a") -> bytes:
    return b"GIF" + version + pack("<HH", width, height) + b"\x00" * 9


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF" + pack("<I", 30) + b"WEBP" + kind + pack("<I", len(body)) + body + b"\x00" * 12


def lossy(width: int, height: int) -> bytes:
    return webp(b"VP8 ", b"\x00\x00\x00\x9d\x01\x2a" + pack("<HH", width, height))


def lossless(width: int, height: int) -> bytes:
    return webp(b"VP8L", b"\x2f" + pack("<I", (width - 1) | (height - 1) << 14))


def extended(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return webp(b"VP8X", b"\x00\x00\x00\x00" + sides)


def segment(marker: int, body: bytes) -> bytes:
    return pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg(width: int, height: int, *before: bytes, marker: int = 0xC0) -> bytes:
    frame = segment(marker, b"\x08" + pack(">HH", height, width) + b"\x03" + b"\x00" * 9)
    return b"\xff\xd8" + b"".join(before) + frame + segment(0xDA, b"\x00" * 8)


def text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


PREVIEW = segment(0xE1, b"\x00" * 30_000)

KNOWN = [
    (png(1920, 1080), (1920, 1080)),
    (png(1, 2**31 - 1), (1, 2**31 - 1)),
    (gif(320, 200), (320, 200)),
    (gif(320, 200, b"87a"), (320, 200)),
    (lossy(640, 480), (640, 480)),
    (lossless(1000, 16_384), (1000, 16_384)),
    (extended(4000, 3000), (4000, 3000)),
    (jpeg(800, 600), (800, 600)),
    (jpeg(800, 600, marker=0xC2), (800, 600)),
    (jpeg(800, 600, segment(0xE0, b"JFIF\x00"), segment(0xC4, b"\x00" * 20), b"\xff\xff\xff"), (800, 600)),
    (jpeg(800, 600, b"\xff\x01", b"\xff\xd0"), (800, 600)),
    (jpeg(800, 600, PREVIEW), (800, 600)),
]


@pytest.mark.parametrize(("raw", "size"), KNOWN)
def test_the_size_is_in_the_header(raw: bytes, size: tuple[int, int]) -> None:
    assert size_of(text(raw)) == size
    assert size_of(text(raw + b"\x00" * 100_000)) == size


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"hello world",
        png(0, 5),
        png(5, 5)[:20],
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rCgBI" + b"\x00" * 20,
        gif(5, 5)[:8],
        webp(b"ANIM", b"\x00" * 10),
        webp(b"VP8L", b"\x00" * 10),
        lossy(5, 5)[:20],
        b"RIFF0000WAVE" + b"\x00" * 30,
        b"\xff\xd8\xff\xd9" + jpeg(5, 5)[2:],
        b"\xff\xd8" + b"\x00" * 40,
        b"\xff\xd8" + segment(0xE1, b"")[:2] + b"\x00\x00" * 20,
        jpeg(800, 600, PREVIEW, PREVIEW),
    ],
)
def test_what_cannot_be_read_is_not_known(raw: bytes) -> None:
    assert size_of(text(raw)) is None


def test_no_more_is_looked_at_than_promised() -> None:
    room = LOOK // 4 * 3
    before = segment(0xE1, b"\x00" * (room - 2 - 4 - 9))
    assert size_of(text(jpeg(800, 600, before))) == (800, 600)
    assert size_of(text(jpeg(800, 600, before[:3] + bytes([before[3] + 1]) + before[4:] + b"\x00"))) is None


def test_every_cut_is_survived() -> None:
    for raw, size in KNOWN:
        for end in range(min(len(raw), 80)):
            assert size_in(raw[:end]) in (None, size)


def test_base64_in_lines_is_read() -> None:
    lines = base64.encodebytes(png(1920, 1080) + b"\x00" * 3000).decode()
    assert size_of(lines) == (1920, 1080)
    assert size_of(lines.replace("\n", "\r\n")) == (1920, 1080)


@pytest.mark.parametrize("data", ["\u8239\u8235", "====", "a", "iVBORw0KGgo\ud800"])
def test_what_is_no_base64_is_not_known(data: str) -> None:
    assert size_of(data) is None


LOW = b'{"type":"image_url","image_url":{"url":"data:image/png;base64,%s", "detail" : "low"}}'


def test_low_detail_is_seen_on_either_side() -> None:
    data = text(png(1920, 1080) + b"\x00" * 1000)
    first = b'{"image_url":{"detail":"low","url":"data:image/png;base64,%s"},"type":"image_url"}'
    for raw in (LOW, first):
        assert picture_of(Image(data=data, raw=raw % data.encode())) == Picture(1920, 1080, low=True)
    assert picture_of(Image(data=data, raw=LOW.replace(b"low", b"high") % data.encode())) == Picture(1920, 1080)


def test_an_address_tells_no_size() -> None:
    assert picture_of(Image(url="https://a.test/b.png")) == Picture()
