import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from trimtab.config.chains import _has
from trimtab.config.table import ROWS, SECTIONS
from trimtab.hookspecs import StageOptions
from trimtab.models import Model, Upstream
from trimtab.settings import Setting, example, names, settings

ROOT = Path(__file__).parents[2]

# The names that existing installations have in their .env files: each must be understood.
PROMISED = re.findall(
    r"\w+",
    """
HOST PORT UPSTREAM_BASE OPENAI_UPSTREAM_BASE SERVER_API_KEY FORWARD_CLIENT_KEY PROXY_API_KEYS
FORWARD_COUNT_TO_UPSTREAM AUTOTEXT_MODEL AUTOVISION_MODEL TEXT_ENDPOINT_PREFERENCE ENABLE_ZAI_THINKING
ANTHROPIC_EXPECTED_TOKENS OPENAI_EXPECTED_TOKENS REAL_TEXT_MODEL_TOKENS REAL_VISION_MODEL_TOKENS
SCALE_COUNT_TOKENS_FOR_VISION MIN_CACHEABLE_TOKENS ENABLE_ACCURATE_TOKEN_COUNTING TOKEN_COUNTING_MODEL
TIKTOKEN_CACHE_SIZE ENABLE_TOKEN_COUNTING_LOGGING ENABLE_DYNAMIC_IMAGE_TOKENS BASE_IMAGE_TOKENS IMAGE_TOKENS_PER_CHAR
ENABLE_TOKEN_VALIDATION TOKEN_ACCURACY_WARNING_THRESHOLD TOKEN_ACCURACY_ERROR_THRESHOLD
TOKEN_VALIDATION_PERCENTAGE_THRESHOLD TOKEN_VALIDATION_MIN_DIFFERENCE ENABLE_ENV_DEDUPLICATION
ENABLE_ENVIRONMENT_DEDUPLICATION ENV_DEDUPLICATION_STRATEGY ENVIRONMENT_DEDUPLICATION_STRATEGY
ENVIRONMENT_DEDUPLICATION_SIMILARITY_THRESHOLD ENV_DETAILS_MAX_AGE_MINUTES ENV_DETAILS_PATTERNS
ENV_DEDUPLICATION_LOGGING ENV_DEDUPLICATION_STATS IMAGE_AGE_THRESHOLD CACHE_CONTEXT_MESSAGES
IMAGE_DESCRIPTION_CACHE_SIZE IMAGE_AGE_TRUNCATION_MESSAGE ENABLE_AI_CONDENSATION ENABLE_MESSAGE_CONDENSATION
CONDENSATION_DEFAULT_STRATEGY CONDENSATION_CAUTION_THRESHOLD CONDENSATION_WARNING_THRESHOLD
CONDENSATION_CRITICAL_THRESHOLD CONDENSATION_EMERGENCY_THRESHOLD CONDENSATION_MODEL CONDENSATION_MIN_MESSAGES
CONDENSATION_MAX_MESSAGES CONDENSATION_TIMEOUT CONDENSATION_CACHE_TTL CACHE_DIR CACHE_COMPRESSION CACHE_ASYNC_WRITE
CACHE_ENABLE_LOGGING CACHE_DEFAULT_TTL_SECONDS CACHE_1H_TTL_SECONDS STORE_URL ENABLE_CONTEXT_PERFORMANCE_LOGGING
CONTEXT_LOGGING_WARNING_THRESHOLD_MS CONTEXT_LOGGING_ERROR_THRESHOLD_MS CONTEXT_CACHE_SIZE CONTEXT_ANALYSIS_CACHE_TTL
UPSTREAM_LOG_ROTATION UPSTREAM_LOG_MAX_SIZE_MB UPSTREAM_LOG_BACKUP_COUNT UPSTREAM_LOG_COMPRESSION
UPSTREAM_LOG_COMPRESS_IMMEDIATELY UPSTREAM_LOG_RETENTION_DAYS LOG_CLEANUP_INTERVAL_HOURS LOG_ROTATION_LOGGING
LOG_LEVEL LOGGING_PERFORMANCE_LEVEL DEBUG ENABLE_CORS RATE_LIMIT_PER_MINUTE MAX_REQUEST_SIZE_MB
ENABLE_REQUEST_ID_TRACKING
""",
)

BUILT_IN = {
    "auth": "trimtab_stages.auth:Auth",
    "env-dedup": "trimtab_stages.env_dedup:EnvDeduplication",
    "image-aging": "trimtab_stages.image_aging:ImageAging",
    "token-count": "trimtab_stages.token_count:TokenCounter",
    "risk-assess": "trimtab_stages.risk_assess:RiskAssessor",
    "condense": "trimtab_stages.condense:Condense",
    "route": "trimtab_stages.route:Route",
    "scale": "trimtab_stages.scale:Scaler",
    "log": "trimtab_stages.log:Log",
}


def test_every_promised_name_is_known_once() -> None:
    assert sorted(names()) == sorted(PROMISED)


def test_the_committed_example_is_what_we_print() -> None:
    assert (ROOT / ".env.example").read_text("utf-8") == example(), "run: trimtab settings > .env.example"


def test_the_example_changes_nothing_as_it_is() -> None:
    assert [line for line in example().splitlines() if line and not line.startswith("#")] == []


@pytest.mark.parametrize("setting", settings(), ids=lambda setting: setting.names[0])
def test_a_setting_does_something_or_says_why_not(setting: Setting) -> None:
    assert setting.option or setting.switch or setting.stage or setting.instead
    assert setting.remark
    assert not setting.remark.endswith(".")
    if setting.default is not None:
        setting.parse(setting.default)


@pytest.mark.parametrize("setting", [row for row in settings() if row.option], ids=lambda setting: setting.names[0])
def test_an_option_exists_unless_it_is_marked(setting: Setting) -> None:
    head, *path = str(setting.option).split(".")
    if head in SECTIONS or head in ROWS:
        kind: Any = SECTIONS[head] if head in SECTIONS else {"upstream": Upstream, "model": Model}[head]
        assert _has(kind, path if head in SECTIONS else path[1:])
    elif head in BUILT_IN:
        assert _has(_options(head), path) is not setting.later
        assert setting.stage is None
    else:
        assert setting.stage == head


@pytest.mark.parametrize("setting", [row for row in settings() if row.option], ids=lambda setting: setting.names[0])
def test_a_default_is_the_option_s(setting: Setting) -> None:
    head, *path = str(setting.option).split(".")
    if setting.default is None or setting.later or not (head in SECTIONS or head in BUILT_IN):
        return
    value: Any = SECTIONS[head]() if head in SECTIONS else _options(head)()
    for part in path:
        value = getattr(value, part.replace("-", "_"))
    assert setting.parse(setting.default) == value


def _options(stage: str) -> type[StageOptions]:
    module, _, name = BUILT_IN[stage].partition(":")
    found: type[StageOptions] = getattr(importlib.import_module(module), name).Options
    return found


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("bool", "TRUE", True),
        ("bool", "off", False),
        ("bool", " 1 ", True),
        ("int", "12", 12),
        ("float", "0.5", 0.5),
        ("float", "3", 3.0),
        ("str", " x ", "x"),
        ("path", "./cache", "./cache"),
        ("list", "a, b,,", ["a", "b"]),
    ],
)
def test_texts_become_values(kind: Any, text: str, value: Any) -> None:
    assert Setting(names=("X",), group="", kind=kind, remark="").parse(text) == value


@pytest.mark.parametrize(("kind", "text"), [("bool", "maybe"), ("int", "1.5"), ("int", "x"), ("float", "x")])
def test_a_wrong_text_is_not_repeated(kind: Any, text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected (true or false|a whole number|a number)$"):
        Setting(names=("X",), group="", kind=kind, remark="").parse(text)


def test_names_are_spelt_like_variables() -> None:
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", name) for name in names())
