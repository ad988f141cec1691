"""Old images become texts: when, which ones, and whose words."""

from typing import Any

import pytest

from talks import body, picture, png, said, text, user
from trimtab.api import Answer, Exchange, Image, UpstreamTimeout
from trimtab.testing import StageBench
from trimtab_stages.image_aging import ImageAged, ImageAging, ImageAgingOptions

pytestmark = pytest.mark.anyio


def stage(**options: Any) -> ImageAging:
    return ImageAging(ImageAgingOptions(**options))


def talk(count: int, *shown: int, dialect: str = "chat", last: str = "on") -> list[dict[str, Any]]:
    """`count` messages in turn, the last one of the user; those at `shown` with a picture."""
    made = []
    for index in range(count):
        words = last if index == count - 1 else "on"
        shows = [picture(dialect, png(seed=str(index)))] if index in shown else []
        made.append(said("so") if index % 2 else user(text(words), *shows))
    return made


async def run(bench: StageBench, messages: list[dict[str, Any]], **more: Any) -> Exchange:
    exchange = bench.exchange(body(messages), **more)
    await bench.request(exchange)
    assert [note for note in exchange.notes if "the edit pays" not in note] == []
    return exchange


def sent(exchange: Exchange) -> list[str]:
    """What stands in place of each image: its text, or `image`."""
    found = []
    for message in StageBench.sent(exchange)["messages"]:
        for part in message["content"] if isinstance(message["content"], list) else []:
            if part["type"] in ("image", "image_url"):
                found.append("image")
            elif "[Image" in part["text"]:
                found.append(part["text"])
    return found


PLAIN = "[Image 640x480 shown earlier: no description at hand]"


@pytest.mark.parametrize("dialect", ["chat", "messages"])
async def test_an_old_image_becomes_a_text_and_the_text_model_takes_over(dialect: str) -> None:
    async with StageBench(stage()) as bench:
        young = await run(bench, talk(7, 0, dialect=dialect), dialect=dialect)
        assert (sent(young), young.target.model.name) == (["image"], "eyes")
        old = await run(bench, talk(9, 0, dialect=dialect), dialect=dialect)
        assert (sent(old), old.target.model.name) == ([PLAIN], "small")
        assert old.get(ImageAged) == ImageAged(images=1, described=0)
        assert not old.conversation.has(Image)


async def test_the_description_is_made_after_the_reply_and_used_at_the_next_epoch() -> None:
    async with StageBench(stage(), answers=["a red button"]) as bench:
        first = await run(bench, talk(1, 0))
        assert bench.asked == []
        await bench.run_later(first)
        assert [model for model, _ in bench.asked] == ["eyes"]
        assert sent(await run(bench, talk(9, 0))) == ["[Image 640x480 shown earlier: a red button]"]


async def test_a_text_is_never_upgraded_within_an_epoch() -> None:
    async with StageBench(stage(), answers=["a red button", "another"]) as bench:
        first = await run(bench, talk(9, 0))
        await bench.run_later(first)
        assert len(bench.asked) == 1
        assert sent(await run(bench, talk(11, 0))) == [PLAIN]
        # Ten requests lie between two epochs.
        assert sent(await run(bench, talk(21, 0, 12))) == [PLAIN, PLAIN]
        later = await run(bench, talk(41, 0, 12, 32))
        assert sent(later) == ["[Image 640x480 shown earlier: a red button]", PLAIN, PLAIN]


async def test_each_of_two_models_keeps_its_prefix_for_ten_requests() -> None:
    """To the one that reads text all images are texts; the other one gets them so too when a new image comes."""
    last: dict[str, Exchange] = {}
    turns: list[tuple[str, int, int]] = []
    breaks: list[tuple[str, int]] = []
    made = talk(61, 0, 12, 14, 30, 48)
    async with StageBench(stage(), answers=["a cat"] * 9) as bench:
        for end in range(1, 62, 2):
            exchange = await run(bench, made[:end])
            name, messages, shown = exchange.target.model.name, exchange.conversation.messages, sent(exchange)
            if name in last:
                kept = len(last[name].received.messages) - 1
                breaks += [(name, end - 1)] if messages[:kept] != last[name].conversation.messages[:kept] else []
            last[name], images = exchange, shown.count("image")
            turn = name, len(shown) - images, images
            turns += [turn] if turns[-1:] != [turn] else []
            await bench.run_later(exchange)
    assert turns == [
        ("eyes", 0, 1), ("small", 1, 0), ("eyes", 1, 1), ("eyes", 1, 2), ("small", 3, 0), ("eyes", 3, 1),
        ("small", 4, 0), ("eyes", 3, 2), ("small", 5, 0),
    ]  # fmt: skip
    assert breaks == [("eyes", 12), ("eyes", 30)]


async def test_a_description_is_asked_for_once() -> None:
    async with StageBench(stage(), answers=["a cat", "a dog"]) as bench:
        for count in (1, 3, 5):
            await bench.run_later(await run(bench, talk(count, 0)))
        assert len(bench.asked) == 1


async def test_the_newest_image_stays() -> None:
    async with StageBench(stage()) as bench:
        exchange = await run(bench, talk(27, *range(0, 27, 2)))
        assert sent(exchange) == [PLAIN] * 10 + ["image"] * 4
        assert exchange.target.model.name == "eyes"


async def test_an_image_the_user_speaks_of_stays() -> None:
    async with StageBench(stage()) as bench:
        assert sent(await run(bench, talk(9, 0, last="what does the screenshot say?"))) == ["image"]
        # What came with an image speaks of that one, which grows old like any other.
        made = talk(9, 0)
        made[0]["content"][0]["text"] = "fix what this screenshot shows"
        made[2::2] = [{"role": "user", "content": "<environment_details>\nimage\n</environment_details>"}] * 4
        assert sent(await run(bench, made)) == [PLAIN]


async def test_a_request_that_is_gone_back_to_is_sent_as_it_was() -> None:
    """Though a later one, whose user did not speak of the image, made it a text."""
    asked = talk(9, 0, last="what does the screenshot say?")
    tools = [*asked, said("so"), user(text("is it in the picture?"))]
    later = [*tools, said("so"), user(text("go on"))]
    async with StageBench(stage()) as bench:
        before = [(await run(bench, made)).conversation.render() for made in (talk(7, 0), asked, tools, later)]
        assert sent(await run(bench, later)) == [PLAIN]
        again = [(await run(bench, made)).conversation.render() for made in (talk(7, 0), asked, tools, later)]
    assert again == before
    assert [sent(await run(bench, made)) for made in (asked, tools)] == [["image"]] * 2


async def test_an_image_is_shown_again_while_the_user_means_it() -> None:
    """The model that sees gets what it got before; then the text model goes on with what it had."""
    async with StageBench(stage()) as bench:
        seen, old = await run(bench, talk(7, 0)), await run(bench, talk(9, 0))
        asked = [*talk(9, 0), said("so"), user(text("what did the picture show?"))]
        again = await run(bench, asked)
        assert (sent(again), again.target.model.name) == (["image"], "eyes")
        assert again.conversation.messages[:7] == seen.conversation.messages
        later = await run(bench, [*asked, said("a cat"), user(text("on"))])
        assert (sent(later), later.target.model.name) == ([PLAIN], "small")
        assert later.conversation.messages[:9] == old.conversation.messages
        # Images are not only shown.
        docker = await run(bench, [*talk(9, 0), said("so"), user(text("now build the docker image"))])
        assert sent(docker) == [PLAIN]


async def test_where_one_model_takes_both_speaking_of_an_image_brings_none_back() -> None:
    async with StageBench(stage()) as bench:
        for count, last, told in ((9, "on", PLAIN), (11, "what did the picture show?", PLAIN)):
            exchange = bench.exchange({**body(talk(count, 0, last=last)), "model": "eyes"})
            await bench.request(exchange)
            assert sent(exchange) == [told]


@pytest.mark.parametrize("model", ["small", "eyes"])
async def test_an_image_spoken_of_stays_where_the_proxy_sees_a_session_late(model: str) -> None:
    """Earlier requests would have made it a text, and went elsewhere, or their record is lost."""
    async with StageBench(stage()) as bench:
        for last, told in (("now build the image", "image"), ("see the screenshot", "image"), ("on", PLAIN)):
            exchange = bench.exchange({**body(talk(13, 0, last=last)), "model": model})
            await bench.request(exchange)
            assert sent(exchange) == [told]


async def test_while_newer_images_stay_those_that_are_texts_stay_texts() -> None:
    async with StageBench(stage()) as bench:
        made = talk(27, *range(0, 27, 2))
        assert sent(await run(bench, made)) == [PLAIN] * 10 + ["image"] * 4
        asked = [*made, said("so"), user(text("see the first screenshot"))]
        assert sent(await run(bench, asked)) == [PLAIN] * 10 + ["image"] * 4


async def test_a_restart_and_a_second_worker_send_the_same_bytes() -> None:
    store = StageBench().services.store
    async with StageBench(stage(), store=store) as one, StageBench(stage(), store=store, answers=["a cat"]) as two:
        first = (await run(one, talk(9, 0))).conversation.render()
        other = await run(two, talk(9, 0))
        await two.run_later(other)
        assert other.conversation.render() == first
    async with StageBench(stage(), store=store) as bench:
        assert (await run(bench, talk(9, 0))).conversation.render() == first


async def test_a_lost_store_costs_one_epoch() -> None:
    async with StageBench(stage(), answers=["a cat"]) as bench:
        await bench.run_later(await run(bench, talk(1, 0)))
        assert "a cat" in sent(await run(bench, talk(9, 0)))[0]
    async with StageBench(stage()) as bench:
        assert sent(await run(bench, talk(11, 0))) == [PLAIN]


@pytest.mark.parametrize("model", ["small", "eyes"])
async def test_a_second_pass_finds_the_moments_of_the_first(model: str) -> None:
    """The second image waits, since the first one went less than 20 messages ago; that one is a text by then."""
    made = talk(27, 0, 10, 12, 26) if model == "small" else talk(25, 0, 10)
    async with StageBench(stage()) as bench:
        for end in range(1, len(made) + 1, 2):
            exchange = bench.exchange({**body(made[:end]), "model": model})
            await bench.request(exchange)
        once = exchange.conversation.render()
        assert "image" in sent(exchange)
        assert PLAIN in sent(exchange)
    async with StageBench(stage()) as bench:
        again = bench.exchange(once)
        await bench.request(again)
        assert again.conversation.render() == once


async def test_a_second_pass_changes_nothing() -> None:
    async with StageBench(stage()) as bench:
        once = (await run(bench, talk(9, 0))).conversation.render()
        exchange = bench.exchange(once)
        await bench.request(exchange)
        assert exchange.conversation.render() == once


@pytest.mark.parametrize("answer", ["", "...", UpstreamTimeout("no answer in time")])
async def test_a_model_that_fails_is_left_alone_for_a_while(answer: Any, logged: list[str]) -> None:
    async with StageBench(stage(), answers=[answer, "a cat"]) as bench:
        await bench.run_later(await run(bench, talk(1, 0)))
        await bench.run_later(await run(bench, talk(3, 0)))
        assert len(bench.asked) == 1
        assert "got no description from 'eyes'" in logged[-1]
        assert sent(await run(bench, talk(9, 0))) == [PLAIN]
        bench.clock.advance(60)
        await bench.run_later(await run(bench, talk(3, 0)))
        assert len(bench.asked) == 2


class Timed(StageBench):
    """Notes how many seconds a model is given."""

    given = 0.0

    async def _ask(self, exchange: Exchange, model: str, prompt: Any, seconds: float) -> Answer:
        self.given = seconds
        return await super()._ask(exchange, model, prompt, seconds)


async def test_a_description_may_take_30_seconds() -> None:
    async with Timed(stage(), answers=["a cat"]) as bench:
        await bench.run_later(await run(bench, talk(1, 0)))
        assert bench.given == 30.0


async def test_a_count_makes_the_same_edits_writes_nothing_and_asks_nobody() -> None:
    async with StageBench(stage()) as bench:
        exchange = await run(bench, talk(9, 0), operation="count")
        assert (sent(exchange), exchange.pending) == ([PLAIN], [])
        assert "epochs.written" not in bench.services.counters.snapshot()
        await run(bench, talk(9, 0))
        assert bench.services.counters.snapshot()["epochs.written"] == 1


async def test_what_has_no_image_or_asks_for_a_summary_leaves_as_it_came() -> None:
    async with StageBench(stage()) as bench:
        plain = await run(bench, talk(31))
        asked = await run(bench, talk(31, 0), headers={"x-request-compaction": "true"})
        for exchange in (plain, asked):
            assert exchange.conversation is exchange.received
            assert exchange.pending == []


async def test_a_model_that_sees_images_keeps_its_prefix_for_ten_requests() -> None:
    async with StageBench(stage()) as bench:
        made, large = talk(31, 0, 10, 20), user(picture(data=png(2048, 4096)))
        told = PLAIN.replace("640x480", "2048x4096")
        exchange = bench.exchange({**body([large, *made[1:]]), "model": "eyes"})
        await bench.request(exchange)
        assert sent(exchange) == [told, PLAIN, PLAIN]
        fewer = bench.exchange({**body([large, *talk(25, 0, 10)[1:]]), "model": "eyes"})
        await bench.request(fewer)
        assert sent(fewer) == [told, "image"]


async def test_where_images_stay_cached_they_go_only_if_that_pays() -> None:
    """The same images, a long text behind them: what is read anew costs more than ten requests win."""

    def behind(words: str) -> list[dict[str, Any]]:
        made = talk(9, 0)
        made[2] = user(text(words))
        return made

    async with StageBench(stage()) as bench:
        short = bench.exchange({**body(behind("on")), "model": "eyes"})
        await bench.request(short)
        assert sent(short) == [PLAIN]
    async with StageBench(stage()) as bench:
        long = bench.exchange({**body(behind("on " * 20_000)), "model": "eyes"})
        await bench.request(long)
        assert sent(long) == ["image"]
        assert any("image-aging: the edit does not pay: gain -" in note for note in long.notes)
        assert bench.services.counters.snapshot()["epochs.declined"] == 1
        # What was declined is not weighed again.
        again = bench.exchange({**body(behind("on " * 20_000)), "model": "eyes"})
        await bench.request(again)
        assert (sent(again), again.notes) == (["image"], [])
    # Without an image the text goes elsewhere, where nothing is cached.
    async with StageBench(stage()) as bench:
        free = await run(bench, behind("on " * 20_000))
        assert (sent(free), free.target.model.name) == ([PLAIN], "small")


@pytest.mark.parametrize("wrong", [{"threshold": 0}, {"context_messages": -1}, {"text": "{nothing}"}])
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ImageAgingOptions(**wrong)
