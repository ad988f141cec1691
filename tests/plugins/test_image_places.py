"""When images are old, and the messages without them."""

from collections.abc import Sequence
from typing import Any

import pytest

from talks import body, call, picture, png, result, said, text, user
from trimtab.api import Message, picture_of, tokens_of
from trimtab.testing import StageBench
from trimtab_stages.image_places import (
    INSTEAD,
    Moment,
    images_of,
    means,
    moments,
    refers,
    requests_in,
    rests,
    weighed,
    without,
)


def messages(said_: list[dict[str, Any]], dialect: str = "chat") -> tuple[Message, ...]:
    return StageBench().exchange(body(said_), dialect=dialect).conversation.messages


def talk(count: int, *shown: int) -> tuple[Message, ...]:
    """`count` messages in turn, those at `shown` with a picture."""
    made = []
    for index in range(count):
        if index in shown:
            made.append(user(text("see"), picture(data=png(seed=str(index)))))
        else:
            made.append(said("so") if index % 2 else user("on"))
    return messages(made)


def untils(found: Sequence[Moment]) -> list[int]:
    return [moment.until for moment in found]


@pytest.mark.parametrize(
    ("count", "shown", "found"),
    [
        (9, (0,), [1]),
        (8, (0,), []),
        (9, (), []),
        (11, (0, 2), [3]),
        (10, (0, 2), []),
        (30, (0, 12), [1, 13]),
        (16, (0, 12), [1]),
    ],
)
def test_images_are_old_when_the_talk_went_on_without_one(count: int, shown: tuple[int, ...], found: list[int]) -> None:
    assert untils(moments(talk(count, *shown), 8)) == found


def test_a_longer_talk_has_the_same_moments() -> None:
    whole = talk(120, 0, 2, 14, *range(30, 80, 2), 110)
    known: list[Moment] = []
    for end in range(1, 121):
        found = moments(whole[:end], 8)
        assert found[: len(known)] == known
        assert all(moment.at == end - 1 for moment in found[len(known) :])
        known = found
    assert untils(known) == [3, 15, 49, 69, 79, 111]


def test_while_images_keep_coming_ten_old_ones_go_together_and_never_the_newest() -> None:
    found = untils(moments(talk(60, *range(0, 60, 2)), 8))
    assert found == [19, 39]


def test_moments_lie_apart_where_each_is_an_epoch() -> None:
    assert untils(moments(talk(40, 0, 10, 20), 8, apart=0)) == [1, 11, 21]
    assert untils(moments(talk(40, 0, 10, 20), 8, apart=10)) == [1, 21]


def test_several_calls_at_once_are_one_request() -> None:
    """Of messages alone ten requests of three calls each would take four."""
    step = [said("so"), *(result("chat", f"c{number}", "ok") for number in range(3)), user("on")]
    made = messages([user(text("see"), picture(data=png())), *step * 2, user(picture(data=png(seed="b"))), *step * 9])
    assert requests_in(made, 0, len(made)) == 11
    assert untils(moments(made, 8, apart=0)) == [1, 12]
    assert untils(moments(made, 8, apart=10)) == [1]


def test_a_rest_comes_once_for_each_newest_image() -> None:
    made = talk(60, 0, 10, 12, 40)
    assert rests(made, 8) == [Moment(8, 1), Moment(20, 13), Moment(48, 41)]
    assert rests(made[:20], 8) == [Moment(8, 1)]
    assert rests(talk(8, 0), 8) == rests(talk(9), 8) == []


def test_the_extra_message_with_a_tools_image_is_no_turn() -> None:
    step = [call("chat", "c", "shot"), result("chat", "c", "(image)"), user(picture(data=png(seed="a")))]
    rest = [said("so"), user("on")]
    made = messages([user("go"), *step, *rest * 2])
    assert untils(moments(made, 4)) == [4]
    assert moments(made, 5) == []
    # The batch counts by turns too: without the extra messages these images would be older than they are.
    many = [part for number in range(20) for part in [*step[:2], user(picture(data=png(seed=str(number))))]]
    assert moments(messages([user("go"), *many[:-3]]), 19) == []
    assert untils(moments(messages([user("go"), *many]), 19)) == [31]


@pytest.mark.parametrize(
    ("words", "speaks", "meant"),
    [
        ("look at the screenshot again", True, True),
        ("the Screen shots, please", True, True),
        ("what does image 2 say?", True, True),
        ("the Images above", True, True),
        ("in the image I sent", True, True),
        ("the first pic", True, True),
        ("as in the mock-up", True, True),
        ("再看一下截图", True, True),
        ("das Bild oben", True, False),
        ("now build the docker image", True, False),
        ("draw a diagram of it", True, False),
        ("imagine a picturesque town, and epic bilden", False, False),
        ("go on", False, False),
    ],
)
def test_what_speaks_of_an_image(words: str, speaks: bool, meant: bool) -> None:
    assert (refers(words), means(words)) == (speaks, meant)


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_an_image_is_replaced_in_place(dialect: str) -> None:
    parts = [text("see"), picture(dialect, cache_control={"type": "ephemeral"}), text("and that")]
    (message,) = messages([user(*parts)], dialect)
    bare = without(message, lambda image: f"<{len(image.data)}>")
    assert len(images_of(message)) == 1
    assert images_of(bare) == ()
    size = f"<{len(png())}>"
    marked = '{"type":"text","text":"' + size + '","cache_control":{"type":"ephemeral"}}'
    assert marked.encode() in bare.raw
    assert [getattr(block, "text", None) for block in bare.blocks] == ["see", size, "and that"]


def test_an_image_of_a_tool_stays_a_part_of_its_result() -> None:
    shown = result("messages", "c", [text("shot"), picture("messages")])
    made = messages([user("go"), call("messages", "c", "shot"), shown], "messages")
    (block,) = without(made[2], lambda image: "gone").blocks
    assert [part.text for part in block.content] == ["shot", "gone"]  # type: ignore[attr-defined]  # of that kind here


def test_images_are_weighed_against_what_stands_behind_them() -> None:
    target = StageBench().exchange({**body([user("on")]), "model": "eyes"}).target
    talked = talk(9, 2, 4)
    size = tokens_of(picture_of(images_of(talked[2])[0]), target, 0)
    one = weighed(talked, 0, 3, target)
    assert one.removed == size - INSTEAD
    assert size < one.behind < size + 200
    both = weighed(talked, 0, 5, target)
    assert both.removed == 2 * one.removed
    assert both.behind < one.behind
    # What went before is not counted once more.
    assert weighed(talked, 3, 5, target).removed == one.removed
    assert weighed(talked, 5, 9, target) == (0, 0)
