"""What a record says, as changes to messages."""

import pytest

from condensing import CONSTRAINT, session, talk_of
from talks import said, text, user
from trimtab.api import Boundary, Epoch, Owner
from trimtab_stages.condense_forms import BRIEF, DROP, MASK, NOTICE, POINTS, TEXTS, changes, lost, record

DIALECTS = pytest.mark.parametrize("dialect", ["chat", "messages"])


def test_a_record_that_declined_changes_nothing() -> None:
    made = talk_of(session(5))
    assert changes(made, Epoch(messages=7), (), 100) == {}
    assert changes(made, Epoch(form=MASK, messages=1), (), 100) == {}


@DIALECTS
def test_a_mask_ends_at_its_frontier(dialect: str) -> None:
    found = changes(talk_of(session(5, dialect), dialect), Epoch(form=MASK, messages=7), (), 100)
    assert sorted(found) == [2, 4, 6]


@DIALECTS
@pytest.mark.parametrize("form", [POINTS, BRIEF, TEXTS, DROP])
def test_a_range_goes_and_a_text_stands_in_the_task(dialect: str, form: str) -> None:
    made = talk_of(session(5, dialect), dialect)
    found = changes(made, Epoch(form=form, messages=7), ("first", "second"), 100)
    assert sorted(found) == [0, 1, 2, 3, 4, 5, 6]
    assert [index for index, message in found.items() if message is None] == [1, 2, 3, 4, 5, 6]
    task = found[0]
    assert task is not None
    texts = [block.text for block in task.blocks]  # type: ignore[attr-defined]  # of that kind here
    assert CONSTRAINT in texts[0]
    if form == TEXTS:
        assert texts[1:] == ["first", "second"]
    elif form == DROP:
        assert texts[1:] == [NOTICE]
    else:
        assert texts[1].startswith("[Condensed by trimtab: 6 messages")


def test_the_same_record_gives_the_same_message() -> None:
    made = talk_of(session(5))
    one, two = (changes(made, Epoch(form=POINTS, messages=7), (), 100) for _ in range(2))
    assert one[0] is two[0]
    other = changes(talk_of(session(5)), Epoch(form=POINTS, messages=7), (), 100)
    assert [getattr(found[0], "raw", None) for found in (one, other)] == [getattr(one[0], "raw", b"")] * 2


def test_the_last_cache_mark_of_a_range_stands_behind_the_text_for_it() -> None:
    made = session(5, "messages")
    kept, gone = {"cache_control": {"type": "ephemeral"}}, {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    for at, mark in ((2, kept), (4, gone), (8, kept)):
        made[at]["content"][0] |= mark
    marked, plain = (changes(talk_of(each, "messages"), Epoch(form=DROP, messages=7), (), 100)[0] for each in (
        made, session(5, "messages"),
    ))  # fmt: skip
    assert marked is not None
    assert plain is not None
    assert marked.raw.endswith(b'"cache_control":{"type":"ephemeral","ttl":"1h"}}]}')
    assert marked.raw.replace(b',"cache_control":{"type":"ephemeral","ttl":"1h"}', b"") == plain.raw


def test_without_a_task_nothing_goes() -> None:
    made = talk_of([{"role": "system", "content": [text("be good")]}, said("so"), *session(3)[1:]])
    assert changes(made, Epoch(form=DROP, messages=4), (), 100) == {}


def test_a_record_has_the_range_of_its_boundary_or_one_of_its_own() -> None:
    place = Boundary(7, 900, 1_000, b"p", b"k", Owner("condense", b""), 1_000)
    assert record(MASK, place) == Epoch(form=MASK, messages=7, size=900)
    assert record(TEXTS, place, messages=5, texts=("a",)) == Epoch(form=TEXTS, messages=5, size=900, texts=("a",))


def test_what_nothing_stands_for_is_told() -> None:
    made = talk_of([user("go"), *[part for n in range(9) for part in (said("so"), user(f"fact {n} " + "x" * 90))]])
    assert [lost(made, Epoch(form=form, messages=19), 75) for form in ("", MASK, POINTS, TEXTS)] == [""] * 4
    assert lost(made, Epoch(form=DROP, messages=19), 75) == "19 messages"
    assert lost(made, Epoch(form=BRIEF, messages=19), 75) == "6 messages of the user, 0 sections"
    assert [lost(made, Epoch(form=BRIEF, messages=19), 10_000), lost(made, Epoch(form=BRIEF, messages=1), 75)] == [
        ""
    ] * 2
