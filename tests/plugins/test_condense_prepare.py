"""Texts by a model, made after a reply has gone."""

from typing import Any

import pytest

from condensing import NOTES, session
from talks import body
from trimtab.api import Boundary, Epoch, Owner, ProxyError, UpstreamTimeout
from trimtab.testing import StageBench
from trimtab_stages.condense_options import CondenseOptions
from trimtab_stages.condense_prepare import Preparing

pytestmark = pytest.mark.anyio
OPTIONS = {"strategy": "conversation_summary", "model_rungs": True}


def made(answers: list[str | ProxyError], **more: Any) -> tuple[StageBench, Preparing]:
    bench = StageBench(answers=answers)
    return bench, Preparing(CondenseOptions(**{**OPTIONS, **more}), bench.services)


def place(messages: int) -> Boundary:
    return Boundary(messages, messages, messages, b"p", b"k", Owner("condense", b""), 1)


async def test_parts_are_asked_one_after_the_other_and_kept() -> None:
    bench, preparing = made([NOTES + f"\n{number}" for number in range(3)])
    exchange = bench.exchange(body(session(15)))
    await preparing.work(exchange, place(25), Epoch())
    assert [len(bench.asked), bench.asked[0][0]] == [3, "small"]
    assert NOTES in bench.asked[1][1].content[0].text
    (key,) = await preparing.ready(exchange, place(25), Epoch())
    texts = await preparing.texts(exchange, Epoch(form="summary", messages=25, texts=(key,)))
    assert texts is not None
    assert NOTES + "\n2" in texts[0]
    await preparing.work(exchange, place(25), Epoch())
    assert len(bench.asked) == 3


async def test_a_long_range_takes_some_replies() -> None:
    bench, preparing = made([NOTES] * 9)
    exchange = bench.exchange(body(session(45)))
    for asked in (6, 9, 9):
        await preparing.work(exchange, place(91), Epoch())
        assert len(bench.asked) == asked
    assert await preparing.ready(exchange, place(91), Epoch())


async def test_a_failure_stops_and_rests() -> None:
    bench, preparing = made([UpstreamTimeout("no answer within 30 s"), NOTES, NOTES])
    exchange = bench.exchange(body(session(5)))
    assert preparing.wanted(exchange)
    await preparing.work(exchange, place(11), Epoch())
    assert not preparing.wanted(exchange)
    await preparing.work(exchange, place(11), Epoch())
    assert (len(bench.asked), await preparing.ready(exchange, place(11), Epoch())) == (1, ())
    bench.clock.advance(60)
    await preparing.work(exchange, place(11), Epoch())
    assert await preparing.ready(exchange, place(11), Epoch()) != ()


async def test_a_lost_text_is_told() -> None:
    bench, preparing = made([])
    exchange = bench.exchange(body(session(5)))
    assert await preparing.texts(exchange, Epoch(form="summary", texts=("ab",))) is None
    assert await preparing.texts(exchange, Epoch(form="smart_truncation")) == ()


async def test_only_the_models_named_are_summarised() -> None:
    bench, preparing = made([NOTES], only_models=("other",))
    exchange = bench.exchange(body(session(5)))
    assert not preparing.wanted(exchange)
    assert await preparing.ready(exchange, place(11), Epoch()) == ()
    assert not Preparing(CondenseOptions(), bench.services).wanted(exchange)
    assert made([NOTES], only_models=("small",))[1].wanted(exchange)


async def test_many_texts_become_fewer() -> None:
    bench, preparing = made([NOTES] * 20, strategy="progressive_summarization", max_messages=50)
    exchange = bench.exchange(body(session(60)))
    epoch = Epoch()
    for until in (11, 21, 31, 41, 51):
        await preparing.work(exchange, place(until), epoch)
        texts = await preparing.ready(exchange, place(until), epoch)
        epoch = Epoch(form="summary", messages=until, texts=texts)
    assert len(epoch.texts) == 4
    told = await preparing.texts(exchange, epoch)
    assert told is not None
    assert ["made one by a model" in text for text in told] == [True, False, False, False]
