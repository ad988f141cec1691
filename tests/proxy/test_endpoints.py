import pytest

from trimtab.conversation import DialectName
from trimtab.endpoints import Operation, endpoint, host

CHAT = "http://h:1234/v1/chat/completions"
MESSAGES = "http://h:1234/v1/messages"
ZAI = "https://api.z.ai/api/coding/paas/v4"


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://h:1234", CHAT),
        ("http://h:1234/", CHAT),
        (" http://h:1234/v1 ", CHAT),
        ("http://h:1234/v1//", CHAT),
        ("http://h:1234/v1/v1", CHAT),
        ("http://h:1234/v1/v1/chat/completions/", CHAT),
        ("http://h:1234/v1/chat/completions", CHAT),
        ("http://h:1234/v1/models", CHAT),
        ("http://h:1234/v1/messages", CHAT),
        ("http://h:1234/v1/responses", CHAT),
        ("http://h:1234/chat/completions", "http://h:1234/chat/completions"),
        (ZAI, f"{ZAI}/chat/completions"),
        (f"{ZAI}/v1", f"{ZAI}/chat/completions"),
        (f"{ZAI}/chat/completions", f"{ZAI}/chat/completions"),
        ("https://openrouter.ai/api", "https://openrouter.ai/api/v1/chat/completions"),
        ("https://h/v1beta/openai/", "https://h/v1beta/openai/chat/completions"),
        ("https://h/v1/account/gateway/openai", "https://h/v1/account/gateway/openai/chat/completions"),
        ("https://h/openai/deployments/x/chat/completions?a=b", "https://h/openai/deployments/x/chat/completions?a=b"),
        ("https://[::1]:8/v1#top", "https://[::1]:8/v1/chat/completions"),
    ],
)
def test_every_spelling_of_a_chat_base_is_understood(base: str, url: str) -> None:
    assert endpoint(base, "chat") == url


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://h:1234", MESSAGES),
        ("http://h:1234/v1/", MESSAGES),
        ("http://h:1234/v1/v1", MESSAGES),
        ("http://h:1234/messages", MESSAGES),
        ("http://h:1234/v1/messages", MESSAGES),
        ("http://h:1234/v1/messages/count_tokens", MESSAGES),
        ("https://api.z.ai/api/anthropic", "https://api.z.ai/api/anthropic/v1/messages"),
        ("https://api.z.ai/api/anthropic/v1/messages/", "https://api.z.ai/api/anthropic/v1/messages"),
        ("https://h/api/v1/plan/anthropic", "https://h/api/v1/plan/anthropic/v1/messages"),
    ],
)
def test_every_spelling_of_a_messages_base_is_understood(base: str, url: str) -> None:
    assert endpoint(base, "messages") == url


@pytest.mark.parametrize(
    ("dialect", "operation", "url"),
    [
        ("messages", "count", "http://h/v1/messages/count_tokens"),
        ("messages", "models", "http://h/v1/models"),
        ("chat", "models", "http://h/v1/models"),
    ],
)
def test_operations_share_the_base(dialect: DialectName, operation: Operation, url: str) -> None:
    for base in ("http://h", "http://h/v1/", endpoint("http://h", dialect)):
        assert endpoint(base, dialect, operation) == url


def test_an_endpoint_is_its_own_base() -> None:
    for dialect in ("chat", "messages"):
        once = endpoint(f"{ZAI}/", dialect)
        assert endpoint(once, dialect) == once


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        ("localhost:1234", r"no http or https address, did you mean 'http://localhost:1234'\?"),
        ("ftp://h", "no http or https address$"),
        ("127.0.0.1:8080/v1", r"did you mean 'http://127.0.0.1:8080/v1'\?"),
        ("10.1.2.3", r"did you mean 'http://10.1.2.3'\?"),
        ("box.lan:1234", r"did you mean 'http://box.lan:1234'\?"),
        ("api.z.ai/api/anthropic", r"did you mean 'https://api.z.ai/api/anthropic'\?"),
        ("//api.z.ai", r"did you mean 'https://api.z.ai'\?"),
        ("http//x", r"did you mean 'http://x'\?"),
        ("http:/x", r"did you mean 'http://x'\?"),
        ("HTTPS:/api.z.ai/v1", r"did you mean 'https://api.z.ai/v1'\?"),
        ("http:h", r"did you mean 'http://h'\?"),
        ("me:secret@h", "no http or https address$"),
        ("http://", "names no host"),
        ("http://h:port", "Port"),
        ("", "no http or https address"),
    ],
)
def test_what_is_no_address_is_refused(base: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        endpoint(base, "chat")


def test_an_operation_a_dialect_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="'chat' has no operation 'count'"):
        endpoint("http://h", "chat", "count")


def test_hosts_are_compared_in_lower_case() -> None:
    assert [host("https://API.z.ai/x"), host("nothing"), host("http://[")] == ["api.z.ai", "", ""]
