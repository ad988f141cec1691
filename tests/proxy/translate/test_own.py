from translating import CHECKED, MESSAGES, assistant, parsed, text, user
from trimtab.translate.own import fitted

OURS = {"type": "thinking", "thinking": "t", "signature": "p1.x"}


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
