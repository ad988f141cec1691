"""Runs what other people test gateways with against the proxy before `trimtab echo`.

    python tests/suites/run.py FOLDER [--only comply,sdk,schema,steady]

FOLDER keeps the environments of the SDKs' tests, schemathesis and `steady`, made at their first run. What each suite is
and expects is told in tests/README.md. Exits with 1 where a number is not the expected one.
"""

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from suites import environment, steady
from suites.legs import NAMES, PIPELINES, SDKS, Leg, comply, schema, sdk
from suites.servers import Server, free_port, say

KINDS = ("comply", "sdk", "schema", "steady")


def legs(folder: Path, kinds: set[str]) -> Iterator[Leg]:
    """The legs of the named kinds, one by one."""
    bin_ = environment.tests(folder) if kinds & {"sdk", "steady"} else folder
    command = environment.steady(folder) if "steady" in kinds else folder
    if kinds & {"comply", "sdk", "schema"}:
        yield from _echoed(folder, bin_, kinds)
    if "steady" in kinds:
        yield from steady.legs(command, bin_, folder)


def _echoed(folder: Path, bin_: Path, kinds: set[str]) -> Iterator[Leg]:
    """Those before `trimtab echo`."""
    (folder / "pipelines.toml").write_text(PIPELINES)
    own = [sys.executable, "-m", "trimtab"]
    with ExitStack() as stack:
        port = free_port()
        echo = stack.enter_context(Server(port, *own, "echo", "--port", port))
        bases = {
            "UPSTREAM_BASE": echo.url,
            "OPENAI_UPSTREAM_BASE": f"{echo.url}/v1",
            "CACHE_DIR": str(folder / "cache"),
        }
        port = free_port()
        serve = [*own, "serve", "--port", port, "--config", folder / "pipelines.toml"]
        output = stack.enter_context((folder / "proxy.log").open("w"))
        proxy = stack.enter_context(Server(port, *serve, environ=bases, output=output))
        if "comply" in kinds:
            for form, names in NAMES.items():
                yield from (comply(form, name, proxy.url) for name in names)
        if "sdk" in kinds:
            yield from (sdk(suite, bin_, folder, proxy.url) for suite in SDKS)
        if "schema" in kinds:
            yield schema(environment.schemathesis(folder), proxy.url)


def main() -> int:
    """Run all; 1 where anything was not as expected, 2 where the environment could not be made."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--only", default="comply,sdk,schema", help=f"kinds, of {', '.join(KINDS)}; steady is not by default"
    )
    given = parser.parse_args()
    kinds = set(given.only.split(","))
    if not kinds <= set(KINDS):
        parser.error(f"--only takes {', '.join(KINDS)}")
    # Whoever ends this run ends the servers and the step that it began, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found = [leg.tell() for leg in legs(folder, kinds)]
    except (environment.Unprepared, TimeoutError) as failure:
        say(str(failure))
        return 2
    bad = [leg.name for leg in found if not leg.good]
    say(f"{len(found)} suites, {len(bad)} not as expected" + "".join(f"\n  {name}" for name in bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
