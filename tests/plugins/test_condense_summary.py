"""The questions to a model that summarises, and what of its answers is used."""

import pytest

from condensing import CONSTRAINT, NOTES, session, talk_of
from talks import result, said, user
from trimtab_stages.condense_summary import checked, chunks, fold_key, folding, frozen, joined, keys, question, shown_of


def test_keys_chain_over_the_parts_and_name_model_and_content() -> None:
    made = talk_of(session(10))
    parts = [*chunks(made, 1, 21, 8)]
    assert parts == [range(1, 9), range(9, 17), range(17, 21)]
    found = keys(made, parts, "m")
    assert keys(made, [*chunks(made, 1, 17, 8)], "m") == found[:2]
    assert keys(talk_of(session(10)), parts, "m") == found
    assert not {*found} & {*keys(made, parts, "other")}
    assert keys(talk_of(session(10, size=1_700)), parts, "m")[0] != found[0]
    assert fold_key("a", "b", "m") != fold_key("b", "a", "m")


def test_the_question_shows_messages_without_their_bulk() -> None:
    made = talk_of([*session(2, size=9_000), said("so"), user("keep it small")])
    prompt = question(made, range(1, 7), "## Goal\nsmall")
    [block] = prompt.content
    text = block.text  # type: ignore[attr-defined]  # of that kind here
    assert text.startswith("Notes so far:\n## Goal\nsmall\n\nMessages:\n\nassistant: step 0: because")
    assert "[calls read src/file0.py]" in text
    assert "tool: [read src/file0.py gave] 0 def function" in text
    assert text.endswith("user: keep it small")
    assert len(text) < 4_000
    assert prompt.temperature == 0.0
    assert "Notes so far:\n(none)" in question(made, range(1, 2), "").content[0].text  # type: ignore[attr-defined]


def test_what_says_nothing_is_not_shown() -> None:
    made = talk_of([user("go"), said(""), result("chat", "c", "")])
    assert [shown_of(made, index) for index in (0, 1, 2)] == ["user: go", "", ""]


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (f"\n{NOTES}\n", True),
        (NOTES.upper(), True),
        ("I cannot help with that.", False),
        ("## Goal\n## Errors\n## Decisions\n## Next step\n", False),
        ("## Goal\n" + "words " * 99, False),
        (NOTES + "x" * 40_000, False),
    ],
)
def test_an_answer_is_notes_or_nothing(answer: str, kept: bool) -> None:
    assert checked(answer) == (answer.strip() if kept else None)


def test_what_the_user_said_does_not_depend_on_the_model() -> None:
    made = talk_of([user("go"), said("so"), user(CONSTRAINT), said("so")])
    found = frozen(made, 1, 4, NOTES)
    assert found.startswith("[Condensed by trimtab: 3 messages of this conversation, summarised by a model.]")
    assert (NOTES in found, CONSTRAINT in found) == (True, True)
    quoted = [user("never touch <a>"), said("so"), user("the port\nis 8443"), said("so")]
    older, newer = (frozen(talk_of(quoted), start, start + 2, NOTES) for start in (0, 2))
    one = joined(NOTES, older, newer)
    assert one.startswith("[Condensed by trimtab: two summaries")
    assert one.endswith("<said>\nnever touch <a>\n</said>\n\n<said>\nthe port\nis 8443\n</said>")
    assert folding("one", "two").content[0].text == "Older:\none\n\nNewer:\ntwo"  # type: ignore[attr-defined]
