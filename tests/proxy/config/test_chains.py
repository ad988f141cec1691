from collections.abc import Callable

import pytest

from fake_stages import AuthOptions, BodyOptions, LogOptions, Trim
from trimtab.config import Config

Loader = Callable[..., Config]
Failing = Callable[..., tuple[str, ...]]


def chain(*stages: str, name: str = "default") -> str:
    return f"[pipeline.{name}]\nstages = {list(stages)}\n"


def test_options_of_a_stage_come_from_its_table(read: Loader) -> None:
    config = read(chain("log") + "[stage.log]\nslow-ms = 5\n[stage.log.upstream]\nrotate = false\n")
    assert config.stages["log"].options == LogOptions(slow_ms=5, upstream=BodyOptions(rotate=False))
    assert config.sources["stage.log.upstream.rotate"] == "pipelines.toml"
    assert config.sources["stage.log.upstream.max-mb"] == "default"


def test_a_label_is_a_second_set_of_options(read: Loader) -> None:
    config = read(chain("trim", "trim-hard") + '[stage.trim-hard]\nuse = "trim"\nhard = true\n')
    assert config.pipelines["default"] == ("trim", "trim-hard")
    first, second = config.stages["trim"], config.stages["trim-hard"]
    assert (second.label, second.use, second.cls) == ("trim-hard", "trim", Trim)
    assert (first.options, second.options) == (Trim.Options(), Trim.Options(hard=True))


def test_only_listed_stages_are_imported(read: Loader, loaded: list[str]) -> None:
    read(chain("plain") + chain("log", name="second") + "[stage.trim]\nkeep = 1\n")
    assert loaded == ["plain", "log"]


def test_a_table_of_a_stage_in_no_pipeline_is_a_note(read: Loader) -> None:
    config = read(chain("plain") + "[stage.trim]\nnonsense = 1\n")
    assert config.notes == ("pipelines.toml: [stage.trim] is in no pipeline and has no effect",)
    assert "trim" not in config.stages


def test_a_table_of_no_stage_is_refused_with_the_nearest_name(problems: Failing, read: Loader) -> None:
    (found,) = problems(chain("plain", "token-count") + "[stage.tokencount]\nexact = false\n")
    assert found == (
        "pipelines.toml: [stage.tokencount] is the name of no installed stage, did you mean 'token-count'? "
        '(or say with use = "NAME" which stage it is for)'
    )
    assert read(chain("plain") + '[stage.spare]\nuse = "log"\n').notes[0].startswith("pipelines.toml: [stage.spare]")
    # One that the environment switched off keeps its table.
    assert len(read(chain("plain", "log") + "[stage.log]\nslow-ms = 5\n", ENABLE_LOG="false").notes) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (chain("lgo"), "pipelines.toml: [pipeline.default]: no stage 'lgo' is installed, did you mean 'log'?"),
        (chain("x") + '[stage.x]\nuse = "tirm"\n', "pipelines.toml: [stage.x]: no stage 'tirm' is installed"),
        (chain("log", "log"), "pipelines.toml: [pipeline.default] lists stage 'log' twice: delete one, or give"),
        (chain(), "pipelines.toml: [pipeline.default] has no stages"),
        (chain("log") + chain("log", name="Bad"), "pipelines.toml: [pipeline.Bad] is no name for an address"),
        (chain("log", name="other"), "pipelines.toml: [pipeline.default] is missing"),
        ("[pipeline]\n", "pipelines.toml: [pipeline.default] is missing"),
        ("[pipeline.default]\nstage = []\n", "pipelines.toml: [pipeline.default] unknown option 'stage', did you mean"),
        ('[pipeline.default]\nstages = "log"\n', "pipelines.toml: [pipeline.default] option 'stages': expected array"),
        (
            chain("log") + "[stage.log]\nlvel = 1\n",
            "pipelines.toml: [stage.log] unknown option 'lvel', did you mean 'level'?",
        ),
        (
            chain("log") + "[stage.log]\nenabled = false\n",
            "pipelines.toml: [stage.log] unknown option 'enabled': delete the word 'log' from `stages`, or set "
            "ENABLE_LOG=false",
        ),
        (
            chain("log") + "[stage.log.upstream]\nrotat = 1\n",
            "pipelines.toml: [stage.log.upstream] unknown option 'rotat', did you mean 'rotate'?",
        ),
        (chain("log") + "[stage.log]\nupstream = 1\n", "pipelines.toml: [stage.log] option 'upstream': expected table"),
    ],
)
def test_what_cannot_work_is_refused(problems: Failing, text: str, problem: str) -> None:
    assert problems(text)[0].startswith(problem)


def test_options_that_do_not_go_together_name_the_table(problems: Failing) -> None:
    (found,) = problems(chain("auth"), FORWARD_CLIENT_KEY="false")
    told = "[stage.auth] forward-client-key is false without a server-key: set one"
    assert found == f"environment FORWARD_CLIENT_KEY: {told}"
    (found,) = problems(chain("auth") + "[stage.auth]\nforward-client-key = false\n")
    assert found == f"pipelines.toml: {told}"
    # Only what is named is to blame.
    more = chain("auth") + "[stage.auth]\nforward-client-key = false\n"
    (found,) = problems(more, RATE_LIMIT_PER_MINUTE="5")
    assert found == f"pipelines.toml: {told}"


def test_the_environment_reaches_every_table_of_a_stage(read: Loader) -> None:
    text = chain("auth", "log", "log-2") + '[stage.log-2]\nuse = "log"\n'
    environ = {"LOG_LEVEL": "DEBUG", "UPSTREAM_LOG_ROTATION": "no", "PROXY_API_KEYS": "a, b,", "SERVER_API_KEY": "k"}
    config = read(text, **environ)
    assert config.stages["log"].options == LogOptions(level="DEBUG", upstream=BodyOptions(rotate=False))
    assert config.stages["log-2"].options == config.stages["log"].options
    assert config.stages["auth"].options == AuthOptions(server_key="k", client_keys=("a", "b"))
    assert config.sources["stage.log-2.upstream.rotate"] == "environment UPSTREAM_LOG_ROTATION"


def test_a_value_of_the_environment_that_the_stage_refuses_names_the_variable(problems: Failing) -> None:
    text = chain("log") + "[stage.log]\nslow-ms = 5\n"
    assert problems(text, CONTEXT_LOGGING_WARNING_THRESHOLD_MS="soon") == (
        "environment CONTEXT_LOGGING_WARNING_THRESHOLD_MS: expected a whole number",
    )


def test_a_table_that_is_none_survives_the_environment(problems: Failing) -> None:
    found = problems(chain("log") + "[stage.log]\nupstream = 1\n", UPSTREAM_LOG_ROTATION="true")
    assert found == ("pipelines.toml: [stage.log] option 'upstream': expected table, got int",)


def test_a_variable_without_effect_says_why(read: Loader) -> None:
    config = read(
        chain("token-count", "log"),
        IMAGE_AGE_THRESHOLD="3",
        CONDENSATION_TIMEOUT="1",
        CONDENSATION_CACHE_TTL="1",
        RATE_LIMIT_PER_MINUTE="5",
        ENABLE_TOKEN_VALIDATION="true",
        CACHE_ASYNC_WRITE="true",
    )
    assert config.notes == (
        "CACHE_ASYNC_WRITE has no effect: no request ever waits for the disk; delete the line",
        "RATE_LIMIT_PER_MINUTE has no effect: stage 'auth' is in no pipeline",
        "ENABLE_TOKEN_VALIDATION has no effect: this version's stage 'token-count' has no option 'validate'",
        "IMAGE_AGE_THRESHOLD has no effect: this version has no stage 'image-aging'",
        "CONDENSATION_TIMEOUT, CONDENSATION_CACHE_TTL have no effect: this version has no stage 'condense'",
    )


def test_a_switch_takes_a_stage_out_of_every_pipeline(read: Loader) -> None:
    text = chain("plain", "log", "quiet") + chain("plain", "log", name="second") + '[stage.quiet]\nuse = "log"\n'
    config = read(text, ENABLE_LOG="off")
    assert config.pipelines == {"default": ("plain",), "second": ("plain",)}
    assert list(config.stages) == ["plain"]
    assert config.notes[0] == "stage 'log' is out of every pipeline: environment ENABLE_LOG is false"


def test_a_switch_that_says_true_adds_nothing(read: Loader) -> None:
    config = read(chain("plain"), ENABLE_TRIM="1", ENABLE_PLAIN="true", ENABLE_SOMETHING="1")
    assert config.pipelines["default"] == ("plain",)
    assert config.notes == ("ENABLE_TRIM has no effect: stage 'trim' is in no pipeline",)


def test_both_spellings_of_a_switch_are_read(read: Loader) -> None:
    for name in ("ENABLE_ENV_DEDUPLICATION", "ENABLE_ENVIRONMENT_DEDUPLICATION"):
        assert read(**{name: "false"}).notes == (f"{name} has no effect: this version has no stage 'env-dedup'",)


def test_switches_that_leave_nothing_are_refused(problems: Failing) -> None:
    (found,) = problems(chain("plain"), ENABLE_PLAIN="false")
    assert found == "pipelines.toml: [pipeline.default] has no stages left: environment ENABLE_PLAIN took them out"
    assert problems(chain("plain"), ENABLE_PLAIN="maybe") == ("environment ENABLE_PLAIN: expected true or false",)
