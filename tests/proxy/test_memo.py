"""The two tables that make a turn cost its new messages only."""

import random
from collections.abc import Sequence

from trimtab.conversation import Block, DialectName, Message
from trimtab.memo import BIG, FactTable, MessageTable, weight


class Codec:
    """A dialect in which nothing has blocks."""

    name: DialectName = "chat"

    def blocks(self, raw: bytes) -> tuple[Block, ...]:
        return ()

    def with_blocks(self, raw: bytes, blocks: Sequence[Block]) -> bytes:
        return raw


CODEC = Codec()
SIZE = 1000


def make(index: int, raw: bytes) -> Message:
    return Message(CODEC, "user", raw)


def session(number: int, length: int = 10) -> list[bytes]:
    """The messages of one conversation, each of SIZE bytes."""
    return [f"{number}/{index}".encode().ljust(SIZE) for index in range(length)]


def room(messages: int) -> int:
    return messages * weight(b" " * SIZE)


def test_a_turn_costs_its_new_messages() -> None:
    table = MessageTable(room(100))
    first = table.find(CODEC, session(1, 5), make)
    again = table.find(CODEC, session(1, 7), make)
    assert all(a is b for a, b in zip(first, again, strict=False))
    assert (table.hits, table.misses, len(table)) == (5, 7, 7)
    assert table.bytes == room(7)


def test_a_message_twice_in_a_conversation_is_held_once() -> None:
    table = MessageTable(room(100))
    found = table.find(CODEC, [b"a", b"b", b"a"], make)
    assert found[0] is found[2]
    assert len(table) == 2


def test_whole_conversations_go_least_recently_used_first() -> None:
    table = MessageTable(room(30))
    for number in (1, 2, 3):
        table.find(CODEC, session(number), make)
    table.find(CODEC, session(1), make)
    table.find(CODEC, session(4), make)
    assert len(table) == 30
    table.misses = 0
    table.find(CODEC, session(1), make)
    table.find(CODEC, session(3), make)
    assert table.misses == 0
    table.find(CODEC, session(2), make)
    assert table.misses == 10


def test_a_message_belongs_to_the_conversation_that_used_it_last() -> None:
    table = MessageTable(room(12))
    shared = [b"shared".ljust(SIZE)]
    table.find(CODEC, session(1, 3) + shared, make)
    table.find(CODEC, session(2, 3) + shared, make)
    table.find(CODEC, session(3, 6), make)
    assert len(table) == 10
    table.misses = 0
    table.find(CODEC, session(2, 3) + shared, make)
    assert table.misses == 0


def test_a_conversation_larger_than_the_table_is_still_served() -> None:
    table = MessageTable(room(3))
    assert len(table.find(CODEC, session(1), make)) == 10
    assert (len(table), table.bytes) == (0, 0)


def test_dialects_do_not_mix() -> None:
    class Other(Codec):
        name: DialectName = "messages"

    table = MessageTable(room(10))
    one, two = table.find(CODEC, [b"{}"], make), table.find(Other(), [b"{}"], make)
    assert one[0] is not two[0]


def test_what_is_stored_is_a_copy() -> None:
    table = MessageTable(room(10))
    body = b"x" * 10_000
    found = table.find(CODEC, [body[:100]], make)
    assert type(found[0].raw) is bytes


class Unhashed(bytes):
    """Bytes of which nobody takes a hash."""

    def __hash__(self) -> int:
        raise AssertionError("all of its bytes are hashed")


def test_a_big_message_is_found_without_a_hash_of_all_of_it() -> None:
    table = MessageTable(100 * BIG)
    first, second = (b"a" * BIG + middle + b"z" * BIG for middle in (b"1", b"2"))
    [one], [two] = (table.find(CODEC, [Unhashed(raw)], make) for raw in (first, second))
    assert (one.raw, two.raw) == (first, second)
    assert table.find(CODEC, [Unhashed(first)], make) == (one,)
    assert table.find(CODEC, [b"small", Unhashed(second)], make)[1] is two
    assert (table.hits, table.misses, len(table)) == (2, 3, 3)
    table.find(CODEC, session(1, 2), make)
    table.max_bytes = 0
    table.find(CODEC, [b"last"], make)
    assert (table.bytes, len(table)) == (0, 0)


def misses(sessions: int, fitting: int) -> float:
    """The share of messages made anew, with sessions taking their turns in random order."""
    table = MessageTable(room(fitting * 10))
    order = random.Random(7)
    for number in range(sessions):
        table.find(CODEC, session(number), make)
    table.hits = table.misses = 0
    for _ in range(600):
        table.find(CODEC, session(order.randrange(sessions)), make)
    return table.misses / (table.hits + table.misses)


def test_more_sessions_than_fit_cost_more_by_and_by() -> None:
    shares = [misses(sessions, 20) for sessions in (20, 24, 30, 40, 60)]
    assert shares[0] == 0
    assert shares == sorted(shares)
    # With random order the share that misses is the share that does not fit: no cliff.
    for sessions, share in zip((24, 30, 40, 60), shares[1:], strict=True):
        assert abs(share - (1 - 20 / sessions)) < 0.08


def test_facts_outlive_the_messages_so_that_nothing_is_counted_twice() -> None:
    table, facts = MessageTable(room(200)), FactTable[int](10_000)
    counted = 0
    order = random.Random(7)
    for _ in range(300):
        for message in table.find(CODEC, session(order.randrange(60)), make):
            if facts.get(message.digest) is None:
                counted += 1
                facts.put(message.digest, len(message.raw))
    assert counted == len(facts) == 600
    assert table.misses > 1000


def test_facts_are_bounded_least_recently_used_first() -> None:
    facts = FactTable[int](2)
    facts.put(b"a", 1)
    facts.put(b"b", 2)
    assert facts.get(b"a") == 1
    facts.put(b"c", 3)
    assert (facts.get(b"a"), facts.get(b"b"), facts.get(b"c")) == (1, None, 3)
    assert len(facts) == 2


def test_sessions_hold_no_bytes_of_their_own_and_go_with_their_last_message() -> None:
    table = MessageTable(1 << 30)
    shared = b'{"role":"system","content":"' + b"s" * 40_000 + b'"}'
    for number in range(50):
        table.find(CODEC, [shared, b'{"role":"user","content":"%d"}' % number], make)
    assert len(table) == 51
    assert table.bytes < 3.1 * len(shared)
    assert all(isinstance(key, int) for key in table._sessions)
    lone = MessageTable(1 << 30)
    for _ in range(50):
        lone.find(CODEC, [shared], make)
        lone.find(CODEC, [shared, b'{"role":"user","content":"same"}'], make)
    assert len(lone._sessions) <= 2


def test_a_turn_finds_what_is_known_of_its_beginning() -> None:
    table = MessageTable(room(100))
    first = table.run(CODEC, tuple(session(1, 6)), make)
    again = table.run(CODEC, tuple(session(1, 8)), make)
    assert again.messages[:6] == first.messages
    assert [a is b for a, b in zip(first.prefixes, again.prefixes, strict=False)] == [True] * 6
    assert all(raw is message.raw for raw, message in zip(again.raws, again.messages, strict=True))
    assert table.hits == 6


def test_behind_a_changed_message_nothing_is_known() -> None:
    table = MessageTable(room(100))
    first = table.run(CODEC, tuple(session(1, 6)), make)
    changed = session(1, 8)
    changed[4] = b"marked".ljust(SIZE)
    again = table.run(CODEC, tuple(changed), make)
    same = [a is b for a, b in zip(first.prefixes, again.prefixes, strict=False)]
    assert same == [True] * 4 + [False] * 2
    assert again.messages[5] is first.messages[5]
    rewound = table.run(CODEC, tuple(changed[:7]), make)
    assert rewound.prefixes == again.prefixes[:7]


def test_a_conversation_that_went_is_not_found_by_a_short_way() -> None:
    table = MessageTable(room(10))
    first = table.run(CODEC, tuple(session(1)), make)
    table.run(CODEC, tuple(session(2)), make)
    again = table.run(CODEC, tuple(session(1)), make)
    assert not any(a is b for a, b in zip(first.messages, again.messages, strict=True))
    assert not any(a is b for a, b in zip(first.prefixes, again.prefixes, strict=True))


def test_who_lent_most_of_its_messages_looks_for_all_of_them() -> None:
    table = MessageTable(room(100))
    first = table.run(CODEC, tuple(session(1)), make)
    fork = (b"other".ljust(SIZE), *session(1)[1:])
    table.run(CODEC, fork, make)
    again = table.run(CODEC, tuple(session(1)), make)
    assert again.messages == first.messages
    assert not any(a is b for a, b in zip(first.prefixes, again.prefixes, strict=True))
    system = b"shared".ljust(SIZE)
    one = table.run(CODEC, (system, *session(3, 20)), make)
    table.run(CODEC, (system, *session(4, 20)), make)
    assert table.run(CODEC, (system, *session(3, 20)), make).prefixes == one.prefixes


class Holds:
    """A note that says what it holds."""

    held = 5_000


def test_what_is_derived_from_messages_is_booked_and_counts_for_eviction() -> None:
    table = MessageTable(room(20) + 60_000)
    for number in (1, 2):
        run = table.run(CODEC, tuple(session(number)), make)
        for message in run.messages:
            message.notes["derived"] = Holds()
            message.notes["small"] = 1
    table.run(CODEC, tuple(session(2)), make)
    assert table.bytes == room(10) + 10 * Holds.held
    assert len(table) == 10
    table.run(CODEC, (b"fork".ljust(SIZE), *session(2)[1:]), make)
    assert table.bytes == room(11) + 10 * Holds.held
