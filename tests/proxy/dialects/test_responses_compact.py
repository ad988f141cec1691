"""The answer of `/v1/responses/compact`."""

import json

import pytest

from responding import request, schema
from trimtab.dialects.responses_compact import COMPACTION
from trimtab.errors import UpstreamError
from trimtab.events import Failed, Finished, Opaque, Started, StopReason, Usage

ITEM = {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"}


@pytest.mark.parametrize(("usage", "total"), [(Usage(input=3, output=2), 5), (None, 0)])
def test_it_is_a_compaction_with_one_item(usage: Usage | None, total: int) -> None:
    conversation = request()
    events = [
        Started(),
        Opaque(json.dumps(ITEM).encode(), "compaction", "responses"),
        Finished(StopReason.END, usage, None, "compaction"),
    ]
    body = json.loads(COMPACTION.bound(conversation).fold(events, "m"))
    schema("CompactResource", body)
    assert (body["object"], body["output"], body["usage"]["total_tokens"]) == ("response.compaction", [ITEM], total)
    assert COMPACTION.compacts(conversation)


def test_a_failure_stays_one() -> None:
    with pytest.raises(UpstreamError):
        COMPACTION.bound(request()).fold([Started(), Failed("x")], "m")
