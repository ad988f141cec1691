"""What is remembered of texts is bounded in bytes."""

from trimtab.kept import ENTRY, kept, weight


def test_it_is_worked_out_once_while_it_fits() -> None:
    asked: list[tuple[str, ...]] = []

    @kept(3 * (3 * ENTRY + 10))
    def length(text: str, more: tuple[bytes, ...]) -> int:
        asked.append((text,))
        return len(text) + len(more)

    for name in "abcabc":
        assert length(name * 9, (b"x",)) == 10
    assert len(asked) == 3
    # The fourth pushes out the one that was used least recently.
    length("a" * 9, (b"x",))
    length("d" * 9, (b"x",))
    length("a" * 9, (b"x",))
    assert len(asked) == 4
    length("b" * 9, (b"x",))
    assert len(asked) == 5


def test_what_is_too_large_is_worked_out_every_time() -> None:
    asked = []

    @kept(2000)
    def length(text: str) -> int:
        asked.append(text)
        return len(text)

    assert [length("x" * 2000), length("x" * 2000), length("x"), length("x")] == [2000, 2000, 1, 1]
    assert len(asked) == 3


def test_the_weight_of_arguments_is_that_of_their_text() -> None:
    assert weight(("abc", b"de", ("f", 5))) == 2 * ENTRY + 6
