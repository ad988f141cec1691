"""Who is let in: hosts, heads, and room for bodies."""

import pytest

from trimtab.admission import Door, Room, bare
from trimtab.config import ServeOptions
from trimtab.errors import BadRequest, Cause, ProxyError


def test_room_is_booked_as_bytes_come_and_given_back() -> None:
    room = Room(10)
    with room.seat() as first, room.seat() as second:
        first.take(4)
        second.take(4)
        assert room.bytes == 8
        with pytest.raises(ProxyError, match="fill the 0 MB of serve") as caught:
            second.take(3)
        assert (caught.value.cause, caught.value.headers) == (Cause.BUSY, {"retry-after": "5"})
        first.take(2)
    assert (room.bytes, room.refused) == (0, 1)


def test_a_request_alone_always_fits() -> None:
    room = Room(10)
    with room.seat() as only:
        only.take(8)
        only.take(8)
        with room.seat() as late, pytest.raises(ProxyError):
            late.take(1)


@pytest.mark.parametrize("host", ["localhost", "LocalHost:5000", "127.0.0.1:80", "[::1]:5000", "127.0.0.1:", None])
def test_this_machine_answers_to_its_own_names(host: str | None) -> None:
    Door(ServeOptions()).check([], host)


FOREIGN = ["evil.example", "evil.example:5000", "127.0.0.1.evil.example", "", "::1", "a@127.0.0.1"]


@pytest.mark.parametrize("host", FOREIGN)
def test_no_other_name_leads_to_this_machine(host: str) -> None:
    with pytest.raises(BadRequest, match="add it to serve") as caught:
        Door(ServeOptions()).check([], host)
    assert caught.value.cause is Cause.HOST


def test_names_of_the_operator() -> None:
    door = Door(ServeOptions(hosts=("Proxy.Home",)))
    door.check([], "proxy.home:8443")
    door.check([], "proxy.home:8443")
    Door(ServeOptions(host="0.0.0.0")).check([], "anything.example")
    with pytest.raises(BadRequest):
        Door(ServeOptions(host="0.0.0.0", hosts=("a.example",))).check([], "b.example")


def test_names_are_remembered_within_a_bound() -> None:
    door = Door(ServeOptions())
    for port in range(300):
        door.check([], f"localhost:{port}")
    assert len(door._known) == 100


def test_a_large_head_is_refused() -> None:
    door = Door(ServeOptions(max_header_kb=1))
    door.check([(b"a", b"x" * 1019)], None)
    with pytest.raises(BadRequest, match="larger than 1 KB") as caught:
        door.check([(b"a", b"x" * 1020)], None)
    assert caught.value.cause is Cause.HEADERS
    # Each line has a colon, a blank and its end.
    door.check([(b"a", b"b")] * 170, None)
    with pytest.raises(BadRequest, match="larger than 1 KB"):
        door.check([(b"a", b"b")] * 171, None)


def test_a_host_without_its_port() -> None:
    assert [bare(host) for host in ("A:1", "a", "[::1]", "[::1]:9", "a:b")] == ["a", "a", "[::1]", "[::1]", "a:b"]


def test_the_path_counts_in_the_head() -> None:
    door = Door(ServeOptions(max_header_kb=1))
    door.check([(b"a", b"x" * 1000)], None, 19)
    with pytest.raises(BadRequest, match="larger than 1 KB"):
        door.check([(b"a", b"x" * 1000)], None, 20)
