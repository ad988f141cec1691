"""Epoch records: decided once, found by every later request, by other workers and after a restart."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from trimtab.api import Boundary, Credentials, Epoch, Epochs, Exchange, Owner, fingerprint, replace
from trimtab.epochs import KIND, REMEMBERED, TOGETHER
from trimtab.interfaces import Counters
from trimtab.measure import measure
from trimtab.store import DiskStore, MemoryStore
from trimtab.testing import StageBench

pytestmark = pytest.mark.anyio

MINE = Owner("mine", fingerprint(1))
STEP, START = 1_000, 300
EDIT = Epoch(form="cut", messages=3, size=900, texts=("a", "b"))


def said(role: str, size: int = 400, text: str = "x") -> dict[str, Any]:
    return {"role": role, "content": text * size}


def session(turns: int, **last: Any) -> list[dict[str, Any]]:
    """Messages of 440 bytes each; the last one is the user's."""
    messages = [said("assistant" if number % 2 else "user") for number in range(2 * turns)]
    return [*messages, {**said("user"), **last}]


class Case:
    """Exchanges and the records of one worker."""

    def __init__(self, store: Any = None) -> None:
        self.store = MemoryStore() if store is None else store
        self.counters = Counters()
        self.epochs = Epochs(self.store, self.counters)
        self.bench = StageBench(store=self.store)

    def exchange(self, messages: Sequence[Any], model: str = "small", **more: Any) -> Exchange:
        dialect = more.pop("dialect", "messages")
        exchange = self.bench.exchange({"model": model, "messages": list(messages)}, dialect=dialect, **more)
        exchange.put(Credentials(key="sk-secret"))
        return exchange

    def at(self, exchange: Exchange, owner: Owner = MINE) -> Boundary | None:
        return self.epochs.at(exchange, owner, step=STEP, start=START)

    def found(self, exchange: Exchange, owner: Owner = MINE) -> Boundary:
        boundary = self.at(exchange, owner)
        assert boundary is not None
        return boundary

    async def get(self, exchange: Exchange, owner: Owner = MINE) -> Epoch | None:
        return await self.epochs.get(exchange, self.found(exchange, owner))

    async def settle(self, exchange: Exchange, epoch: Epoch = EDIT, owner: Owner = MINE) -> Epoch:
        return await self.epochs.settle(exchange, self.found(exchange, owner), epoch)


@pytest.fixture
def case() -> Case:
    return Case()


@pytest.fixture
async def disks(tmp_path: Path) -> AsyncIterator[tuple[DiskStore, DiskStore]]:
    pair = DiskStore(tmp_path), DiskStore(tmp_path)
    yield pair
    for store in pair:
        await store.close()


async def test_a_boundary_is_a_multiple_of_the_step_and_needs_the_start(case: Case) -> None:
    found: list[int | None] = []
    for turns in range(6):
        exchange = case.exchange(session(turns))
        # What stands before the last turn: all but the user's last message.
        sizes = [measure(message).plain for message in exchange.received.messages[:-1]]
        boundary = case.at(exchange)
        if boundary is None:
            assert sum(sizes) < START + STEP
        else:
            assert boundary.at == (sum(sizes) - START) // STEP * STEP
            assert boundary.size == sum(sizes[: boundary.messages]) <= boundary.at
            assert sum(sizes[: boundary.messages + 1]) > boundary.at
        found.append(None if boundary is None else boundary.at)
    assert found == [None, None, 1_000, 2_000, 3_000, 4_000]


async def test_a_boundary_stays_while_the_conversation_grows(case: Case) -> None:
    keys = [case.found(case.exchange(session(turns))).key for turns in range(2, 20)]
    # 38 messages of about 430 bytes: a new one every third message or so, and never an older one again.
    assert keys == sorted(keys, key=keys.index)
    assert 10 < len(set(keys)) < 18


async def test_it_stands_where_no_call_is_parted_from_its_result(case: Case) -> None:
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": "y" * 900}
    turn = [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    messages = [said("user"), *turn, *turn, *turn, said("assistant"), said("user")]
    boundary = case.found(case.exchange(messages))
    assert boundary.messages in {1, 3, 5}
    text = [{"role": role, "content": "t" * 300} for role in ("tool", "tool")]
    calls = [{"id": name, "type": "function", "function": {"name": "f", "arguments": "{}"}} for name in "ab"]
    answers = [{**told, "tool_call_id": name} for told, name in zip(text, "ab", strict=True)]
    chat = [said("user"), {"role": "assistant", "content": None, "tool_calls": calls}, *answers, said("user")]
    chat += [said("assistant"), said("user", 2_000), said("assistant"), said("user")]
    places = {
        found.messages
        for start in range(0, 3_000, 100)
        if (found := case.epochs.at(case.exchange(chat, dialect="chat"), MINE, step=100, start=start))
    }
    assert places == {1, 5, 6, 7}


async def test_the_last_turn_does_not_count(case: Case) -> None:
    small = case.at(case.exchange(session(3)))
    large = case.at(case.exchange(session(3, content="z" * 50_000)))
    assert small == large is not None


async def test_cache_marks_do_not_move_it(case: Case) -> None:
    mark = {"type": "ephemeral"}
    marked = [
        {"role": told["role"], "content": [{"type": "text", "text": told["content"], "cache_control": mark}]}
        for told in session(4)
    ]
    assert case.at(case.exchange(marked)) == case.at(case.exchange(session(4))) is not None


@pytest.mark.parametrize("what", ["stage", "options", "forced", "model", "text", "dialect"])
async def test_the_key_tells_whose_record_it_is(case: Case, what: str) -> None:
    usual = case.found(case.exchange(session(4)))
    owners = {
        "stage": Owner("other", fingerprint(1)),
        "options": Owner("mine", fingerprint(2)),
        "forced": Owner("mine", fingerprint(1), forced=True),
    }
    messages = session(4)
    if what == "text":
        messages[0] = said("user", text="y")
    model = "other" if what == "model" else "small"
    exchange = case.exchange(messages, model=model, dialect="chat" if what == "dialect" else "messages")
    boundary = case.found(exchange, owners.get(what, MINE))
    assert boundary.key != usual.key
    assert boundary.messages == usual.messages


async def test_what_is_settled_is_found_and_never_changed(case: Case) -> None:
    exchange = case.exchange(session(4))
    assert await case.get(exchange) is None
    assert await case.settle(exchange) == EDIT
    later = case.exchange([*session(4), said("assistant", 10), said("user", 10)])
    assert case.found(later) == case.found(exchange)
    assert await case.get(later) == EDIT
    assert await case.settle(later, Epoch(form="other")) == EDIT
    assert case.counters.snapshot() == {"epochs.obeyed": 1, "epochs.written": 1}


async def test_declined_and_forced_epochs_are_records_too(case: Case) -> None:
    exchange = case.exchange(session(4))
    declined = Epoch()
    assert await case.settle(exchange, declined) == declined
    assert await case.get(exchange) == declined
    forced = Owner("mine", fingerprint(1), forced=True)
    assert (await case.settle(exchange, Epoch(form="cut", forced=True), forced)).forced
    assert case.counters.snapshot() == {"epochs.declined": 1, "epochs.forced": 1}


async def test_memory_knows_what_the_store_said(case: Case) -> None:
    exchange = case.exchange(session(4))
    await case.settle(exchange)
    asked: list[bytes] = []

    async def get(kind: str, tenant: str, key: bytes) -> bytes | None:
        asked.append(key)
        return None

    case.store.get = get  # type: ignore[method-assign,unused-ignore]  # a fake
    assert await case.get(exchange) == EDIT
    assert asked == []
    assert await case.get(case.exchange(session(9))) is None
    assert len(asked) == 1


async def test_who_loses_the_race_obeys_the_winner(disks: tuple[DiskStore, DiskStore]) -> None:
    workers = [Case(store) for store in disks]
    exchanges = [worker.exchange(session(4)) for worker in workers for _ in range(4)]
    wanted = [Epoch(form=f"form {number}") for number in range(8)]

    async def decide(number: int) -> Epoch:
        return await workers[number // 4].settle(exchanges[number], wanted[number])

    held = await asyncio.gather(*map(decide, range(8)))
    assert len(set(held)) == 1
    assert held[0] in wanted
    assert [await worker.get(exchanges[0]) for worker in workers] == [held[0]] * 2
    counts = [worker.counters.snapshot() for worker in workers]
    assert sum(found.get("epochs.written", 0) for found in counts) == 1
    assert sum(found.get("epochs.obeyed", 0) for found in counts) == 7


async def test_it_outlives_a_restart(tmp_path: Path) -> None:
    before = Case(DiskStore(tmp_path))
    await before.settle(before.exchange(session(4)))
    await before.store.close()
    after = Case(DiskStore(tmp_path))
    assert await after.get(after.exchange(session(4))) == EDIT
    await after.store.close()


async def test_a_lost_store_costs_a_new_decision_and_no_error(case: Case) -> None:
    await case.settle(case.exchange(session(4)))
    fresh = Case()
    assert await fresh.get(fresh.exchange(session(4))) is None
    assert (await fresh.settle(fresh.exchange(session(4)), Epoch(form="new"))).form == "new"


async def test_within_a_process_a_lost_store_costs_nothing(tmp_path: Path) -> None:
    case = Case(DiskStore(tmp_path))
    await case.settle(case.exchange(session(4)))
    await case.store.close()
    assert await case.get(case.exchange(session(4))) == EDIT
    assert await case.settle(case.exchange(session(9)), Epoch(form="new")) == Epoch(form="new")
    assert (await case.get(case.exchange(session(9)))) == Epoch(form="new")


async def test_a_record_that_cannot_be_read_is_written_anew(case: Case) -> None:
    exchange = case.exchange(session(4))
    key = case.found(exchange).key
    await case.settle(exchange)
    [(_, tenant, _)] = case.store._values
    await case.store.put(KIND, tenant, key, b'{"form":3}')
    fresh = Case(case.store)
    assert await fresh.get(exchange) is None
    assert await fresh.settle(exchange, Epoch(form="new")) == Epoch(form="new")
    assert await Case(case.store).get(exchange) == Epoch(form="new")


async def test_a_count_writes_nothing_and_uses_what_is_there(case: Case) -> None:
    count = case.exchange(session(4), operation="count")
    assert await case.settle(count, Epoch(form="tried")) == Epoch(form="tried")
    assert len(case.store) == 0
    assert await case.get(count) is None
    assert case.counters.snapshot() == {}
    await case.settle(case.exchange(session(4)))
    assert await case.get(count) == EDIT


async def test_clients_do_not_meet_each_others_records(case: Case) -> None:
    def of(credentials: Credentials | None, **headers: str) -> Exchange:
        exchange = case.bench.exchange({"model": "small", "messages": session(4)}, dialect="messages", headers=headers)
        if credentials is not None:
            exchange.put(credentials)
        return exchange

    clients = [
        of(Credentials(key="a")),
        of(Credentials(key="b")),
        of(Credentials(key="server", client="one", lent=True)),
        of(Credentials(key="server", client="two", lent=True)),
        of(None),
        of(None, authorization="Bearer c"),
        of(None, **{"x-api-key": "d"}),
    ]
    for number, exchange in enumerate(clients):
        assert (await case.settle(exchange, Epoch(form=str(number)))).form == str(number)
    assert [await case.get(exchange) for exchange in clients] == [Epoch(form=str(number)) for number in range(7)]
    assert not any(b"secret" in part.encode() for _, part, _ in case.store._values)


async def test_the_boundary_before(case: Case) -> None:
    exchange = case.exchange(session(6))
    found = [case.found(exchange)]
    while (before := case.epochs.earlier(exchange, found[-1])) is not None:
        found.append(before)
    assert [boundary.messages for boundary in found] == sorted({b.messages for b in found}, reverse=True)
    assert len(found) >= 3
    # It is the very boundary that an earlier request decided at.
    keys = {case.found(case.exchange(session(turns))).key for turns in range(2, 7)}
    assert keys <= {boundary.key for boundary in found}


async def test_one_large_message_holds_one_boundary_only(case: Case) -> None:
    messages = [said("user"), said("assistant", 5_000), said("user", 800), *session(1)[1:]]
    boundary = case.found(case.exchange(messages))
    assert boundary.messages == 2
    assert boundary.at == 6_000 > boundary.size > 5_000
    before = case.epochs.earlier(case.exchange(messages), boundary)
    assert before is not None
    assert before.messages == 1
    assert case.epochs.earlier(case.exchange(messages), before) is None


async def test_a_place_of_ones_own(case: Case) -> None:
    exchange = case.exchange(session(4))
    boundary = case.epochs.before(exchange, MINE, 2)
    assert boundary is not None
    assert boundary.messages == 2
    assert await case.epochs.settle(exchange, boundary, EDIT) == EDIT
    again = case.epochs.before(case.exchange(session(9)), MINE, 2)
    assert again == boundary
    assert case.epochs.earlier(exchange, boundary) is None
    assert case.epochs.before(exchange, MINE, 0) is None


async def test_a_clients_own_summary_has_no_boundary(case: Case) -> None:
    exchange = case.exchange(session(9))
    assert case.at(exchange) is not None
    exchange.compaction = True
    assert case.at(exchange) is None
    assert case.epochs.before(exchange, MINE, 2) is None


@pytest.mark.parametrize(("step", "start"), [(0, 0), (-1, 0), (10, -1)])
async def test_a_step_that_is_none_is_refused(case: Case, step: int, start: int) -> None:
    with pytest.raises(ValueError, match="a step of 1 byte or more"):
        case.epochs.at(case.exchange(session(1)), MINE, step=step, start=start)


async def test_memory_is_bounded(case: Case) -> None:
    exchange = case.exchange(session(4))
    boundary = case.found(exchange)
    for number in range(REMEMBERED + 5):
        case.epochs._remember(("t", number.to_bytes(4, "big")), EDIT)
    assert len(case.epochs._known) == REMEMBERED
    await case.epochs.settle(exchange, boundary, EDIT)
    assert len(case.epochs._known) == REMEMBERED
    assert await case.epochs.get(exchange, boundary) == EDIT


def test_fingerprints_tell_options_apart() -> None:
    found = {fingerprint(), fingerprint(1), fingerprint(1, 2), fingerprint((1, 2)), fingerprint({"a": 1})}
    assert len(found) == 5
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


async def test_what_held_until_now(case: Case) -> None:
    late = case.exchange(session(9))
    boundary = case.found(late)
    assert await case.epochs.previous(late, boundary) is None
    await case.settle(case.exchange(session(4)))
    assert await case.epochs.previous(late, boundary) == EDIT
    assert await case.get(late) is None


class Counting(MemoryStore):
    """A store that lets others go on before it answers, and knows how many it was asked for at once."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds: list[int] = []
        self.asked = 0

    async def get(self, kind: str, tenant: str, key: bytes) -> bytes | None:
        self.asked += 1
        asked = self.asked
        await asyncio.sleep(0)
        if asked == self.asked:
            self.rounds.append(asked)
            self.asked = 0
        return await super().get(kind, tenant, key)


async def test_the_store_is_asked_for_one_record_and_then_for_many_at_once() -> None:
    store = Counting()
    case = Case(store)
    late = case.exchange(session(60))
    boundary = case.found(late)
    assert await case.epochs.previous(late, boundary) is None
    assert store.rounds[:2] == [1, TOGETHER]
    assert max(store.rounds) == TOGETHER
    asked = sum(store.rounds)
    assert await case.epochs.previous(late, boundary, deep=3) is None
    assert sum(store.rounds) - asked == 3
    held = case.found(case.exchange(session(40)))
    await case.settle(case.exchange(session(40)))
    await case.settle(case.exchange(session(30)), replace(EDIT, messages=1))
    assert await case.epochs.newest(late, [boundary, held]) == (held, EDIT)
    assert await case.epochs.previous(late, boundary) == EDIT


async def test_a_later_request_knows_how_long_the_first_one_behind_a_boundary_was(case: Case) -> None:
    first: dict[bytes, int] = {}
    later = 0
    for turns in range(2, 20):
        exchange = case.exchange(session(turns))
        boundary = case.found(exchange)
        known = first.setdefault(boundary.key, len(exchange.received.messages))
        assert case.epochs.first(exchange, boundary, start=START) == known
        later += known < len(exchange.received.messages)
    assert later > 1
    chosen = case.epochs.before(exchange, MINE, 3)
    assert chosen is not None
    assert case.epochs.first(exchange, chosen) == len(exchange.received.messages)
