from trimtab.translate.marks import Budget, Marked, bare, with_mark

ON, OFF = Marked(b"{1}", b"!"), Marked(b"{0}")


def kept(blocks: list[Marked]) -> str:
    return "".join("x" if b"cache_control" in block.body else "." for block in blocks)


def test_the_first_three_of_the_early_and_the_last_of_the_late_are_kept() -> None:
    dropped: dict[str, None] = {}
    budget = Budget(1, dropped)
    assert kept(budget.early([ON, OFF])) == "x."
    assert dropped == {}
    assert kept(budget.early([ON, ON])) == "x."
    assert kept(budget.early([ON])) == "."
    assert kept(budget.late([ON, OFF, ON])) == "..x"
    assert kept(budget.late([ON])) == "."
    assert list(dropped) == ["cache_control"]


def test_late_ones_may_take_all() -> None:
    assert kept(Budget(0, {}).late([ON] * 5)) == ".xxxx"


def test_a_mark_is_written_into_its_block() -> None:
    assert with_mark(b'{"a":1}', b'{"type":"ephemeral"}') == b'{"a":1,"cache_control":{"type":"ephemeral"}}'
    assert list(bare([ON, OFF])) == [b"{1}", b",", b"{0}"]
