"""Nothing that matters is lost: facts of each kind are planted in each place of a session, and looked for afterwards.

The kinds are those of context.md (How to measure): a path, an error's text, a constraint, a number.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest

from condensing import NOTES, requests
from talks import body, call, text
from trimtab.api import Condensed, Exchange, Model, ModelTable, Refused
from trimtab.testing import StageBench, table
from trimtab_stages.condense import Condense
from trimtab_stages.condense_options import CondenseOptions
from trimtab_stages.env_dedup import EnvDeduplication, EnvDedupOptions
from trimtab_stages.risk_assess import RiskAssessOptions, RiskAssessor
from trimtab_stages.token_count import TokenCounter, TokenCountOptions

pytestmark = pytest.mark.anyio
TURNS = 40
KINDS = {
    "path": "src/deep/{0}/{1}.py",
    "error": "E{0}: cannot borrow `{1}` as mutable",
    "constraint": "never call port {0} of {1} twice",
    "number": "{0}.25 of {1}",
}
STATES = ("VSCode Open Tabs", "Current Time", "Context Window Usage", "Current Cost", "todo")
EVENTS = ("Recently Modified Files", "Something New")
TERMINALS = "Actively Running Terminals"
ONCE = ("Workspace Configuration", "Detected CLI Tools", "Current Workspace Directory (/w) Files")
WINDOWS = {
    "smart_truncation": 14_000, "key_point_extraction": 8_000, "conversation_summary": 8_000,
    "progressive_summarization": 8_000,
}  # fmt: skip
"""In which the rung is reached."""
STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "keep_latest": {},
    "delta": {"strategy": "delta"},
    "selective_removal": {"strategy": "selective_removal"},
    "merge": {"strategy": "merge"},
    "keep_most_relevant": {"strategy": "keep_most_relevant"},
    "max-age": {"max_age": 5},
    "whole-block": {"whole_block": True},
}


def fact(place: str, turn: int) -> str:
    """What is planted at a place in a turn: each text stands nowhere else, and the kinds come in turn."""
    kind = [*KINDS][(turn + len(place)) % len(KINDS)]
    return KINDS[kind].format(turn + 1_000, place.partition(" (")[0].replace(" ", "-"))


class Planted(NamedTuple):
    """The facts of a session up to a turn."""

    user: list[str]
    events: list[str]
    once: list[str]
    states: list[str]
    """The newest value of each state; it changes with every other turn."""
    results: list[tuple[str, str]]
    """What each result says, and the call that it answers."""


def planted(turns: int) -> Planted:
    """What was planted in the first turns."""
    events = [fact(place, turn) for turn in range(turns) for place in EVENTS]
    return Planted(
        [fact("user", turn) for turn in range(turns)],
        events + [fact(TERMINALS, turn) for turn in range(turns) if turn % 3 == 2],
        [fact(place, 0) for place in ONCE],
        [fact(place, (turns - 1) // 2 * 2) for place in STATES],
        [(fact("result", turn), f"read {fact('argument', turn)}") for turn in range(turns)],
    )


def block(turn: int) -> str:
    """The environment block of a turn, in the clients' order."""
    names = [STATES[0], EVENTS[0], *([TERMINALS] if turn % 3 == 2 else ()), *STATES[1:4], EVENTS[1]]
    names += ONCE if turn == 0 else ()
    since = turn // 2 * 2
    sections = "\n\n".join(f"# {name}\n{fact(name, since if name in STATES else turn)}" for name in names)
    todo = f"====\n\nREMINDERS\n\n| 1 | {fact('todo', since)} | Pending |\n\nIMPORTANT: keep it."
    return f"<environment_details>\n{sections}\n{todo}\n</environment_details>"


def session(dialect: str, size: int = 1_500) -> list[dict[str, Any]]:
    """Turns of the user, each with the result of a call, a word, and a block."""
    made: list[dict[str, Any]] = []
    for turn in range(TURNS):
        words = [text(f"and now {fact('user', turn)}"), text(block(turn))]
        given = f"{fact('result', turn)}\n" + "a line of the file\n" * (size // 20)
        answer = {"tool_call_id": f"c{turn}", "role": "tool", "content": given}
        if not turn:
            made.append({"role": "user", "content": [text(f"read {given}"), *words]})
        elif dialect == "messages":
            result = {"type": "tool_result", "tool_use_id": f"c{turn}", "content": given}
            made.append({"role": "user", "content": [result, *words]})
        else:
            made += [answer, {"role": "user", "content": words}]
        made.append(call(dialect, f"c{turn + 1}", "read", "let me see", path=fact("argument", turn + 1)))
    return made[:-1]


def sent(bench: StageBench, exchange: Exchange) -> str:
    """All that leaves, as one text."""
    return "\n".join(_texts(bench.sent(exchange)["messages"]))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts: Sequence[Any] = [*value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [each for part in parts for each in _texts(part)]


def missing(facts: Sequence[str], said: str) -> list[str]:
    """The facts that are not there."""
    return [each for each in facts if each not in said]


@pytest.mark.parametrize("dialect", ["chat", "messages"])
@pytest.mark.parametrize("choice", STRATEGIES)
async def test_env_dedup_keeps_each_fact(choice: str, dialect: str) -> None:
    """All but states; of those the newest value is there once. With `whole-block` events go, as it is documented."""
    async with StageBench(EnvDeduplication(EnvDedupOptions(**STRATEGIES[choice]))) as bench:
        for number, messages in enumerate(requests(session(dialect)), 1):
            exchange = bench.exchange(body(messages), dialect=dialect)
            await bench.request(exchange)
            assert exchange.notes == []
            said, facts = sent(bench, exchange), planted(number)
            assert missing([*facts.user, *(result for result, _ in facts.results)], said) == []
            assert [said.count(value) for value in facts.states] == [1] * len(STATES)
            if choice != "whole-block":
                assert missing([*facts.events, *facts.once], said) == []
        assert number == TURNS
        assert len(exchange.conversation.render()) < 0.98 * len(exchange.received.render())


def chain(window: int, rung: str) -> StageBench:
    """The stages that shorten, by their defaults and one rung."""
    known = table()
    options: dict[str, Any] = {"strategy": rung, "model_rungs": True, "on_overflow": "truncate"}
    small = Model(window=window, max_output=500, upstreams={"messages": "text", "chat": "images"}, vision="eyes")
    return StageBench(
        EnvDeduplication(EnvDedupOptions()),
        TokenCounter(TokenCountOptions()),
        RiskAssessor(RiskAssessOptions(reserve=500)),
        Condense(CondenseOptions(**options)),
        models=ModelTable(known.upstreams, {**known.models, "small": small}),
        answers=[NOTES] * 500,
    )


@pytest.mark.parametrize("dialect", ["chat", "messages"])
@pytest.mark.parametrize("rung", WINDOWS)
async def test_each_rung_keeps_what_the_user_said_and_names_what_is_gone(rung: str, dialect: str) -> None:
    """A cleared result keeps its tool and argument; where turns go, all of the user's words and of the events stay."""
    forms = set()
    async with chain(WINDOWS[rung], rung) as bench:
        for number, messages in enumerate(requests(session(dialect)), 1):
            exchange = bench.exchange(body(messages), dialect=dialect)
            await bench.request(exchange)
            assert [note for note in exchange.notes if "undone" in note] == []
            await bench.run_later(exchange)
            said, facts, done = sent(bench, exchange), planted(number), exchange.get(Condensed)
            assert missing([*facts.user, *facts.once], said) == []
            assert [said.count(value) for value in facts.states] == [1] * len(STATES)
            if done is None or done.form == "smart_truncation":
                gone = [named for result, named in facts.results if result not in said]
                assert missing([f"[Old tool result cleared: {named}, " for named in gone], said) == []
            # The texts that stand for turns tell all that the environment told once.
            assert missing(facts.events, said) == []
            forms.add("" if done is None else done.form)
            assert done is None or not done.truncated
    # Where a model summarises too slowly for the session, key points take its place; either way turns went.
    assert len(forms - {"", "smart_truncation"}) > 0 or (rung == "smart_truncation" and rung in forms)


async def test_a_fact_that_is_lost_would_be_found() -> None:
    assert missing(planted(2).user, f"{fact('user', 0)}") == [fact("user", 1)]
    everything = [each for facts in planted(TURNS)[:4] for each in facts]
    assert len(everything) == len({*everything})
    assert all(any(fact(place, turn).startswith(kind.split("{")[0]) for turn in range(4)) for place in (
        "user", *STATES, *EVENTS, TERMINALS, *ONCE, "result",
    ) for kind in KINDS.values())  # fmt: skip
    with pytest.raises(Refused):
        async with chain(600, "smart_truncation") as bench:
            await bench.request(bench.exchange(body(session("chat"))))
