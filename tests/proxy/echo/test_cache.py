"""The prefix cache."""

from hashlib import sha256

from trimtab.echo.cache import PrefixCache, chain
from trimtab.echo.prompt import Piece


def piece(text: str) -> Piece:
    return Piece(text, sha256(text.encode()).digest(), len(text), 0, "user")


class Cache:
    """A cache in which a character is a token."""

    def __init__(self, block: int = 1, limit: int = 100) -> None:
        self.cache = PrefixCache(len, block, limit)

    def visit(self, *texts: str, model: str = "m") -> int:
        pieces = [piece(text) for text in texts]
        return self.cache.visit(chain(model, pieces), pieces)


def test_the_first_prompt_finds_nothing() -> None:
    assert Cache().visit("tools", "system", "hello") == 0


def test_the_same_prompt_finds_all_but_its_last_token() -> None:
    cache = Cache()
    cache.visit("tools", "hello")
    assert cache.visit("tools", "hello") == 9


def test_a_longer_prompt_finds_the_shorter_one() -> None:
    cache = Cache()
    cache.visit("tools", "hello")
    assert cache.visit("tools", "hello", "more") == 10
    assert cache.visit("tools", "hello", "more", "again") == 14


def test_a_shorter_prompt_finds_itself_in_the_longer_one() -> None:
    cache = Cache()
    cache.visit("tools", "hello", "more")
    assert cache.visit("tools", "hello") == 9


def test_a_change_at_the_start_loses_everything_behind_it() -> None:
    cache = Cache()
    cache.visit("tools", "hello", "more")
    assert cache.visit("Tools", "hello", "more") == 0


def test_inside_the_first_differing_piece_the_common_start_counts() -> None:
    cache = Cache()
    cache.visit("tools", "hello world", "more")
    assert cache.visit("tools", "hello there", "more") == 5 + 6
    assert cache.visit("tools", "hello thermal", "more") == 5 + 10  # the best of the two known ones
    assert cache.visit("toolbox") == 4


def test_cached_tokens_are_whole_blocks() -> None:
    cache = Cache(block=4)
    cache.visit("abcdefghij")
    assert cache.visit("abcdefghij") == 8
    assert cache.visit("abcdefg!") == 4
    cache.visit("12345678")
    assert cache.visit("12345678") == 4  # eight would leave nothing to compute
    assert cache.visit("12345678", "9") == 8


def test_models_share_nothing() -> None:
    cache = Cache()
    cache.visit("hello", "more", model="one")
    assert cache.visit("hello", "more", model="two") == 0
    assert cache.visit("hello", "more", model="one") == 8


def test_branches_keep_their_common_stem() -> None:
    cache = Cache()
    cache.visit("stem", "left")
    assert cache.visit("stem", "right") == 4
    assert cache.visit("stem", "left", "leaf") == 8


def test_the_ends_of_the_oldest_prompt_are_forgotten_first() -> None:
    cache = Cache(limit=4)
    cache.visit("a", "b", "c")
    cache.visit("x", "y")
    assert len(cache.cache) == 4
    assert cache.visit("a", "b", "c") == 2
    assert len(cache.cache) == 4


def test_a_prompt_that_is_larger_than_the_cache_keeps_its_start() -> None:
    cache = Cache(limit=3)
    texts = ["abc", "def", "ghi", "jkl", "mno"]
    cache.visit(*texts)
    assert cache.visit(*texts) == 9


def test_forgetting_leaves_nothing_behind() -> None:
    cache = Cache(limit=5)
    for number in range(50):
        cache.visit(f"{number:02} start", "middle", f"end {number}")
    assert len(cache.cache) == 5
    assert sum(map(len, cache.cache._children.values())) == 5
