"""The command `trimtab`."""

import argparse
import gc
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from trimtab import __version__
from trimtab.check import report
from trimtab.config import Config, load
from trimtab.errors import ConfigError
from trimtab.settings import example

# The server is imported when asked for: nothing else needs a web framework to start.


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code: 2 for settings that cannot work, 130 after Ctrl-C."""
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except ConfigError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("trimtab", description="A self-hosted model endpoint for coding agents.")
    parser.add_argument("--version", action="version", version=f"trimtab {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, text, add in (
        ("serve", _serve, "run the proxy", _serve_arguments),
        ("check", _check, "print the configuration and where each value comes from", _check_arguments),
        ("settings", _settings, "print .env.example: every name of the environment", None),
        ("explain", _explain, "say what each stage does to one request", _explain_arguments),
        ("replay", _replay, "play recorded sessions through a pipeline", _replay_arguments),
        ("echo", _echo, "run a pretended upstream, to try things without a key", _echo_arguments),
        ("demo", _demo, "show an agent's session through the proxy", _demo_arguments),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        if add is not None:
            add(command)
    return parser


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    _config_argument(parser)
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=_port, help="port to listen on; 0 takes a free one")
    parser.add_argument(
        "--server",
        choices=("hypercorn", "uvicorn"),
        default="hypercorn",
        help="uvicorn (an extra) costs less and speaks HTTP/1.1 only",
    )
    told = "processes on the one port; each has its part of the limits (%(default)s)"
    parser.add_argument("--workers", type=_workers, default=1, metavar="N", help=told)


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    _config_argument(parser)
    parser.add_argument("--against", type=Path, metavar="FILE", help="say which requests change compared with FILE")


def _echo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=8900, help="port to listen on (%(default)s)")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before a reply (%(default)s)")
    parser.add_argument("--chunk-delay", type=float, default=0.0, help="seconds between events (%(default)s)")


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--turns", type=int, default=6, help="turns of the session (%(default)s)")
    parser.add_argument("--port", type=_port, default=0, help="port of the proxy; 0 takes a free one (%(default)s)")


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a recorded request body; - reads it from stdin")
    _config_argument(parser)
    _offline_arguments(parser)
    parser.add_argument("--dialect", choices=("chat", "messages", "responses"), help="its dialect, else guessed")
    parser.add_argument("--lines", type=_number, default=12, help="lines shown of each change; 0 is all (%(default)s)")


def _replay_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="a recording, or a folder of them")
    _config_argument(parser)
    _offline_arguments(parser)
    parser.add_argument("--compare", type=Path, metavar="FILE", help="another pipelines.toml, shown beside the first")
    parser.add_argument("--model", help="the model that conversations ask for (glm-4.6)")


def _offline_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pipeline", default="default", metavar="NAME", help="the pipeline (%(default)s)")
    told = "price of a cached token over a fresh one; may be given more than once (0.1 and 0.2)"
    parser.add_argument("--read", type=_share, action="append", metavar="R", help=told)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no share: 0 to 1")
    return value


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is no number: 0 or more")
    return int(text)


def _config_argument(parser: argparse.ArgumentParser) -> None:
    text = "pipelines.toml to use (else TRIMTAB_PIPELINES, ./pipelines.toml, the packaged one)"
    parser.add_argument("--config", type=Path, metavar="FILE", help=text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is no port: 0 to 65535")
    return int(text)


def _workers(text: str) -> int:
    from trimtab.workers import MOST  # noqa: PLC0415  # loaded where it is used

    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of workers: 1 to {MOST}")
    return int(text)


def _check(arguments: argparse.Namespace) -> int:
    from trimtab.offline.trial import check  # noqa: PLC0415  # loaded where it is used

    config = load(arguments.config)
    against = load(arguments.against) if arguments.against is not None else None
    found = check(config)
    sys.stdout.write(report(config, against, said=found.said, places=found.places))
    return 0


def _settings(arguments: argparse.Namespace) -> int:
    sys.stdout.write(example())
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    # Until it means to read the configuration again it must not end the start, as it does by default.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # What is imported stays: to look through it for garbage meanwhile would take 0.05 s.
    gc.disable()
    try:
        from trimtab.server import serve  # noqa: PLC0415  # loaded where it is used

        config = _listening(arguments, arguments.config)
    finally:
        gc.enable()
    load = partial(_listening, arguments, config.path)
    return serve(config, load, server=arguments.server, workers=arguments.workers)


def _listening(arguments: argparse.Namespace, path: Path | None) -> Config:
    """The configuration, with what the command line says about the address."""
    config = load(path)
    told = {name: value for name in ("host", "port") if (value := getattr(arguments, name)) is not None}
    return msgspec.structs.replace(
        config,
        serve=msgspec.structs.replace(config.serve, **told),
        sources={**config.sources, **{f"serve.{name}": f"command line --{name}" for name in told}},
    )


def _explain(arguments: argparse.Namespace) -> int:
    from trimtab.offline.command import explain  # noqa: PLC0415  # loaded where it is used

    return explain(arguments)


def _replay(arguments: argparse.Namespace) -> int:
    from trimtab.offline.command import replay  # noqa: PLC0415  # loaded where it is used

    return replay(arguments)


def _echo(arguments: argparse.Namespace) -> int:
    from trimtab.server import echo  # noqa: PLC0415  # loaded where it is used

    echo(arguments.host, arguments.port, delay=arguments.delay, chunk_delay=arguments.chunk_delay)
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from trimtab.demo import run  # noqa: PLC0415  # loaded where it is used

    run(arguments)
    return 0
