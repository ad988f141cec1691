from collections.abc import Callable

import pytest

from trimtab.config import Config

Loader = Callable[..., Config]
Failing = Callable[..., tuple[str, ...]]


def test_a_row_keeps_what_the_file_does_not_say(read: Loader) -> None:
    config = read(
        '[model."glm-4.6"]\nwindow = 100_000\n[upstream.zai-chat]\nkey = "k"\n[pipeline.default]\nstages=["auth"]'
    )
    row = config.models.models["glm-4.6"]
    assert (row.window, row.max_output, row.vision) == (100_000, 131_072, "glm-4.6v")
    assert config.models.upstreams["zai-chat"].thinking
    assert config.sources["model.glm-4.6.window"] == "pipelines.toml"
    assert config.sources["model.glm-4.6.max-output"] == "models.toml"
    assert config.sources["model.glm-4.6.drop"] == "default"


def test_upstreams_of_the_file_come_first(read: Loader) -> None:
    config = read('[upstream.local]\ndialect = "chat"\nbase-url = "http://localhost:8080"\nauth = "none"\n')
    assert list(config.models.upstreams) == ["local", "zai-messages", "zai-chat"]
    assert config.models.default_upstream("chat").name == "local"
    # A request in the other dialect is translated, not sent to somebody the file does not name.
    assert config.models.default_upstream("messages").name == "local"
    assert read().models.default_upstream("messages").name == "zai-messages"


def test_the_environment_moves_upstreams_and_the_auto_model(read: Loader) -> None:
    config = read(
        UPSTREAM_BASE="http://a.test/",
        OPENAI_UPSTREAM_BASE="https://api.z.ai/api/paas/v4",
        AUTOTEXT_MODEL="glm-4.5-air",
        AUTOVISION_MODEL="glm-4.5v",
        REAL_TEXT_MODEL_TOKENS="1000",
        REAL_VISION_MODEL_TOKENS="65536",
    )
    models = config.models
    assert models.upstreams["zai-messages"].base_url == "http://a.test/"
    assert (models.models["auto"].text, models.models["auto"].vision) == ("glm-4.5-air", "glm-4.5v")
    assert (models.model("glm-4.5-air").window, models.model("glm-4.5v").window) == (1000, 65_536)
    assert models.model("glm-4.6").window == 204_800
    assert config.notes == (
        "REAL_TEXT_MODEL_TOKENS sets the window of glm-4.5-air to 1000; the model table says 131072",
    )


def test_a_limit_of_the_shipped_host_does_not_follow_to_another(read: Loader) -> None:
    limits = [
        read(text, **environ).models.upstreams["zai-chat"].max_parallel
        for text, environ in (
            ("", {}),
            ("", {"OPENAI_UPSTREAM_BASE": "https://api.z.ai/api/paas/v4"}),
            ("", {"OPENAI_UPSTREAM_BASE": "http://localhost:8080"}),
            ("[upstream.zai-chat]\nmax-parallel = 7\n", {"OPENAI_UPSTREAM_BASE": "http://localhost:8080"}),
        )
    ]
    assert limits == [3, 3, None, 7]


@pytest.mark.parametrize(
    ("base", "kept"),
    [
        ("https://open.bigmodel.cn/api/coding/paas/v4", True),
        ("https://api.z.ai/api/paas/v4", True),
        ("http://localhost:8080", False),
        ("https://notz.ai/v1", False),
    ],
)
def test_the_white_list_of_zai_stays_with_zai(read: Loader, base: str, kept: bool) -> None:
    accepts = read("", OPENAI_UPSTREAM_BASE=base).models.upstreams["zai-chat"].accepts
    assert bool(accepts) is kept
    own = '[upstream.zai-chat]\naccepts = ["model"]\n'
    assert read(own, OPENAI_UPSTREAM_BASE=base).models.upstreams["zai-chat"].accepts == ("model",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[upstream.x]\ndialect = 'chat'\n", "[upstream.x] lacks the option 'base-url'"),
        (
            "[upstream.x]\ndialect = 'caht'\nbase-url = 'http://x'\n",
            "option 'dialect': unknown value 'caht', did you mean",
        ),
        ("[upstream.x]\ndialect = 'responses'\nbase-url = 'http://x'\n", "no upstream is spoken to in 'responses'"),
        (
            "[upstream.x]\ndialect = 'openai'\nbase-url = 'http://x'\n",
            "option 'dialect': unknown value 'openai', did you mean 'chat'?",
        ),
        ("[upstream.x]\ndialect = 'Anthropic'\nbase-url = 'http://x'\n", "did you mean 'messages'?"),
        ("[upstream.x]\ndialect = 'grpc'\nbase-url = 'http://x'\n", "unknown value 'grpc' (known: chat, messages)"),
        ("[upstream.x]\ndialect = 'chat'\nbase-url = 'ftp://x'\n", "option 'base-url': is no http or https address"),
        ("[upstream.x]\ndialect = 'chat'\nbase-url = 'h:1'\n", "did you mean 'http://h:1'?"),
        ("[model.x]\nfallbacks = [{ upstream = 'zai-caht' }]\n", "there is no table [upstream.zai-caht], did you mean"),
        ("[model.x]\nfallbacks = ['zai-chat']\n", "fallbacks"),
        ("[upstream.zai-chat]\nmax-parallel = -1\n", "max-parallel"),
        ("[retry]\nfallback-on = ['sever']\n", "option 'fallback-on': invalid enum value 'sever'"),
        ("[upstream.zai-chat]\nimage-upstream = 'zai-caht'\n", "there is no table [upstream.zai-caht], did you mean"),
        (
            "[model.x]\ntext = 'glm-4.66'\n",
            "option 'text': there is no table [model.\"glm-4.66\"], did you mean 'glm-4.6'?",
        ),
        (
            "[model.x]\nupstreams = { chat = 'zai-caht' }\n",
            "there is no table [upstream.zai-caht], did you mean 'zai-chat'?",
        ),
        ("[model.x]\nupstreams = { chat = 'zai-messages' }\n", "upstream 'zai-messages' speaks 'messages', not 'chat'"),
        ("[model.x]\nupstreams = { cat = 'zai-chat' }\n", "option 'upstreams': invalid enum value 'cat', in a name"),
        ("[model.x]\nprices = { input = 1 }\n", "[model.x.prices] lacks the option 'cached'"),
        (
            "[model.glm-4.6]\nwindow = 1\n",
            "[model.glm-4] unknown option '6': a name with a dot stands in quotes, write [model.\"glm-4.6\"]",
        ),
        ("[model.m-1.2.3]\nwindow = 1\n", 'write [model."m-1.2.3"]'),
        ("[model.x]\nname = 'y'\n", "[model.x] unknown option 'name'"),
    ],
)
def test_rows_that_cannot_work_are_refused(problems: Failing, text: str, problem: str) -> None:
    assert problem in problems(text)[0]


def test_a_base_url_from_the_environment_is_refused_by_its_name(problems: Failing) -> None:
    (found,) = problems(UPSTREAM_BASE="localhost:9")
    assert found == "environment UPSTREAM_BASE: is no http or https address, did you mean 'http://localhost:9'?"
