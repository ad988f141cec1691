"""What a test receives of the proxy, held against the published schemas whoever asked for it."""

import json

import published
import responding

_DIALECTS = {
    "/v1/messages": "messages",
    "/anthropic/v1/messages": "messages",
    "/v1/chat/completions": "chat",
    "/chat/completions": "chat",
    "/v1/responses": "responses",
}


def hold(path: str, status: int, body: bytes) -> None:
    """Assert that an answer to a POST has its dialect's form, event by event where it is a stream.

    Errors are the proxy's own and whole. A reply may be the bytes of a scripted upstream, which are as short as a test
    needs: what is there must fit. A stream whose last frame is cut off is held up to there: whether it may end so is
    for the test to say.
    """
    dialect = _DIALECTS.get(path.partition("?")[0])
    if dialect is None or not body.strip():
        return
    if dialect != "responses" or status != 200:
        published.check("chat" if dialect == "responses" else dialect, status, _to_the_last_frame(body), short=True)
    elif body[:1] == b"{":
        responding.whole(json.loads(body))
    else:
        for event in responding.told(_to_the_last_frame(body)):
            responding.fits(event)


def _to_the_last_frame(body: bytes) -> bytes:
    return body if body[:1] == b"{" else body[: body.rfind(b"\n\n") + 2]
