from collections.abc import Callable
from pathlib import Path

import pytest

from fake_stages import STAGES, install
from trimtab.check import WIDTH, report, shown
from trimtab.config import Config, load

Loader = Callable[..., Config]

TEXT = """
[pipeline.default]
stages = ["auth", "trim", "log-quiet"]
[pipeline.second]
stages = ["auth", "fold"]
[stage.trim]
keep = 7
[stage.log-quiet]
use = "log"
level = "WARNING"
[upstream.zai-chat]
key = "sk-secret"
headers = { Authorization = "sk-secret", X-Team = "sk-secret" }
[upstream.local]
dialect = "chat"
base-url = "http://localhost:8080?api_key=sk-secret"
[model.qwen3]
upstreams = { chat = "local" }
"""


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loader:
    monkeypatch.chdir(tmp_path)
    install(monkeypatch, **STAGES)

    def reading(text: str = TEXT, **environ: str) -> Config:
        (tmp_path / "pipelines.toml").write_text(text)
        return load(environ=environ)

    return reading


def row(page: str, option: str) -> list[str]:
    (line,) = [line for line in page.splitlines() if line.split()[:1] == [option]]
    return line.split()


def test_every_option_stands_with_value_and_source(read: Loader) -> None:
    page = report(read(PORT="7000"))
    assert row(page, "keep") == ["keep", "7", "pipelines.toml"]
    assert row(page, "hard") == ["hard", "false", "default"]
    assert row(page, "upstream.max-mb") == ["upstream.max-mb", "50", "default"]
    assert row(page, "port") == ["port", "7000", "environment", "PORT"]
    assert row(page, "host") == ["host", "127.0.0.1", "default"]


def test_chains_stand_in_order_under_their_address(read: Loader) -> None:
    lines = report(read()).splitlines()
    assert [line for line in lines if line.startswith(("pipeline ", "  1.", "  2.", "  3."))] == [
        "pipeline default at /v1",
        "  1. auth",
        "  2. trim",
        "  3. log-quiet (log)",
        "pipeline second at /p/second/v1",
        "  1. auth, options as in pipeline default",
        "  2. fold",
    ]


def test_no_key_is_ever_shown(read: Loader) -> None:
    page = report(read(SERVER_API_KEY="sk-secret", PROXY_API_KEYS="sk-secret,sk-secret-2"))
    assert "sk-secret" not in page
    assert row(page, "server-key") == ["server-key", "set", "environment", "SERVER_API_KEY"]
    assert row(page, "client-keys") == ["client-keys", "set", "(2)", "environment", "PROXY_API_KEYS"]
    assert row(page, "headers")[:3] == ["headers", "set", "(2)"]
    assert "http://localhost:8080/v1/chat/completions?***" in page


def test_what_a_choice_costs_is_remarked(read: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "remarks" not in report(read())
    monkeypatch.setattr(
        type(read().stages["trim"].options), "remarks", lambda options: (f"keep {options.keep} is dear",)
    )
    assert "stage 'trim': keep 7 is dear\n" in report(read()).partition("remarks\n")[2]


def test_it_fits_a_hundred_columns(read: Loader) -> None:
    config = read(
        UPSTREAM_LOG_ROTATION="true",
        TOKEN_VALIDATION_PERCENTAGE_THRESHOLD="5",
        REAL_VISION_MODEL_TOKENS="65536",
        CONTEXT_CACHE_SIZE="1",
        UPSTREAM_BASE="https://a-rather-long-name.of-some-company.example.test/with/a/path/behind/it",
        CACHE_DIR="x" * 90,
    )
    assert max(map(len, report(config).splitlines())) <= WIDTH


def test_upstreams_and_models_stand_in_short(read: Loader) -> None:
    page = report(read(REAL_TEXT_MODEL_TOKENS="1000"))
    assert "  zai-messages: messages, key by x-api-key, images go to zai-chat" in page
    assert "https://api.z.ai/api/anthropic/v1/messages" in page
    told = "glm-4.6 1,000 zai-messages, zai-chat as glm-4.6v environment REAL_TEXT_MODEL_TOKENS"
    assert " ".join(row(page, "glm-4.6")) == told
    assert row(page, "qwen3") == ["qwen3", "-", "local", "no", "pipelines.toml"]


def test_notes_and_changes_come_last(read: Loader) -> None:
    old = read()
    new = read(TEXT.replace("keep = 7", "keep = 8"), IMAGE_AGE_THRESHOLD="3")
    page = report(new, old)
    assert "  - IMAGE_AGE_THRESHOLD has no effect: this version has no stage 'image-aging'" in page
    assert page.endswith("  - pipeline 'default': stage 'trim' edits differently: keep changed\n")
    assert report(new, new).endswith("  - nothing: every conversation goes on with the same bytes\n")
    assert "notes" not in report(read(TEXT.partition("[upstream")[0]))


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("level", "INFO", "INFO"),
        ("key", "x", "set"),
        ("key", None, "none"),
        ("client-keys", (), "none"),
        ("forward-client-key", True, "true"),
        ("url", "redis://:pw@h/0", "redis://***@h/0"),
        ("hosts", ("a", "b"), "a, b"),
        ("upstreams", {"chat": "x"}, "chat: x"),
    ],
)
def test_values_are_shown_in_plain_words(option: str, value: object, text: str) -> None:
    assert shown(option, value) == text
