from typing import Any

import pytest
from msgspec.structs import replace

from translating import CHECKED, MESSAGES, ZAI_CHAT, assistant, parsed, text, user
from trimtab.conversation import Conversation
from trimtab.errors import BadRequest
from trimtab.models import Target
from trimtab.translate import own
from trimtab.translate.draft import Draft

OURS = {"type": "thinking", "thinking": "t", "signature": "p1.x"}


def fitted(conversation: Conversation, target: Target, dropped: dict[str, None]) -> Conversation:
    draft = Draft(conversation, target)
    made = own.fitted(draft)
    dropped |= draft.dropped
    return made


def fits(target: Target = ZAI_CHAT, **head: Any) -> tuple[dict[str, Any], list[str], tuple[str, ...]]:
    """What of a head arrives at z.ai's chat endpoint or another, what was clipped, and the stop words left to us."""
    draft = Draft(parsed("chat", {"model": "m", **head, "messages": [user("a")]}), target)
    made = own.fitted(draft)
    assert (made is draft.conversation) == (not draft.dropped and not draft.stop_words)
    return {name: made.head.get(name) for name in head}, list(draft.dropped), draft.stop_words


def test_numbers_outside_the_limits_are_clipped_and_told() -> None:
    assert fits(temperature=0.5, top_p=1) == ({"temperature": 0.5, "top_p": 1}, [], ())
    assert fits(temperature=1.5, top_p=0) == ({"temperature": 1.0, "top_p": 0.01}, ["temperature", "top_p"], ())
    assert fits(temperature=None, top_p="x") == ({"temperature": None, "top_p": "x"}, [], ())


def test_stop_words_beyond_the_first_are_left_to_the_proxy() -> None:
    assert fits(stop="END") == ({"stop": "END"}, [], ())
    assert fits(stop=["END"]) == ({"stop": ["END"]}, [], ())
    assert fits(stop=["END", "", "STOP"]) == ({"stop": ["END"]}, [], ("STOP",))
    none = Target(replace(ZAI_CHAT.upstream, stop_words=0), ZAI_CHAT.model)
    assert fits(none, stop="END") == ({"stop": None}, [], ("END",))


def test_several_answers_have_no_stop_words_that_only_the_proxy_knows() -> None:
    assert fits(stop=["END"], n=2) == ({"stop": ["END"], "n": 2}, [], ())
    with pytest.raises(BadRequest, match=r"takes 1, .*: send fewer of them, or n = 1") as error:
        fits(stop=["END", "STOP"], n=2)
    assert error.value.param == "stop"


def test_only_an_upstream_that_looks_gets_another_conversation() -> None:
    body = {"model": "m", "messages": [user("a"), assistant(OURS, text("b")), user("c")]}
    conversation = parsed("messages", body)
    assert fitted(conversation, MESSAGES, {}) is conversation
    assert fitted(parsed("chat", body), CHECKED, {}).messages[1].raw.count(b"thinking") == 2
    dropped: dict[str, None] = {}
    once = fitted(conversation, CHECKED, dropped)
    assert (len(once.messages), list(dropped)) == (3, ["thinking"])
    assert once.messages[0] is conversation.messages[0]
    assert fitted(conversation, CHECKED, {}).messages[1] is once.messages[1]


def test_what_is_signed_or_redacted_stays() -> None:
    kept = assistant({**OURS, "signature": "c2ln"}, {"type": "redacted_thinking", "data": "x"}, text("thinking"))
    conversation = parsed("messages", {"model": "m", "messages": [user("thinking"), kept]})
    assert fitted(conversation, CHECKED, {}) is conversation


def test_a_message_of_nothing_else_goes() -> None:
    conversation = parsed("messages", {"model": "m", "messages": [user("a"), assistant(OURS), user("b")]})
    assert [message.role for message in fitted(conversation, CHECKED, {}).messages] == ["user", "user"]
