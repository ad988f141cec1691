"""The bar."""

from io import StringIO

from trimtab.offline.progress import Progress


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_it_shows_how_far_the_work_is() -> None:
    out = Terminal()
    bar = Progress(out, 200)
    bar.say("a")
    bar.add(100, "b")
    bar.say("c", 50)
    bar.say("d", 500)
    assert out.getvalue().split("\r")[1:] == [
        f"[{'':30}]   0% a", f"[{'#' * 15:30}]  50% b", f"[{'#' * 22:30}]  75% c", f"[{'#' * 30}] 100% d",
    ]  # fmt: skip


def test_it_is_wiped_at_the_end() -> None:
    out = Terminal()
    bar = Progress(out, 1)
    bar.add(5, "done")
    bar.end()
    shown = f"[{'#' * 30}] 100% done"
    assert out.getvalue() == f"\r{shown}\r{' ' * len(shown)}\r"


def test_a_file_stays_clean() -> None:
    out = StringIO()
    bar = Progress(out, 10)
    bar.add(5, "a")
    bar.end()
    assert out.getvalue() == ""
