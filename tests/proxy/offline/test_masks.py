"""Keys never show."""

from pathlib import Path

import pytest

from offline_stages import configured
from trimtab.offline.masks import Mask, secrets_of

KEY = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("use sk-proj-abcdef1234567890 now", "use *** now"),
        ("OPENAI_API_KEY=abcdefgh12345", "OPENAI_API_KEY=***"),
        ('{"api_key": "abcdefgh12345", "a": 1}', '{"api_key": "***", "a": 1}'),
        ("password: hunter2hunter2", "password: ***"),
        ("Authorization: Bearer abcdef.ghijkl", "Authorization: Bearer ***"),
        ('-H "x-api-key: abcdefgh"', '-H "x-api-key: ***"'),
        ("ghp_0123456789abcdefghij and AKIAABCDEFGHIJKLMNOP", "*** and ***"),
        (f"{KEY}.abcdefghijklmnop", "***"),
        ("eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.sig-na", "***"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nrest", "***\nrest"),
        ("-----BEGIN PRIVATE KEY-----\nabc, and the text ends", "***"),
        ("https://me:secret@host/path", "https://***@host/path"),
    ],
)
def test_what_looks_like_a_key_is_hidden(text: str, shown: str) -> None:
    assert Mask()(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "the token count is 5",
        "def key(self): return 1",
        f"commit {KEY}",
        "tokens = 12",
        "sort(key=len)",
        "a skill-set, a task-list",
        "https://host:8080/path",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert Mask()(text) == text


def test_the_keys_of_the_configuration_are_hidden_wherever_they_stand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    head = '[upstream.own]\ndialect = "chat"\nbase-url = "http://a.test"\n'
    rows = head + 'headers = { x-a = "zzzzzzzz", x-b = "plain words" }\n'
    config = configured(monkeypatch, tmp_path, "cut", more=rows)
    mask = Mask(secrets_of(config, {"authorization": "Bearer abcdefg", "user-agent": "cli/1.0.0"}))
    assert mask("say plain words, zzzzzzzz, abcdefg, cli/1.0.0") == "say ***, ***, ***, cli/1.0.0"
