import pytest

from trimtab.config import RetryOptions, ServeOptions, leaves
from trimtab.models import Model, Prices
from trimtab.policy import Client


@pytest.mark.parametrize(
    ("host", "only_here"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("127.9.9.9", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.4", False),
        ("example.test", False),
        ("", False),
    ],
)
def test_loopback_is_told_from_the_host(host: str, only_here: bool) -> None:
    assert ServeOptions(host=host).loopback is only_here


def test_leaves_walk_tables_in_tables() -> None:
    found = dict(leaves(Model(prices=Prices(input=1, cached=2, output=3)), ("m",)))
    assert found["m", "prices", "cached"] == 2
    assert found["m", "max-output"] is None


def test_the_numbers_of_retries_reach_the_policy() -> None:
    policy = RetryOptions(attempts=5, first_wait=2.0, max_wait=9.0).policy()
    assert (policy.attempts, policy.first_wait, policy.max_wait) == (5, 2.0, 9.0)


def test_tool_calls_are_held_for_those_that_end_on_a_broken_stream_or_as_it_is_set() -> None:
    stays, ends = Client("pi", retries=True), Client("claude-code", retries=True, gives_up=True)
    assert [RetryOptions().holds(client) for client in (Client(), stays, ends)] == [False, False, True]
    assert [RetryOptions(hold_tool_calls=True).holds(client) for client in (Client(), ends)] == [True, True]
    assert not RetryOptions(hold_tool_calls=False).holds(ends)
