import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_stages import STAGES, Plain, install
from trimtab.config import Config, load
from trimtab.config.document import PACKAGED
from trimtab.errors import ConfigError

Loader = Callable[..., Config]
Failing = Callable[..., tuple[str, ...]]

CHAIN = '[pipeline.default]\nstages = ["{}"]\n'


def test_without_files_and_environment_everything_is_a_default(read: Loader) -> None:
    config = read()
    assert (config.serve.host, config.serve.port, config.serve.max_request_mb) == ("127.0.0.1", 5000, 100)
    assert (config.core.memo_mb, config.core.memo_entries) == (64, 200_000)
    assert (config.store.path, config.store.compress, config.store.url) == ("./cache", True, None)
    assert config.pipelines == {"default": ("plain",)}
    assert config.notes == ()
    assert config.sources["serve.grace"] == "default"
    assert config.sources["upstream.zai-chat.base-url"] == "models.toml"


def test_the_file_is_searched_in_four_places(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.config.document.PACKAGED", here / "packaged.toml")
    for name, stage in (("packaged", "plain"), ("named", "log"), ("asked", "trim")):
        (here / f"{name}.toml").write_text(CHAIN.format(stage))
    assert load(environ={}).pipelines["default"] == ("plain",)
    (here / "pipelines.toml").write_text(CHAIN.format("auth"))
    assert load(environ={}).pipelines["default"] == ("auth",)
    environ = {"TRIMTAB_PIPELINES": "named.toml"}
    assert load(environ=environ).pipelines["default"] == ("log",)
    assert load(Path("asked.toml"), environ).pipelines["default"] == ("trim",)


def test_the_packaged_file_is_there() -> None:
    assert b"[pipeline.default]" in PACKAGED.read_bytes()


def test_the_environment_wins_over_env_and_env_over_the_file(read: Loader, here: Path) -> None:
    (here / ".env").write_text("HOST=10.0.0.1\nPORT=7000\nCACHE_DIR=\n")
    config = read('[serve]\nport = 6000\nmax-request-mb = 5\n[store]\npath = "x"\n', PORT="8000")
    assert (config.serve.host, config.serve.port) == ("10.0.0.1", 8000)
    assert config.sources["serve.port"] == "environment PORT"
    assert config.sources["serve.host"] == ".env HOST"
    assert config.sources["serve.max-request-mb"] == "pipelines.toml"
    assert (config.store.path, config.sources["store.path"]) == ("x", "pipelines.toml")


def test_the_environment_of_the_process_is_read_and_left_alone(
    read: Loader, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read()
    (here / ".env").write_text("DEBUG=true\n")
    monkeypatch.setenv("PORT", "7001")
    monkeypatch.delenv("DEBUG", raising=False)
    config = load()
    assert (config.serve.port, config.serve.debug) == (7001, True)
    assert "DEBUG" not in os.environ


def test_a_file_named_otherwise_gives_its_own_name(here: Path) -> None:
    (here / "mine.toml").write_text(CHAIN.format("plain") + "[serve]\nprot = 1\n")
    with pytest.raises(ConfigError, match=r"^mine\.toml: \[serve\] unknown option 'prot', did you mean 'port'\?$"):
        load(Path("mine.toml"), {})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[serve]\nport = \n", "pipelines.toml: not TOML: Invalid value (at line 4, column 8)"),
        ("[servee]\n", "pipelines.toml: unknown table [servee], did you mean 'serve'?"),
        ("[upstream]\nlocal = 1\n", "pipelines.toml: [upstream.local] must be a table; an option belongs into"),
        ('[serve]\nport = "5000"\n', "pipelines.toml: [serve] option 'port': expected int, got str"),
        ("[serve]\nport = 70000\n", "pipelines.toml: [serve] option 'port': expected int <= 65535"),
        (
            "[upstream.zai-chat]\ndrop = [1]\n",
            "pipelines.toml: [upstream.zai-chat] option 'drop': expected str, got int, at [0]",
        ),
        ("[core]\nmemo-bm = 1\n", "pipelines.toml: [core] unknown option 'memo-bm', did you mean 'memo-mb'?"),
    ],
)
def test_a_problem_has_place_reason_and_remedy(problems: Failing, text: str, problem: str) -> None:
    (found,) = problems(text)
    assert found.startswith(problem)


def test_a_value_where_a_table_belongs_is_reported(here: Path) -> None:
    (here / "pipelines.toml").write_text("serve = 3\n" + CHAIN.format("plain"))
    with pytest.raises(ConfigError, match=r"pipelines\.toml: \[serve\] must be a table"):
        load(environ={"PORT": "1"})


def test_problems_of_the_environment_name_the_variable_and_not_its_value(problems: Failing, here: Path) -> None:
    (here / ".env").write_text("FORWARD_CLIENT_KEY=sk-secret\n")
    found = problems(PORT="sk-secret", MAX_REQUEST_SIZE_MB="0")
    assert found == (
        "environment PORT: expected a whole number",
        ".env FORWARD_CLIENT_KEY: expected true or false",
        "environment MAX_REQUEST_SIZE_MB: expected int >= 1",
    )


def test_all_problems_come_at_once(problems: Failing) -> None:
    text = '[serve]\nprot = 1\n[pipeline.default]\nstages = ["lgo"]\n[model.x]\ntext = "glm-4.66"\n'
    assert len(problems(text, PORT="x")) == 4


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('[model.m]\nwindow = -4', "[model.m] option 'window': expected int >= 1"),
        ('[model.m]\nmax-output = 0', "[model.m] option 'max-output': expected int >= 1"),
        ('[model.m.prices]\ninput = -1\ncached = 0\noutput = 0',
         "[model.m.prices] option 'input': expected float >= 0.0"),
        ('[upstream.u]\ndialect = "chat"\nbase-url = "http://u"\nsilence-timeout = 0',
         "[upstream.u] option 'silence-timeout': expected float > 0.0"),
    ],
)  # fmt: skip
def test_numbers_that_mean_nothing_are_refused(problems: Failing, table: str, told: str) -> None:
    found = problems(f"[pipeline.default]\nstages = []\n{table}\n")
    assert any(told in line for line in found), found


def test_files_that_cannot_be_read_are_named(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"^none\.toml: cannot be read \(No such file"):
        load(Path("none.toml"), {})
    (here / "latin.toml").write_bytes(b"[serve]\nhost = '\xe9'\n")
    with pytest.raises(ConfigError, match=r"^latin\.toml: not UTF-8 \(at line 2\)"):
        load(Path("latin.toml"), {})


def test_a_server_key_needs_auth_in_every_pipeline(problems: Failing, read: Loader) -> None:
    chains = '[pipeline.default]\nstages = ["auth"]\n[pipeline.open]\nstages = ["plain"]\n'
    for text, environ, place in (
        ("", {"SERVER_API_KEY": "sk-secret"}, "environment SERVER_API_KEY"),
        ('[stage.auth]\nserver-key = "sk-secret"\n', {}, "[stage.auth] server-key"),
        ('[upstream.zai-chat]\nkey = "sk-secret"\n', {}, "[upstream.zai-chat] key"),
    ):
        (found,) = problems(chains + text, **environ)
        assert found.startswith(
            f"pipelines.toml: [pipeline.open] has no stage 'auth' while a server key is set ({place})"
        )
        assert "sk-secret" not in found
    assert read(chains).pipelines["open"] == ("plain",)


def test_switching_auth_off_with_a_server_key_stops_the_start(problems: Failing) -> None:
    text = '[pipeline.default]\nstages = ["auth", "plain"]\n'
    (found,) = problems(text, SERVER_API_KEY="k", ENABLE_AUTH="false")
    assert "has no stage 'auth'" in found


def test_a_store_for_several_machines(read: Loader, problems: Failing) -> None:
    config = read(STORE_URL="redis://:sk-secret@h/0")
    assert (config.store.url, config.notes) == ("redis://:sk-secret@h/0", ())
    (found,) = problems(STORE_URL="http://:sk-secret@h/0")
    assert found == "environment STORE_URL: must begin with redis://, rediss://, unix://"


def test_where_other_models_go_is_worth_knowing_and_no_warning(read: Loader) -> None:
    text = '[upstream.local]\ndialect = "chat"\nbase-url = "http://localhost:8080"\n'
    config = read(text)
    assert config.notes == ()
    assert config.hints[0].startswith("models without a row go to upstream.local or another of your own")
    assert read().hints == ()
    off = "[upstream.zai-chat]\nenabled = false\n[upstream.zai-messages]\nenabled = false\n"
    assert read(text + off).hints == ()


def test_a_configuration_shows_no_key(read: Loader) -> None:
    config = read(CHAIN.format("auth"), SERVER_API_KEY="sk-secret")
    assert repr(config) == "Config(pipelines.toml)"


def test_the_commented_examples_of_the_packaged_file_work(read: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = tomllib.loads(PACKAGED.read_text("utf-8"))["pipeline"]["default"]["stages"]
    install(monkeypatch, **{name.replace("-", "_"): Plain for name in packaged} | STAGES)
    text = re.sub(r"^# (?=\[|[\w-]+ = )", "", PACKAGED.read_text("utf-8"), flags=re.MULTILINE)
    config = read(text)
    assert config.pipelines["plain"] == ("auth", "log-quiet")
    assert config.models.resolve("qwen3", images=False, dialect="messages").upstream.name == "local"


def test_the_digest_follows_the_file(read: Loader) -> None:
    assert read().digest == read().digest != read("[serve]\n").digest
