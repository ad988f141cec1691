"""The suites: what each runs, and the number that it must reach."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from suites.servers import Ended, say, step

COMPLY = Path(sys.executable).with_name("llm-comply")
COMPLY_CASES = {"openai-chat": 9, "anthropic": 9, "open-responses": 13}

PIPELINES = """
[pipeline.default]
stages = ["auth", "env-dedup", "token-count", "risk-assess", "route", "scale", "log"]
# Names that llm-comply skips no case for.
[model."gpt-5-echo"]
upstreams = { chat = "zai-chat", messages = "zai-messages" }
[model."gpt-5-echo-messages"]
upstreams = { messages = "zai-messages" }
[model."gpt-5-echo-chat"]
upstreams = { chat = "zai-chat" }
[model."claude-sonnet-4-echo"]
upstreams = { messages = "zai-messages" }
[model."claude-sonnet-4-echo-chat"]
upstreams = { chat = "zai-chat" }
"""
"""The chain before `trimtab echo`; it has no stage that asks a model by itself."""

NAMES = {
    "openai-chat": ("gpt-5-echo", "gpt-5-echo-messages"),
    "anthropic": ("claude-sonnet-4-echo", "claude-sonnet-4-echo-chat"),
    "open-responses": ("gpt-5-echo-messages", "gpt-5-echo-chat"),
}


class Leg(NamedTuple):
    """One suite as it ended."""

    name: str
    good: bool
    said: str

    def tell(self) -> "Leg":
        """Print it at once."""
        say(f"{'ok  ' if self.good else 'FAIL'} {self.name}: {self.said}")
        return self


def run_comply(form: str, model: str, url: str, base: str = "/v1") -> Ended:
    """Run llm-comply against a server."""
    asked: list[object] = [COMPLY, "run", "--format", form, "-u", f"{url}{base}", "-k", "key", "-m", model]
    if form == "anthropic":
        asked += ["-H", "anthropic-version:2023-06-01"]
    return step(f"llm-comply {form} {model}", asked, 120)


def comply(form: str, model: str, url: str) -> Leg:
    """llm-comply: every case of a dialect passes."""
    ended, wanted = run_comply(form, model, url), COMPLY_CASES[form]
    good = ended.code == 0 and f"Results: {wanted}/{wanted} passed" in ended.out
    if not good:
        say(ended.out)
    said = re.search(r"\d+/\d+ passed.*", ended.out)
    return Leg(f"llm-comply {form} {model}", good, _timed(said.group(0) if said else "no word of its end", ended))


class Sdk(NamedTuple):
    """Tests out of an SDK's source distribution."""

    name: str
    sdk: str
    base: str
    """What follows the server's address."""
    tests: tuple[str, ...]
    passed: int
    failed: int = 0
    environ: Mapping[str, str] = {}


_RESPONSES = ("tests/api_resources/test_responses.py", "-k", "create")
CHAT = Sdk("openai chat", "openai", "/v1", ("tests/api_resources/chat/test_completions.py", "-k", "create"), 40)
SHIPPED = Sdk("openai responses as shipped", "openai", "/v1", _RESPONSES, 0, 40)
WRITTEN = Sdk(
    "openai responses with model and input written in",
    *("openai", "/v1", ("-p", "written_in", *_RESPONSES), 40),
    environ={"PYTHONPATH": str(Path(__file__).parent)},
)
MESSAGES = Sdk(
    *("anthropic messages", "anthropic", ""),
    *(("tests/api_resources/test_messages.py", "tests/api_resources/beta/test_messages.py"), 125),
)
SDKS = (MESSAGES, CHAT, WRITTEN, SHIPPED)


def run_sdk(suite: Sdk, bin_: Path, folder: Path, url: str) -> Ended:
    """Run an SDK's own tests against a server."""
    place = next((folder / "sdist").glob(f"{suite.sdk}-*/"))
    environ = {**suite.environ, "TEST_API_BASE_URL": url + suite.base, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [bin_ / "python", "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *suite.tests]
    return step(f"tests of {suite.name}", command, 300, cwd=place, environ=environ)


def sdk(suite: Sdk, bin_: Path, folder: Path, url: str) -> Leg:
    """An SDK's own tests: as many pass, and as many fail, as are known to."""
    ended = run_sdk(suite, bin_, folder, url)
    good = counted(ended) == (suite.passed, suite.failed)
    if not good:
        say("\n".join(re.findall(r"^(?:FAILED|ERROR|E  ) .*", ended.out, re.MULTILINE)[:20]) or ended.out[-1000:])
    passed, failed = counted(ended)
    return Leg(f"tests of {suite.name}", good, _timed(f"{passed} passed, {failed} failed", ended))


UNJUDGED = "negative_data_rejection,positive_data_acceptance"
"""Checks of schemathesis that ask a proxy for its upstream's judgement: what the schema does not tell passes."""


def schema(command: Path, url: str) -> Leg:
    """schemathesis: requests made after /openapi.json get no 5xx, and no answer that it does not tell."""
    asked = [command, "run", f"{url}/openapi.json", "--header", "authorization: Bearer key", "--seed", "1"]
    asked += ["--max-examples", "20", "--exclude-checks", UNJUDGED, "--generation-database", ":memory:"]
    ended = step("schemathesis", asked, 240)
    if ended.code:
        say(ended.out[-4000:])
    said = re.search(r"\d+ generated.*", ended.out)
    return Leg("schemathesis", ended.code == 0, _timed(said.group(0) if said else "no word of its end", ended))


def counted(ended: Ended) -> tuple[int, int]:
    """How many tests passed, and how many did not."""
    last = ended.out.strip().rpartition("\n")[2]
    found = {kind: int(number) for number, kind in re.findall(r"(\d+) (passed|failed|error)", last)}
    return found.get("passed", 0), found.get("failed", 0) + found.get("error", 0)


def _timed(said: str, ended: Ended) -> str:
    return f"{said} ({ended.seconds:.0f} s)"
