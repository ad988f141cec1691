"""What tools gave, in every form, and other words in its place."""

from typing import Any

import pytest

from talks import body, call, picture, result, said, text, user
from trimtab.api import Message
from trimtab.testing import StageBench
from trimtab_stages.tool_results import Call, Result, argument, calls_of, results_of, told

BLOCK = "<environment_details>\n# Current Time\nnow\n</environment_details>"
MARK = {"cache_control": {"type": "ephemeral"}}
READ = "[read_file for 'src/a.py'. Reading several files at once is better.] Result:"


def messages(made: list[dict[str, Any]], dialect: str = "chat") -> tuple[Message, ...]:
    return StageBench().exchange(body(made), dialect=dialect).conversation.messages


def one(dialect: str, content: Any, **more: Any) -> tuple[Message, dict[str, Call]]:
    """A message with a result, and the calls before it."""
    made = [user("go"), call(dialect, "c", "read", path="a.py"), result(dialect, "c", content, **more)]
    _, used, given = messages(made, dialect)
    return given, dict(calls_of(used))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b'{"path":"a.py","limit":3}', "a.py"),
        (b'{"limit":3,"path":"a.py"}', "a.py"),
        (b'{"lines":[1,2]}', "[1,2]"),
        (b"{}", ""),
        (b"ls  -l\n", "ls -l"),
        (b'"x"', "x"),
        (b"[1]", "[1]"),
        (b'{"command":"' + b"x" * 99 + b'"}', "x" * 77 + "..."),
        (b"[" * 5_000, "[" * 77 + "..."),
    ],
)
def test_the_first_argument_stands_in_one_line(given: bytes, words: str) -> None:
    assert argument(given) == words


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_a_result_knows_its_call(dialect: str) -> None:
    given, calls = one(dialect, "one\ntwo")
    (found,) = results_of(given, calls)
    assert found == Result(0, 1, Call("read", "a.py"), "one\ntwo")
    assert (str(found.call), found.lines) == ("read a.py", 2)
    (orphan,) = results_of(given, {})
    assert str(orphan.call) == "tool"


def test_an_error_is_told() -> None:
    given, calls = one("messages", "no such file", is_error=True)
    assert results_of(given, calls)[0].error


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_other_words_stand_in_its_place(dialect: str) -> None:
    given, calls = one(dialect, f"one\ntwo\n\n{BLOCK}")
    (found,) = results_of(given, calls)
    assert found.text == "one\ntwo"
    after = told(given, [(found, "short")])
    assert f"short\\n\\n{BLOCK}".replace("\n", "\\n").replace("short\\\\n", "short\\n").encode() in after.raw
    assert results_of(after, calls)[0]._replace(text="") == found._replace(text="")


def test_what_stands_beside_it_stays() -> None:
    parts = [{"type": "text", "text": "one", "more": 1}, picture("messages"), text("two")]
    given, calls = one("messages", parts, **MARK)
    (found,) = results_of(given, calls)
    assert found.text == "one\ntwo"
    kept, bare = (told(given, [(found, "short")], images=images) for images in (True, False))
    assert b'{"type":"text","text":"short","more":1}' in kept.raw
    assert (b'"image"' in kept.raw, b'"image"' in bare.raw, b"ephemeral" in bare.raw) == (True, False, True)


@pytest.mark.parametrize(
    "content",
    [[], [{**text("one"), **MARK}, {**text("two"), **MARK}], [{"type": "document", "source": {}}], [{"type": "odd"}]],
)
def test_what_is_more_than_text_and_images_is_left_alone(content: Any) -> None:
    assert results_of(*one("messages", content)) == ()


def test_results_written_as_text_are_found() -> None:
    parts = [READ, "1 | x", "2 | y", "[list_files for '.'] Result:\na\nb", "[update] Result:", BLOCK]
    (message,) = messages([user(*map(text, parts))])
    first, second = results_of(message, {})
    assert (first.call, first.text, first.start, first.end) == (Call("read_file", "src/a.py"), "1 | x\n2 | y", 1, 3)
    assert (second.call, second.text, second.head) == (
        Call("list_files", "."),
        "a\nb",
        "[list_files for '.'] Result:\n",
    )
    after = told(message, [(first, "short"), (second, "less")])
    assert [block.text for block in after.blocks] == [  # type: ignore[attr-defined]  # of that kind here
        READ, "short", "[list_files for '.'] Result:\nless", "[update] Result:", BLOCK,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "parts",
    [
        [text("[ask] Result:"), text("<answer>\nyes\n</answer>")],
        [text(READ), {**text("one"), **MARK}, {**text("two"), **MARK}],
        [text("see [x] Result: y")],
        [text("[read_file for 'a'] Result:")],
    ],
)
def test_what_people_said_and_what_has_two_marks_is_no_result(parts: list[Any]) -> None:
    (message,) = messages([user(*parts)])
    assert results_of(message, {}) == ()


@pytest.mark.parametrize("marked", range(3))
@pytest.mark.parametrize("images", [True, False])
def test_a_cache_mark_on_a_part_makes_no_difference_and_stays(marked: int, images: bool) -> None:
    parts = [text("one"), picture("messages"), text("two")]
    given, calls = one("messages", [{**part, **MARK} if at == marked else part for at, part in enumerate(parts)])
    (found,) = results_of(given, calls)
    assert found == results_of(*one("messages", parts))[0]
    after = told(given, [(found, "short")], images=images)
    assert (after.raw.count(b"ephemeral"), after.raw.count(b'"image"')) == (1, images)


def test_a_cache_mark_on_a_result_written_as_text_stays() -> None:
    (message,) = messages([user(text(READ), text("one"), {**text("two"), **MARK})])
    (found,) = results_of(message, {})
    assert (
        b'{"type":"text","text":"short","cache_control":{"type":"ephemeral"}}' in told(message, [(found, "short")]).raw
    )


def test_the_assistant_has_no_results() -> None:
    made = messages([user("go"), said("[read_file for 'a'] Result:\nwords"), {"role": "user", "content": ""}])
    assert [results_of(message, {}) for message in made] == [(), (), ()]
