"""Old results become one line that names the call."""

from typing import Any

import pytest

from talks import body, call, picture, png, result, said, steps, text, user
from trimtab.api import Image, Message
from trimtab.testing import StageBench
from trimtab_stages.condense_mask import masks

LONG = "some words of a file\n" * 40
DIALECTS = pytest.mark.parametrize("dialect", ["chat", "messages"])


def messages(made: list[dict[str, Any]], dialect: str = "chat") -> tuple[Message, ...]:
    return StageBench().exchange(body(made), dialect=dialect).conversation.messages


def masked(content: Any, tool: str = "read", dialect: str = "chat", **more: Any) -> str:
    """The JSON of a result when it is old."""
    made = [user("go"), call(dialect, "c", tool, path="src/a.py"), result(dialect, "c", content, **more), said("so")]
    talk = messages(made, dialect)
    return masks(talk, 1, 3).get(2, talk[2]).raw.decode()


@DIALECTS
def test_a_line_names_the_call_and_its_argument(dialect: str) -> None:
    line = "[Old tool result cleared: read src/a.py, 41 lines. Run it again if needed.]"
    assert f'"content":"{line}"' in masked(LONG, dialect=dialect)


@DIALECTS
def test_only_what_stands_before_the_frontier_changes(dialect: str) -> None:
    made = messages([user("go"), *steps(dialect, 6)], dialect)
    found = masks(made, 1, 7)
    assert sorted(found) == [2, 4, 6]
    assert masks(made, 5, 7) == {6: found[6]}
    assert masks(made, 1, 9) | found == masks(made, 1, 9), "what is masked stays masked"


@DIALECTS
def test_a_second_pass_changes_nothing(dialect: str) -> None:
    talk = StageBench().exchange(body([user("go"), *steps(dialect, 3)]), dialect=dialect)
    talk.edit_all(dict(masks(talk.conversation.messages, 1, 7)), "")
    assert masks(talk.conversation.messages, 1, 7) == {}


@pytest.mark.parametrize(
    ("content", "tool", "stays"),
    [
        ("short", "read", True),
        (LONG, "Skill", True),
        (LONG, "update_todo_list", True),
        (LONG, "Edit", True),
        (LONG * 3, "Edit", False),
        ("Error: " + "x" * 350, "bash", True),
        ("Error: " + LONG, "bash", False),
        (LONG, "bash", False),
    ],
)
def test_what_stays(content: str, tool: str, stays: bool) -> None:
    assert ("cleared" not in masked(content, tool)) is stays


def test_a_short_error_stays_by_its_flag() -> None:
    assert "cleared" not in masked("no such file " * 30, dialect="messages", is_error=True)
    assert "cleared" in masked("no such file " * 30, dialect="messages")


def test_reminders_and_environment_blocks_in_a_result_stay() -> None:
    reminder = "<system-reminder>\nuse the list\n</system-reminder>"
    block = "<environment_details>\n# Recently Modified Files\na.py\n</environment_details>"
    found = masked(f"{LONG}{reminder}\n{LONG}{reminder}\n\n{block}")
    assert found.count("system-reminder>") == 2
    assert "use the list" in found
    assert "# Recently Modified Files" in found
    assert "some words" not in found


def test_results_written_as_text_go_too_and_what_the_user_said_stays() -> None:
    parts = ["[read_file for 'a.py'] Result:", LONG, "<feedback>\nno\n</feedback>"]
    made = messages([user("go"), said("<read_file>"), user(*map(text, parts)), said("so")])
    [(index, after)] = masks(made, 1, 4).items()
    assert index == 2
    assert [block.text for block in after.blocks] == [  # type: ignore[attr-defined]  # of that kind here
        parts[0], "[Old tool result cleared: read_file a.py, 41 lines. Run it again if needed.]", parts[2],
    ]  # fmt: skip


def test_images_go_but_the_newest() -> None:
    shown = [user(text("see"), picture(data=png(seed=str(number)))) for number in range(3)]
    made = messages([user("go"), said("so"), shown[0], said("so"), shown[1], said("so"), shown[2], said("so")])
    found = masks(made, 1, 6)
    assert [*found] == [2]
    assert b"[Old image 640x480 cleared]" in found[2].raw
    assert not found[2].has(Image)
    assert sorted(masks(made, 1, 8)) == [2, 4]


@DIALECTS
def test_results_with_images_go_too(dialect: str) -> None:
    shot = (
        [call(dialect, "x", "shot"), result(dialect, "x", [text(LONG), picture(dialect)])]
        if dialect == "messages"
        else []
    )
    made = [user("go"), *steps(dialect, 3), *shot, *steps(dialect, 2, first=3), user("on")]
    exchange = StageBench().exchange(body(made), dialect=dialect)
    exchange.edit_all(dict(masks(exchange.conversation.messages, 1, len(made) - 1)), "")
    assert len(exchange.edits) == 5 + bool(shot)
