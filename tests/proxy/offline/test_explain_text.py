"""What `trimtab explain` prints."""

from msgspec.structs import replace

from trimtab.caches import Split
from trimtab.models import Terms
from trimtab.offline.explain import Cached, Change, Explanation, Route, Told
from trimtab.offline.explain_text import text

CHANGE = Change(where="message 2 (user)", reason="said", tokens=-40, lines=tuple(f"- line {n}" for n in range(5)))
TOLD = Explanation(
    dialect="chat", model="m", messages=3, turns=2, bytes=900, compaction=False, tokens=100, untouched=False,
    stages=(
        Told(stage="auth", ms=0.1, before=100, after=100, first_changed=None, changes=(), notes=("n",), records=0),
        Told(stage="trim", ms=1.5, before=100, after=60, first_changed=7, changes=(CHANGE,), notes=(), records=1),
    ),
    caches=(Cached(kind="implicit", client=Split(90, 0, 10), sent=Split(50, 0, 10)),),
    route=Route(upstream="u", model="m2", url="http://u.test", dialect="messages", translated=True, bytes=800,
                dropped=("seed",), terms=Terms("implicit", 0.5, 1.0, 300, 3600, 1024, 2.0, 0.0, quota=False)),
    ended=None, counted=61, calibrated=70, risk="SAFE", headers={"x-context-used": "70"},
)  # fmt: skip


def test_stages_stand_in_their_order_with_what_they_did() -> None:
    lines = text(TOLD, (0.1,), 2).splitlines()
    assert lines[0] == "chat request for m: 3 messages, turn 2, 100 tokens"
    assert lines[2:10] == [
        " 1. auth                0.10 ms  changed nothing",
        "      note: n",
        " 2. trim                1.50 ms  100 -> 60 tokens (-40, -40.0 %), first changed token 7",
        "      message 2 (user): said, -40 tokens",
        "        - line 0",
        "        - line 1",
        "        ... 3 more lines (--lines 0 shows all)",
        "      writes 1 record, found again by the next requests",
    ]


def test_all_lines_are_shown_when_asked_for() -> None:
    assert "- line 4" in text(TOLD, (0.1,), 0)


def test_route_and_price_are_told() -> None:
    told = text(TOLD, (0.1, 0.5), 0)
    for sentence in (
        "goes to u as m2: http://u.test",
        "800 bytes, translated to messages (900 came)",
        "dropped: seed",
        "counted: 61 tokens, 70 as this upstream is likely to count; risk SAFE",
        "the client reads x-context-used: 70",
        "this target: implicit cache, r=0.5, $2 a million tokens: $0.00011, sent $0.00007",
    ):
        assert sentence in told
    rows = {line.split()[0]: line.split()[1:] for line in told.splitlines() if line.startswith(("  client", "  sent"))}
    assert rows == {"client": ["100", "90", "0", "10", "19", "55"], "sent": ["60", "50", "0", "10", "15", "35"]}


def test_an_untouched_body_says_so() -> None:
    assert TOLD.route is not None
    same = replace(TOLD, untouched=True, route=replace(TOLD.route, translated=False))
    assert "byte for byte as it came" in text(same, (0.1,), 0)
    assert "changed as told above" in text(replace(same, untouched=False), (0.1,), 0)


def test_an_end_without_an_upstream_says_why() -> None:
    told = text(replace(TOLD, route=None, ended="too long", turns=1, compaction=True), (0.1,), 0)
    assert "answered without an upstream: too long" in told
    assert "no earlier turn" in told
    assert "the client's own request to summarise" in told
    assert "goes to" not in told
