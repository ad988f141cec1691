"""What one request waits for the store."""

from contextvars import copy_context

from trimtab.patience import Waited, apart, together, waited


def test_questions_one_after_the_other_add_up() -> None:
    waiting = Waited()
    for begun, done in ((1.0, 2.5), (10.0, 11.0)):
        waiting.begin(begun)
        waiting.end(done)
    assert waiting.seconds(99.0) == 2.5


def test_questions_at_once_count_once() -> None:
    waiting = Waited()
    waiting.begin(1.0)
    waiting.begin(2.0)
    assert waiting.seconds(3.0) == 2.0
    waiting.end(4.0)
    assert waiting.seconds(5.0) == 4.0
    waiting.end(6.0)
    assert waiting.seconds(99.0) == 5.0


def test_a_request_has_one_and_what_is_outside_has_its_own_each_time() -> None:
    assert waited() is not waited()
    token = together()
    held = waited()
    assert waited() is held
    apart(token)
    assert waited() is not held


def test_a_request_may_end_in_another_context() -> None:
    copy_context().run(apart, copy_context().run(together))
