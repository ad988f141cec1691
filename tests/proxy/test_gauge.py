"""The length of replies that nobody decoded."""

import json

from laws.samples import REPLIES
from trimtab.dialects.sse import Framer
from trimtab.gauge import Gauge


def gauged(*frames: bytes) -> int:
    gauge = Gauge()
    for frame in frames:
        gauge.add(frame)
    return gauge.characters()


def test_what_a_stream_says_is_counted_and_its_wrapping_is_not() -> None:
    said = "Let me see é." + 'I\'ll "look" at it 🚢.\n' + '{"path": "a.txt"}'
    assert gauged(*Framer().feed(REPLIES["anthropic"].stream)) == len(said)
    said = "hm" + 'I\'ll "look" 🚢' + '{"path": "a"}' + '{"all": true}'
    assert gauged(*Framer().feed(REPLIES["openai"].stream)) == len(said)


def test_silence_is_nothing() -> None:
    assert gauged() == 0
    assert gauged(b": ping\n\n", b'data: {"choices":[{"delta":{"content":""}}]}\n\n') == 0


def test_a_long_reply_goes_on_like_its_beginning() -> None:
    frame = b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % (b"w" * 100)
    assert gauged(*[frame] * 5000) == 500_000


def test_a_text_that_is_no_json_is_counted_by_its_bytes() -> None:
    assert gauged(b'data: {"text":"a\xff\\q"}\n\n') == 4
    assert gauged(b"data: " + json.dumps({"text": "é\n"}).encode()) == 2
