"""Each strategy on one session: what leaves of it."""

import json
from typing import Any

import pytest

from trimtab.testing import StageBench, conform
from trimtab_stages.env_blocks import UNCHANGED
from trimtab_stages.env_dedup import STEP, EnvDeduplication, EnvDedupOptions
from trimtab_stages.env_strategies import PER_MINUTE, STRATEGIES, named, remarks

pytestmark = pytest.mark.anyio

TREE, EDITED = "# Current Workspace Directory (/w) Files\na.py\nb.py", "# Recently Modified Files\n{}.py"


def block(*sections: str) -> str:
    body = "\n\n".join(sections)
    return f"<environment_details>\n{body}\n</environment_details>"


def turn(number: int, *more: str, pad: int = 0) -> str:
    """A block with a state that changes each turn, one that changes once, and further sections."""
    tabs = "# VSCode Open Tabs\n" + ("a.py" if number < 2 else "b.py")
    return block(f"# Current Time\n{number}{' ' * pad}", tabs, *more)


SESSION = [turn(0, TREE), turn(1, EDITED.format("a")), turn(2), turn(3, EDITED.format("b"))]


def messages(blocks: list[str]) -> list[dict[str, Any]]:
    said: list[list[dict[str, Any]]] = [
        [
            {"role": "user", "content": [{"type": "text", "text": f"do {n}"}, {"type": "text", "text": text}]},
            {"role": "assistant", "content": "done"},
        ]
        for n, text in enumerate(blocks)
    ]
    return [message for pair in said for message in pair][:-1]


async def left(blocks: list[str], **options: Any) -> list[list[str]]:
    """The sections of each block that leave, by their first words; without one, no block leaves."""
    async with StageBench(EnvDeduplication(EnvDedupOptions(**options))) as bench:
        body = json.dumps({"model": "small", "messages": messages(blocks)}).encode()
        exchange = bench.exchange(body)
        await bench.request(exchange)
        assert exchange.notes == []
        again = bench.exchange(exchange.conversation.render())
        await bench.request(again)
        assert again.conversation.render() == exchange.conversation.render(), "a second pass changes nothing"
    parts = [message["content"][1:] for message in bench.sent(exchange)["messages"][::2]]
    return [_sections(part[0]["text"]) if part else [] for part in parts]


def _sections(text: str) -> list[str]:
    inner = text.removeprefix("<environment_details>\n").removesuffix("\n</environment_details>")
    return [part.replace("\n", " ").strip() for part in inner.split("\n\n") if part.strip()]


TIME = [f"# Current Time {n}" for n in range(4)]
TABS_A, TABS_B = "# VSCode Open Tabs a.py", "# VSCode Open Tabs b.py"
FILES, EDIT_A, EDIT_B = TREE.replace("\n", " "), *(EDITED.format(n).replace("\n", " ") for n in "ab")


async def test_keep_latest() -> None:
    found = await left(SESSION)
    assert found[0] == [TABS_A, FILES]
    assert found[1] == [EDIT_A]
    assert found[3] == [TIME[3], EDIT_B]


async def test_whole_block() -> None:
    assert await left(SESSION, whole_block=True) == [[], [], [], [TIME[3], TABS_B, EDIT_B]]


async def test_delta() -> None:
    long = [text.replace("a.py", "a.py" * 40).replace("b.py", "b.py" * 40) for text in SESSION]
    found = await left(long, strategy="delta")
    assert found == [
        [TIME[0], TABS_A.replace("a.py", "a.py" * 40), FILES.replace("a.py", "a.py" * 40).replace("b.py", "b.py" * 40)],
        [UNCHANGED, TIME[1], EDIT_A.replace("a.py", "a.py" * 40)],
        [TIME[2], TABS_B.replace("b.py", "b.py" * 40)],
        [TIME[3], EDIT_B.replace("b.py", "b.py" * 40)],
    ]


async def test_delta_says_so_where_all_is_unchanged() -> None:
    same = block("# VSCode Open Tabs\n" + "a.py " * 40)
    assert (await left([same] * 3, strategy="delta"))[1:] == [[UNCHANGED], [UNCHANGED]]


async def test_delta_leaves_what_is_shorter_than_its_sentence() -> None:
    assert await left(SESSION, strategy="delta") == [_sections(text) for text in SESSION]


async def test_selective_removal() -> None:
    found = await left(SESSION, strategy="selective_removal")
    # Times differ in their digits only; tabs are said again in the second and the fourth block.
    assert found == [[FILES], [TABS_A, EDIT_A], [], [TIME[3], TABS_B, EDIT_B]]
    kept = await left([turn(0), turn(2)], strategy="selective_removal", similarity=0.4)
    assert kept == [[TABS_A], [TIME[2], TABS_B]]


async def test_keep_most_relevant() -> None:
    found = await left(SESSION, strategy="keep_most_relevant")
    # The first block says more than none before it; no later one says more.
    assert found[0] == [TIME[0], TABS_A, FILES]
    assert found[1] == [EDIT_A]


async def test_merge() -> None:
    blocks = [turn(n, EDITED.format(f"file{n // 2}")) for n in range(24)]
    found, usual = await left(blocks, strategy="merge"), await left(blocks)
    [folded] = [sections for sections in found if sections[:1] == ["# Earlier events"]]
    events = [f"# Recently Modified Files file{n // 2}.py" for n in range(24)]
    at = found.index(folded)
    assert at == STEP - 1
    assert folded[1:] == list(dict.fromkeys(events[: at + 1]))
    assert [sections for sections in found[:at] if events[0] in sections] == []
    assert found[at + 1 :] == usual[at + 1 :]


async def test_max_age() -> None:
    # Tabs stay for two turns each, so that each value stays for good with the default.
    blocks = [block(f"# VSCode Open Tabs\n{n // 2}.py", EDITED.format(n)) for n in range(60)]
    usual, found = await left(blocks), await left(blocks, max_age=5)
    tabs = [[text for text in sections if "Tabs" in text] for sections in found]
    assert sum(map(len, tabs)) < sum("Tabs" in text for sections in usual for text in sections)
    first = next(n for n, kept in enumerate(tabs) if kept)
    assert first == (59 - 5 * PER_MINUTE) // STEP * STEP - 2
    # From the last copy before the frontier on, all is as usual; events are always there.
    assert found[first:] == usual[first:]
    assert [sections[-1] for sections in found] == [sections[-1] for sections in usual]


@pytest.mark.parametrize("options", [{"strategy": "merge"}, {"max_age": 5}])
async def test_a_model_whose_predictions_keep_failing_gets_no_new_epoch(options: dict[str, Any]) -> None:
    """What older records say goes on."""
    texts = [block(f"# VSCode Open Tabs\n{n // 2}.py", EDITED.format(n)) for n in range(3 * STEP)]
    said = [({"role": "user", "content": text}, {"role": "assistant", "content": "ok"}) for text in texts]
    made = [message for pair in said for message in pair]

    async def sent(bench: StageBench, count: int) -> list[Any]:
        exchange = bench.exchange({"model": "small", "messages": made[: 2 * count - 1]})
        await bench.request(exchange)
        kept: list[Any] = bench.sent(exchange)["messages"]
        return kept

    async with StageBench(EnvDeduplication(EnvDedupOptions(**options))) as bench:
        usual = await sent(bench, 3 * STEP)
    async with StageBench(EnvDeduplication(EnvDedupOptions(**options))) as bench:
        first = await sent(bench, 2 * STEP)
        bench.services.economics.trusted = lambda target: False  # type: ignore[method-assign]  # a fake
        held = await sent(bench, 3 * STEP)
        # Up to the last turn of the first request.
        assert held[: 4 * STEP - 4] == first[: 4 * STEP - 4] != usual[: 4 * STEP - 4]
    async with StageBench(EnvDeduplication(EnvDedupOptions(**options))) as bench:
        bench.services.economics.trusted = lambda target: False  # type: ignore[method-assign]  # a fake
        async with StageBench(EnvDeduplication(EnvDedupOptions())) as plain:
            if "max_age" in options:
                assert await sent(bench, 3 * STEP) == await sent(plain, 3 * STEP)
        assert bench.services.counters.snapshot().get("epochs.written", 0) == 0


def test_other_names() -> None:
    assert named("merge_strategy", whole=False) == STRATEGIES["merge"]
    assert named("exact_match", whole=False) == STRATEGIES["selective_removal"]


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_choice_against_the_default_has_a_price(name: str) -> None:
    told = remarks(name, whole=False, max_age=0)
    assert [STRATEGIES[name].price in text for text in told] == ([] if name == "keep_latest" else [True])


def test_the_whole_block_says_what_is_lost() -> None:
    [told] = remarks("keep_latest", whole=True, max_age=0)
    assert told.startswith("whole-block costs 0.640-0.929 of a session")
    assert told.endswith("events and what is sent once are lost with their blocks")


@pytest.mark.parametrize("choice", [*STRATEGIES, "whole-block", "max-age"])
async def test_each_keeps_the_laws_of_stages(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab_stages.env_dedup.STEP", 10)
    monkeypatch.setattr("trimtab_stages.env_dedup.PER_MINUTE", 1)
    others: dict[str, dict[str, Any]] = {"whole-block": {"whole_block": True}, "max-age": {"max_age": 1}}
    options = EnvDedupOptions(**others.get(choice, {"strategy": choice}))
    report = await conform(lambda: EnvDeduplication(options), number=12, append_only=choice == "delta")
    assert report.edited > 0
