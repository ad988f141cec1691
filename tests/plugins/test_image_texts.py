"""What is said of an image that is no longer sent."""

from typing import Any

import pytest

from talks import body, call, picture, png, result, said, text, user
from trimtab.api import Image, Message, Text
from trimtab.testing import StageBench
from trimtab_stages.image_texts import (
    DEFAULT,
    UNDESCRIBED,
    Told,
    canonical,
    check,
    checked,
    key_of,
    question,
    spoken,
    text_for,
)

IMAGE = Image(media_type="image/png", data=png(30, 20), raw=b"{}")


@pytest.mark.parametrize(
    ("template", "description", "told"),
    [
        (DEFAULT, "a cat", "[Image 30x20 shown earlier: a cat]"),
        (DEFAULT, None, f"[Image 30x20 shown earlier: {UNDESCRIBED}]"),
        ("[Previously: {descriptions}]", "a {width} cat", "[Previously: a {width} cat]"),
        ("gone", "a cat", "gone"),
    ],
)
def test_the_template_is_filled(template: str, description: str | None, told: str) -> None:
    check(template)
    assert text_for(template, IMAGE, description) == told


def test_texts_of_a_template_are_counted() -> None:
    told = Told(DEFAULT)
    aged, other = (text_for(DEFAULT, IMAGE, words) for words in ("a cat,\n[Image]", None))
    shown = {"type": "tool_result", "tool_use_id": "c", "content": [text(other), text("on")]}
    (message,) = messages(shown, text(aged), text("[Image 3"), text(f"see {aged}"))
    assert (told(message), told(message)) == (2, 2)
    # Anything might be one of these.
    assert Told("{description}")(messages("a cat")[0]) == 0


@pytest.mark.parametrize(
    ("template", "said", "count"),
    [
        ("[Image]", "[Image]", 1),
        ("[Image]", "[Image] x", 0),
        ("[I {width}]", "[I ]", 1),
        ("[I {width}]", "[I 3", 0),
        ("[I {width}x{height}]", "[I 1x2x3]", 1),
        ("[I {width}x{height}]", "[I 12]", 0),
        ("[I {width}]]", "[I ]", 0),
        ("[I {width} a{height}b", "[I 1 ab", 1),
        ("[I {width} a{height}", "[I 1 a", 1),
    ],
)
def test_a_text_is_its_template_with_something_in_the_fields(template: str, said: str, count: int) -> None:
    assert Told(template)(messages(text(said))[0]) == count


def test_an_image_by_its_address_has_no_known_size() -> None:
    assert text_for("{width}x{height}", Image(url="https://a.test/b.png"), None) == "?x?"


def test_a_wrong_template_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no field .size.: there are .width."):
        check("[{size}]")
    with pytest.raises(ValueError, match="must not be empty"):
        check(" ")


def messages(*parts: Any) -> tuple[Message, ...]:
    return StageBench().exchange(body([user(*parts)]), dialect="messages").conversation.messages


def test_the_key_depends_on_what_was_said_and_not_on_its_spelling() -> None:
    marked = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
    one, two, other = messages("hi"), messages(marked), messages("ho")
    key = key_of(IMAGE, one, one[0], "eyes")
    assert key == key_of(IMAGE, two, two[0], "eyes")
    keys = [key_of(IMAGE, other, one[0], "eyes"), key_of(IMAGE, one, other[0], "eyes")]
    keys += [key_of(IMAGE, one, one[0], "other"), key_of(IMAGE, (), one[0], "eyes")]
    assert len({key, *keys}) == 5
    assert key != key_of(Image(data=png(30, 20, "x")), one, one[0], "eyes")


def test_the_key_depends_on_all_that_the_question_shows() -> None:
    """And on nothing that some clients leave out with the next turn."""
    shown = {"type": "tool_result", "tool_use_id": "c", "content": "page 7"}
    block = "<environment_details>\n# Current Time\n1\n</environment_details>"
    reminder = "<system-reminder>\nbe brief\n</system-reminder>"
    plain, more = messages(shown, text("see")), messages(shown, text("see"), text(reminder), text(block))
    assert spoken(plain[0]) == spoken(more[0]) == ["page 7", "see"]
    assert key_of(IMAGE, (), plain[0], "eyes") == key_of(IMAGE, (), more[0], "eyes")
    assert question(IMAGE, (), plain[0]) == question(IMAGE, (), more[0])


def test_the_question_shows_the_image_and_what_was_said() -> None:
    made = [user("go"), call("chat", "c", "read", path="a.py"), result("chat", "c", "x" * 9_000), user(text("see"))]
    go, used, given, beside = StageBench().exchange(body(made)).conversation.messages
    assert canonical(used) == ["assistant", 'read {"path": "a.py"}']
    prompt = question(IMAGE, (go, used, given), beside)
    asked, image = prompt.content
    assert isinstance(asked, Text)
    assert (image.raw, prompt.temperature) == (b"", 0.0)
    assert "user:\ngo\n\nassistant:\nread" in asked.text
    assert asked.text.count("x") == 4_000
    assert "user:\nsee" in asked.text


def test_other_blocks_are_named() -> None:
    made = [user(picture()), said("so"), {"role": "user", "content": [{"type": "file", "file": {"file_data": "x"}}]}]
    shown, _, file = StageBench().exchange(body(made)).conversation.messages
    assert (canonical(shown), canonical(file)) == (["user", "[image]"], ["user", "Document"])


@pytest.mark.parametrize(
    ("answer", "text_"),
    [(" a\n cat ", "a cat"), ("", None), (" ...\n", None), ("y" * 3_000, "y" * 1_997 + "...")],
)
def test_an_answer_is_one_paragraph_or_none(answer: str, text_: str | None) -> None:
    assert checked(answer) == text_
