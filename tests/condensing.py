"""What the tests of condense share: a chain, its window, and sessions that grow too long for it."""

from collections.abc import Iterator
from typing import Any

from talks import body, call, result, said, user
from trimtab.api import Conversation, Exchange, Message, Model, ModelTable
from trimtab.testing import StageBench, table
from trimtab_stages.condense import Condense
from trimtab_stages.condense_options import CondenseOptions
from trimtab_stages.risk_assess import RiskAssessOptions, RiskAssessor
from trimtab_stages.token_count import TokenCounter, TokenCountOptions

CONSTRAINT = "Never touch config/prod.yaml; the port is 8443."
NOTES = "\n".join(
    f"## {heading}\nsomething that was said of it, word for word"
    for heading in ("Goal", "Constraints", "Decisions", "Files changed", "Errors", "Open work", "Next step")
)
"""What a model that summarises well answers."""


def bench(
    window: int = 10_000, *, reserve: int = 500, answers: Any = (), store: Any = None, **options: Any
) -> StageBench:
    """Counting, assessing and condensing for a model with this window."""
    known = table()
    small = Model(window=window, max_output=1_000, upstreams={"messages": "text", "chat": "images"}, vision="eyes")
    return StageBench(
        TokenCounter(TokenCountOptions()),
        RiskAssessor(RiskAssessOptions(reserve=reserve)),
        Condense(CondenseOptions(**options)),
        models=ModelTable(known.upstreams, {**known.models, "small": small}),
        answers=answers,
        store=store,
    )


def session(
    turns: int, dialect: str = "chat", size: int = 1_600, talk: int = 10, every: int = 0
) -> list[dict[str, Any]]:
    """A task and `turns` calls with results of `size` characters; the user speaks again after each `every` of them."""
    made = [user(f"Rewrite the parser. {CONSTRAINT}")]
    for number in range(turns):
        words = f"step {number}: " + "because of this and that, " * talk
        line = f"{number} def function(argument): return value + {number}\n"
        made.append(call(dialect, f"c{number}", "read", words, path=f"src/file{number}.py"))
        made.append(result(dialect, f"c{number}", line * (size // len(line))))
        if every and number % every == every - 1:
            made += [said("that is done"), user(f"and now part {number}, with fact-{number}")]
    return made


def requests(made: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The messages of each request of a session."""
    for index, message in enumerate(made):
        last = index + 1 == len(made) or made[index + 1]["role"] == "assistant"
        if message["role"] != "assistant" and last:
            yield made[: index + 1]


async def run(case: StageBench, messages: list[dict[str, Any]], dialect: str = "chat", **more: Any) -> Exchange:
    """The exchange of a request behind the chain, which broke no invariant."""
    exchange = case.exchange(body(messages), dialect=dialect, **more)
    await case.request(exchange)
    assert [note for note in exchange.notes if "undone" in note] == []
    return exchange


def conversation_of(made: list[dict[str, Any]], dialect: str = "chat") -> Conversation:
    """The conversation as stages see it."""
    return StageBench().exchange(body(made), dialect=dialect).conversation


def talk_of(made: list[dict[str, Any]], dialect: str = "chat") -> tuple[Message, ...]:
    """Its messages."""
    return conversation_of(made, dialect).messages


def parted(before: Exchange, after: Exchange) -> bool:
    """Whether `after` begins otherwise than `before` up to the start of its last turn: an epoch."""
    received = before.received.messages
    end = max((i + 1 for i, message in enumerate(received) if message.role == "assistant"), default=0)
    one = [message.raw for message in before.conversation.messages]
    one = one[: len(one) - (len(received) - end)]
    return one != [message.raw for message in after.conversation.messages][: len(one)]
