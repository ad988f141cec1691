"""What strict mode refuses."""

import pytest

from trimtab.errors import BadRequest
from trimtab.strict import check


def test_a_change_of_meaning_is_refused_by_name() -> None:
    with pytest.raises(BadRequest, match=r"cannot be told response_format, web_search_20250305: leave") as caught:
        check(["top_k", "response_format", "web_search_20250305"])
    assert caught.value.param == "response_format"


def test_what_only_tunes_passes() -> None:
    check(["top_k", "cache_control", "temperature"])
    check([])


def test_a_part_that_nobody_knows_is_refused_and_a_member_passes() -> None:
    with pytest.raises(BadRequest, match="cannot be told hologram: leave"):
        check(["hologram", "phase"], {"hologram"})
    check(["hologram"])
    check(["ghost_snapshot"], {"ghost_snapshot"})
