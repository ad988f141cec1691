import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import trimtab
from fake_stages import STAGES, Plain, install
from trimtab.api import Services, hookimpl
from trimtab.cli import main
from trimtab.errors import ConfigError
from trimtab.settings import example

CHAIN = '[pipeline.default]\nstages = ["plain"]\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("TRIMTAB_PIPELINES", "HOST", "PORT"):
        monkeypatch.delenv(name, raising=False)
    install(monkeypatch, **STAGES)
    (tmp_path / "pipelines.toml").write_text(CHAIN)
    return tmp_path


@pytest.fixture
def hangup() -> Iterator[None]:
    """What this process does on SIGHUP is the same afterwards."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, hangup: None) -> list[tuple[Any, ...]]:
    """Calls of the server, the echo and the demo, which do not run here."""
    calls: list[tuple[Any, ...]] = []
    server: Any = ModuleType("trimtab.server")

    def serve(*arguments: Any, **options: Any) -> int:
        calls.append(("serve", *arguments, options))
        return 0

    server.serve = serve
    server.echo = lambda *arguments, **options: calls.append(("echo", *arguments, options))
    demo: Any = ModuleType("trimtab.demo")
    demo.run = lambda *arguments: calls.append(("demo", *arguments))
    monkeypatch.setitem(sys.modules, "trimtab.server", server)
    monkeypatch.setitem(sys.modules, "trimtab.demo", demo)
    return calls


def test_check_prints_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert "pipeline default at /v1\n  1. plain\n" in capsys.readouterr().out


def test_check_prints_all_problems_and_exits_with_2(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "bad.toml").write_text(CHAIN + "[serve]\nprot = 1\nhsot = 2\n")
    assert main(["check", "--config", "bad.toml"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "bad.toml: [serve] unknown option 'prot', did you mean 'port'?\n"
        "bad.toml: [serve] unknown option 'hsot', did you mean 'host'?\n"
    )


def test_check_starts_the_stages_for_a_moment(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(Plain):
        @hookimpl
        async def start(self, services: Services) -> None:
            raise ConfigError("no key") if services.dry else AssertionError

    install(monkeypatch, plain=Broken)
    assert main(["check"]) == 2
    assert capsys.readouterr() == ("", "stage 'plain': no key\n")


def test_check_compares_with_another_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "old.toml").write_text(CHAIN.replace("plain", "trim"))
    assert main(["check", "--against", "old.toml"]) == 0
    assert "changes against old.toml\n  - pipeline 'default': stage 'trim' is gone" in capsys.readouterr().out


def test_settings_prints_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings"]) == 0
    assert capsys.readouterr().out == example()


def test_serve_obeys_the_command_line_now_and_at_every_reload(here: Path, called: list[tuple[Any, ...]]) -> None:
    assert main(["serve", "--host", "0.0.0.0", "--port", "0"]) == 0
    ((name, config, load, _),) = called
    assert (name, config.serve.host, config.serve.port) == ("serve", "0.0.0.0", 0)
    assert config.sources["serve.port"] == "command line --port"
    (here / "pipelines.toml").write_text(CHAIN + "[serve]\nport = 9\ngrace = 1\n")
    assert (load().serve.port, load().serve.grace) == (0, 1.0)


def test_serve_without_arguments_leaves_the_configuration_alone(called: list[tuple[Any, ...]]) -> None:
    assert main(["serve", "--config", "pipelines.toml"]) == 0
    assert called[0][1].serve.port == 5000
    assert called[0][-1] == {"server": "hypercorn", "workers": 1}


def test_a_hangup_does_not_end_the_start(called: list[tuple[Any, ...]]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    assert main(["serve"]) == 0
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_serve_takes_the_other_server(called: list[tuple[Any, ...]]) -> None:
    assert main(["serve", "--server", "uvicorn", "--workers", "3"]) == 0
    assert called[0][-1] == {"server": "uvicorn", "workers": 3}
    assert called[0][1].path == Path("pipelines.toml")


def test_echo_and_demo_get_their_arguments(called: list[tuple[Any, ...]]) -> None:
    assert main(["echo", "--delay", "1.5"]) == 0
    assert main(["demo", "--turns", "3"]) == 0
    assert called[0] == ("echo", "127.0.0.1", 8900, {"delay": 1.5, "chunk_delay": 0.0})
    assert (called[1][1].turns, called[1][1].port) == (3, 0)


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (ConfigError("a", "b"), 2)])
def test_what_stops_the_server_becomes_an_exit_code(
    error: BaseException,
    code: int,
    called: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def serve(*arguments: Any, **options: Any) -> int:
        raise error

    monkeypatch.setattr(sys.modules["trimtab.server"], "serve", serve)
    assert main(["serve"]) == code
    assert capsys.readouterr().err == ("a\nb\n" if code == 2 else "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["srve"],
        ["serve", "--port", "x"],
        ["serve", "--port", "70000"],
        ["serve", "--workers", "0"],
        ["serve", "--workers", "two"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: trimtab" in capsys.readouterr().err


def test_version_is_ours(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"trimtab {trimtab.__version__}\n"
