"""Counting in place and in the thread."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from trimtab.api import FactTable, Picture, Tokenizer
from trimtab_stages.token_parts import PAGE, Pages, Part
from trimtab_stages.token_worker import BATCH, IN_PLACE, Pictured, Piece, Size, TokenWorker

pytestmark = pytest.mark.anyio


class Noting(Tokenizer):
    """One token a letter; remembers the texts and threads, and waits at a gate in a thread."""

    def __init__(self) -> None:
        super().__init__("letters")
        self.asked: list[str] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.loaded: list[str] = []
        self.claimed: list[str] = []

    def load(self) -> None:
        self.loaded.append(threading.current_thread().name.split("_")[0])

    def claim(self) -> None:
        self.claimed.append(threading.current_thread().name)

    def count(self, text: str, *, beside: bool = False) -> int:
        here = threading.current_thread()
        if here is not threading.main_thread():
            assert self.gate.wait(10)
        self.asked.append(text[:1])
        self.threads.add(here.name.split("_")[0])
        return len(text)


@pytest.fixture
async def worker() -> AsyncIterator[TokenWorker]:
    made = TokenWorker(Noting(), FactTable(100), b"salt")
    made.cold = False
    yield made
    made.close()


def noting(worker: TokenWorker) -> Noting:
    assert isinstance(worker.tokenizer, Noting)
    return worker.tokenizer


def piece(*parts: Part, name: str = "") -> Piece:
    return Piece((name or repr(parts)[:40]).encode(), lambda: parts)


async def test_texts_framing_and_pages_are_added_up(worker: TokenWorker) -> None:
    assert await worker.sizes([piece("abc", 5, "de"), piece(Pages()), piece()]) == [10, PAGE, 0]


async def test_pictures_stand_beside_the_tokens(worker: TokenWorker) -> None:
    seen, far = Picture(5, 5), Picture()
    assert await worker.sizes([piece("abc", seen, 5, far)]) == [Pictured(8, (seen, far))]


async def test_what_is_known_is_not_read_again(worker: TokenWorker) -> None:
    await worker.sizes([piece("abc"), piece("de")])

    def never() -> Sequence[Part]:
        raise AssertionError

    assert await worker.sizes([Piece(piece("de").digest, never), piece("fghi"), piece("abc")]) == [2, 4, 3]
    assert noting(worker).asked == ["a", "d", "f"]


async def test_who_counts_differently_shares_the_table_and_no_count() -> None:
    table: FactTable[Size] = FactTable(100)
    letters, quarters = TokenWorker(Noting(), table, b"a"), TokenWorker(None, table, b"b")
    assert [await each.sizes([piece("abcdefgh")]) for each in (letters, quarters)] == [[8], [2]]
    letters.close()


@pytest.mark.parametrize(("size", "thread"), [(IN_PLACE, "MainThread"), (IN_PLACE + 2, "trimtab-count")])
async def test_much_new_text_is_counted_in_the_thread(worker: TokenWorker, size: int, thread: str) -> None:
    await worker.sizes([piece("x" * (size // 2)), piece("y" * (size - size // 2))])
    assert noting(worker).threads == {thread}


async def test_old_text_and_pictures_are_not_much_new_text(worker: TokenWorker) -> None:
    old = piece("x" * (IN_PLACE + 1))
    await worker.sizes([old])
    noting(worker).threads.clear()
    await worker.sizes([old, piece("look", Picture(9000, 9000))])
    assert noting(worker).threads == {"MainThread"}


async def test_a_large_file_is_looked_through_in_the_thread(worker: TokenWorker) -> None:
    assert await worker.sizes([piece(Pages("A" * 101 * IN_PLACE), "x")]) == [PAGE + 1]
    assert noting(worker).threads == {"trimtab-count"}


async def test_the_first_count_loads_the_table_of_tokens_in_the_thread(worker: TokenWorker) -> None:
    worker.cold = True
    await worker.sizes([])
    assert worker.cold
    await worker.sizes([piece("a")])
    await worker.sizes([piece("b")])
    # The thread loads, and the loop is the first to count, which makes it the one that counts fastest.
    assert (noting(worker).loaded, noting(worker).claimed) == (["trimtab-count"], ["MainThread"])
    assert noting(worker).threads == {"MainThread"}


async def test_a_quarter_of_the_characters_needs_no_thread() -> None:
    worker = TokenWorker(None, FactTable(10), b"")
    assert await worker.sizes([piece("x" * 10 * IN_PLACE)]) == [IN_PLACE * 10 // 4]
    worker.close()


async def test_a_huge_session_lets_others_between_its_batches(worker: TokenWorker) -> None:
    noting(worker).gate.clear()
    huge = [piece(letter * BATCH) for letter in "abc"]
    first = asyncio.create_task(worker.sizes(huge))
    await asyncio.sleep(0)
    second = asyncio.create_task(worker.sizes([piece("x" * (IN_PLACE + 1))]))
    await asyncio.sleep(0)
    noting(worker).gate.set()
    assert [*await first, *await second] == [BATCH, BATCH, BATCH, IN_PLACE + 1]
    assert noting(worker).asked == ["a", "x", "b", "c"]
