"""What makes a request fit that would not, and what of it goes last."""

from typing import Any

import pytest

from condensing import CONSTRAINT, bench, requests, run
from talks import call, picture, result, said, text, user
from trimtab.api import Condensed, Exchange, Refused, TokenCount
from trimtab_stages.condense_forms import NOTICE

pytestmark = pytest.mark.anyio


def talk(words: str, turns: int = 40) -> list[dict[str, Any]]:
    """A conversation in which the user says most."""
    made = [user(f"start. {CONSTRAINT}")]
    for number in range(turns):
        made += [said("so"), user(f"part {number:02} {words}")]
    return made


def sent(exchange: Exchange) -> str:
    return exchange.conversation.render().decode()


async def test_all_of_the_users_words_stay_while_they_fit() -> None:
    made = talk("so many words " * 22, 30)
    made[1:1] = [part for number in range(9) for part in (said("because " * 900), user(f"fact {number}"))]
    async with bench() as case:
        exchange = await run(case, made)
        done = exchange.need(Condensed)
        assert (done.form, done.truncated, done.forced) == ("key_point_extraction", False, True)
        assert "x-trimtab-truncated" not in exchange.headers
        assert [number for number in range(30) if f"part {number:02} so many" not in sent(exchange)] == []
        assert [number for number in range(9) if f"fact {number}" not in sent(exchange)] == []


async def test_turns_are_dropped_with_a_notice_where_a_part_of_the_words_does_not_fit() -> None:
    # A character of these takes several tokens: what a budget of characters leaves is too much.
    async with bench() as case:
        exchange = await run(case, talk("\U00013000" * 60))
        done = exchange.need(Condensed)
        assert (done.form, done.truncated, done.forced) == ("truncation", True, True)
        assert exchange.need(TokenCount).total <= 9_500
        assert NOTICE in sent(exchange)
        assert [CONSTRAINT in sent(exchange), "part 39" in sent(exchange), "part 00" in sent(exchange)] == [
            True,
            True,
            False,
        ]
        assert exchange.headers["x-trimtab-truncated"] == f"{done.messages} messages"


async def test_a_client_that_is_told_loses_nothing() -> None:
    async with bench(on_overflow="error") as case:
        with pytest.raises(Refused):
            await run(case, talk("more words of the user " * 60))


async def test_a_conversation_that_loses_its_images_fits_the_window_it_then_has() -> None:
    """With its image it has 5,000 tokens, without it goes to a model that has 3,000."""
    made = [user("go"), said("so"), user(text("see"), picture())]
    for number in range(12):
        made.append(call("chat", f"c{number}", "read", "step " * 300, path=f"src/file{number}.py"))
        made.append(result("chat", f"c{number}", f"{number} line of it\n" * 10))
    names = set()
    async with bench(3_000, reserve=0) as case:
        for messages in requests(made):
            exchange = await run(case, messages)
            assert exchange.need(TokenCount).total <= 0.95 * (exchange.target.model.window or 0)
            names.add(exchange.target.model.name)
        assert names == {"small", "eyes"}
        assert exchange.headers["x-context-limit"] == "3000"
