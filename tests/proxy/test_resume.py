"""The short way of scanning gives what the long one gives."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures import conversations, needs_recordings, turns
from trimtab.errors import BadRequest
from trimtab.resume import ALIKE, MOST_MEMBERS, PER_ITEM, WORTH, Recent, parting, resume, weight
from trimtab.splice import Scanned, scan

ARRAYS = ("messages", "tools", "system?")
BIG = "x" * WORTH


def body(messages: list[Any], before: dict[str, Any] | None = None, behind: dict[str, Any] | None = None) -> bytes:
    whole = {**(before or {"model": "m"}), "messages": messages, **(behind or {})}
    return json.dumps(whole, separators=(",", ":")).encode()


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def seen(recent: Recent, sent: bytes, dialect: str = "chat") -> Scanned:
    """The scan of a body that is understood."""
    found = recent.scan(dialect, sent, ARRAYS, "messages", recent.parting(dialect, sent, "messages"))
    recent.keep(dialect, found, "messages")
    return found.scanned


def resumed(sent: bytes, before: Scanned) -> Scanned | None:
    """The scan of a body that goes on from another one, the short way."""
    found = parting(sent, before, "messages")
    return None if found is None else resume(sent, found, ARRAYS, "messages")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
HEADS = st.dictionaries(st.sampled_from(["model", "tools", "system", "a", "b"]), VALUES, max_size=3)


@given(
    old=st.lists(VALUES, min_size=1, max_size=6),
    kept=st.integers(0, 6),
    new=st.lists(VALUES, max_size=3),
    before=HEADS,
    behind=HEADS,
    indent=st.sampled_from([None, 1]),
)
def test_it_is_the_scan_of_the_whole_body(
    old: list[Any], kept: int, new: list[Any], before: dict[str, Any], behind: dict[str, Any], indent: int | None
) -> None:
    def spelled(messages: list[Any]) -> bytes:
        rest = {name: value for name, value in behind.items() if name not in before}
        return json.dumps({**before, "messages": messages, **rest}, indent=indent).encode()

    try:
        earlier, whole = scan(spelled(old), ARRAYS), scan(spelled(old[:kept] + new), ARRAYS)
    except BadRequest:
        return
    found = resumed(spelled(old[:kept] + new), earlier)
    assert found is None or found == whole


def test_a_longer_conversation_is_resumed() -> None:
    first, second = [user("a"), user("b")], [user("a"), user("b"), user("c"), user("d")]
    found = resumed(body(second), scan(body(first), ARRAYS))
    assert found == scan(body(second), ARRAYS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"messages":[1]}', b'{"messages":[12]}'),
        (b'{"messages":[1,2]}', b'{"messages":[1,2e5]}'),
        (b'{"model":"m","messages":[1]}', b'{"model":"n","messages":[1]}'),
    ],
)
def test_what_only_looks_alike_is_not_taken_over(old: bytes, new: bytes) -> None:
    found = resumed(new, scan(old, ARRAYS))
    assert found is None or found == scan(new, ARRAYS)


def test_bad_tails_are_refused_as_ever() -> None:
    recent = Recent(1 << 20)
    good = body([user(BIG), user("a")])
    seen(recent, good)
    for bad in (good[:-2], good[:-2] + b",}]}", good[:-1] + b',"messages":[]}', good + b"x"):
        with pytest.raises(BadRequest) as caught:
            seen(recent, bad)
        with pytest.raises(BadRequest) as plain:
            scan(bad, ARRAYS)
        assert caught.value.message == plain.value.message


def test_repeated_members_get_the_whole_view() -> None:
    recent = Recent(1 << 20)
    first = body([user(BIG)], {"odd": 1})
    second = body([user(BIG), user("a")], {"odd": 1})[:-1] + b',"odd":2}'
    seen(recent, first)
    assert seen(recent, second) == scan(second, ARRAYS)
    assert recent.resumed == 0


def test_conversations_of_one_start_are_kept_apart() -> None:
    recent = Recent(1 << 22)
    for turn in range(4):
        for agent in range(ALIKE):
            sent = body([user(BIG), user(f"agent {agent}"), *(user(f"{agent} {n}") for n in range(turn))])
            assert seen(recent, sent) == scan(sent, ARRAYS)
    assert recent.resumed >= 3 * ALIKE


def test_memory_is_bounded() -> None:
    recent = Recent(10 * WORTH)
    for number in range(100):
        seen(recent, body([user(f"{number} {BIG}")]))
        assert recent.bytes <= 10 * WORTH
    assert sum(weight(one, "messages") for kept in recent._kept.values() for one, _, _ in kept) == recent.bytes


def test_tools_are_booked_twice_and_what_is_refused_is_not_kept() -> None:
    recent, tools = Recent(1 << 20), [{"name": f"tool {n}", "description": BIG} for n in range(3)]
    sent = body([user("a")], {"tools": tools})
    recent.scan("chat", sent, ARRAYS, "messages")
    assert recent.bytes == 0
    seen(recent, sent)
    # The four messages and tools are objects of their own; what stands around the messages is held by the notes too.
    around = len(sent) - len(json.dumps([user("a")], separators=(",", ":")))
    assert recent.bytes == len(sent) + len(json.dumps(tools, separators=(",", ":"))) - 4 + 4 * PER_ITEM + around


@needs_recordings
@pytest.mark.parametrize("file", conversations()[4:8] or [None], ids=lambda file: file and file.name)
def test_a_recorded_session_is_resumed_at_every_turn(file: Any) -> None:
    recent, count = Recent(1 << 24), 0
    for path, sent in list(turns(file, "m"))[:40]:
        count += len(sent) >= WORTH
        assert seen(recent, sent, path) == scan(sent, ARRAYS)
    assert recent.resumed >= count - 1


@pytest.mark.parametrize("pad", [0, WORTH])
def test_a_body_of_more_members_than_any_api_knows_is_refused(pad: int) -> None:
    def made(count: int) -> bytes:
        return json.dumps({"pad": "x" * pad, **{f"k{n}": n for n in range(count - 1)}}).encode()

    assert len(Recent(10**6).scan("chat", made(MOST_MEMBERS), ARRAYS, "messages").scanned.members) == MOST_MEMBERS
    with pytest.raises(BadRequest, match="more than 1000 members: send those of the API only"):
        Recent(10**6).scan("chat", made(MOST_MEMBERS + 1), ARRAYS, "messages")


def test_a_body_parts_from_the_one_that_it_goes_on_from() -> None:
    recent = Recent(1 << 20)

    def end(sent: bytes) -> int | None:
        found = recent.parting("chat", sent, "messages")
        return None if found is None else found.end

    first = body([user(BIG), user("a")])
    assert end(first) is None
    seen(recent, first)
    more = body([user(BIG), user("a"), user("b")])
    assert more[end(more) :] == b"," + json.dumps(user("b"), separators=(",", ":")).encode() + b"]}"
    assert (end(first) or 0) > len(BIG)
    # Other messages behind the same start, and bodies too small to be kept, have nothing in common with it.
    assert end(first.replace(BIG[-9:].encode(), b"otherwise")) is None
    assert end(body([user("a")])) is None


@pytest.mark.parametrize(
    ("before", "behind", "same"),
    [({}, {}, True), ({}, {"stop": 1}, False), ({"tools": []}, {}, False), ({}, {"model": "n"}, False)],
)
def test_notes_are_found_again_by_the_next_turn_of_the_same_members(
    before: dict[str, Any], behind: dict[str, Any], *, same: bool
) -> None:
    recent = Recent(1 << 20)

    def notes(sent: bytes) -> dict[Any, Any]:
        found = recent.scan("chat", sent, ARRAYS, "messages", recent.parting("chat", sent, "messages"))
        recent.keep("chat", found, "messages")
        return found.notes

    first = notes(body([user(BIG), user("a")], {"model": "m"}))
    first["known"] = 1
    later = notes(body([user(BIG), user("a"), user("b")], {"model": "m", **before}, behind))
    assert (later == {"known": 1}) is same
    assert (later is first) is same
