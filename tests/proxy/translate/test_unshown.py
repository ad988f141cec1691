import pytest

from trimtab.conversation import DialectName
from trimtab.translate import unshown


@pytest.mark.parametrize(
    ("upstream", "raw", "names"),
    [
        ("chat", b'{"choices":[{"message":{"content":"a","annotations":[]}}]}', ()),
        ("chat", b'{"choices":[{"message":{"annotations":[{"type":"url_citation"}]}}]}', ("reply.annotations",)),
        ("chat", b'data: {"choices":[{"delta":{"annotations":[{}]}},7]}\n\n', ("reply.annotations",)),
        ("chat", b'{"choices":[{"message":{"audio":{"id":"x"}}}]}', ("reply.audio",)),
        ("chat", b'{"choices":[{"message":{"content":"\\"annotations\\":[{}]"}}]}', ()),
        ("chat", b'{"choices":"annotations","annotations":1}', ()),
        ("messages", b'{"content":[{"type":"text","text":"a","citations":null}]}', ()),
        ("messages", b'{"content":[{"type":"text","citations":[{}]}]}', ("reply.citations",)),
        (
            "messages",
            b'{"content":[{"type":"server_tool_use"},{"type":"web_search_tool_result"},{"type":"server_tool_use"}]}',
            ("reply.server_tool_use", "reply.web_search_tool_result"),
        ),
        (
            "messages",
            b'event: content_block_start\ndata: {"content_block":{"type":"mcp_tool_use"}}\n\n',
            ("reply.mcp_tool_use",),
        ),
        (
            "messages",
            b'event: content_block_delta\ndata: {"delta":{"type":"citations_delta","citation":{}}}\n\n',
            ("reply.citations",),
        ),
        ("messages", b'data: {"delta":{"type":"text_delta","text":"citations"}}\n\n', ()),
        ("messages", b'data: {"content_block":\n\n', ()),
        ("messages", b'data: ["content"]\n\n', ()),
        ("messages", b'{"content":"content"}', ()),
    ],
)
def test_what_other_dialects_cannot_show_has_a_name(upstream: DialectName, raw: bytes, names: tuple[str, ...]) -> None:
    assert unshown(upstream, raw) == names
